"""The losses of the baselines that have more than one, and which loss belongs to which system.

In: a network's outputs and the batch's targets. Out: the loss of the masks, and of the classes
where a system has one (separation_baselines.md sections 1, 4, 5).

Legend: B mixes, N videos, Z objects of all videos, C classes, Q F spectrogram.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch.nn import functional

from model.separation.coefficients import CoefficientOutputs
from model.separation.objects import ObjectOutputs
from model.separation.pixels import MaskOutputs
from model.tribert.batch import Batch
from model.tribert.losses import map_loss, mask_loss


class Terms(NamedTuple):
    """Unweighted scalars."""

    mask: torch.Tensor
    classes: torch.Tensor | None = None


def loss_terms(outputs: MaskOutputs | ObjectOutputs, batch: Batch, *, hinge: bool) -> Terms:
    """Return the losses of a system whose masks are named.

    Parameters
    ----------
    hinge
        Of systems of objects: the classes of AV-Mix-and-Separate instead of Co-Separation's.
    """
    if isinstance(outputs, ObjectOutputs):
        labels_ZC = batch.labels_BNC.flatten(0, 1)[outputs.videos_Z]
        of_classes = hinge_loss if hinge else consistency_loss
        return Terms(
            co_separation_loss(outputs.summed_BNQF, batch.masks_BNQF, batch.weight_B1QF),
            of_classes(outputs.scores_ZC.float(), labels_ZC),
        )
    mask = mask_loss(outputs.mask_logits_BNQF, batch.masks_BNQF, batch.weight_B1QF)
    if isinstance(outputs, CoefficientOutputs):
        return Terms(mask, map_loss(outputs.scores_BNSC, batch.labels_BNC))
    return Terms(mask)


def co_separation_loss(
    summed_BNQF: torch.Tensor, masks_BNQF: torch.Tensor, weight_B1QF: torch.Tensor
) -> torch.Tensor:
    """Return the mean over cells and videos of weight x |sum of the objects' masks - ratio|."""
    return (weight_B1QF * (summed_BNQF.float() - masks_BNQF).abs()).mean()


def consistency_loss(scores_ZC: torch.Tensor, labels_ZC: torch.Tensor) -> torch.Tensor:
    """Return the mean over objects of the cross-entropy against the class of the object's video.

    In a video of several instruments nobody says which object plays which: there it is -log of the
    probability that it is any of them.
    """
    wanted_ZC = scores_ZC.masked_fill(labels_ZC < 0.5, -torch.inf)
    return (scores_ZC.logsumexp(1) - wanted_ZC.logsumexp(1)).mean()


def hinge_loss(scores_ZC: torch.Tensor, labels_ZC: torch.Tensor) -> torch.Tensor:
    """Return the multi-label hinge loss: every class that is there outscores by 1 each that is not.

    Divided by the number of classes, averaged over spectrograms.
    """
    present_ZC, order_ZC = labels_ZC.sort(dim=1, descending=True, stable=True)
    targets_ZC = torch.where(present_ZC > 0.5, order_ZC, -1)
    return functional.multilabel_margin_loss(scores_ZC, targets_ZC)
