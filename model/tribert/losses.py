"""The terms of TriBERT's loss.

In: the network's outputs and the batch's targets. Out: named scalars and their weighted sum
(TriBERT section 3.2.1, training objective; weights and averages from tribert.md sections 5 and 6).

Legend: B mixes, N videos, S steps (SOS first), C classes, Q F spectrogram.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

import torch
from torch.nn import functional

from model.tribert.batch import Batch
from model.tribert.config import LossConfig
from model.tribert.network import Outputs


@dataclass(frozen=True, slots=True, kw_only=True)
class LossTerms:
    """Scalars, unweighted but for `total`."""

    mask: torch.Tensor
    vision: torch.Tensor
    pose: torch.Tensor
    audio: torch.Tensor
    maps: torch.Tensor
    total: torch.Tensor

    def named(self) -> dict[str, torch.Tensor]:
        """Return every term under its name, for a logger."""
        return {item.name: getattr(self, item.name) for item in fields(self)}


def loss_terms(outputs: Outputs, batch: Batch, config: LossConfig) -> LossTerms:
    """Return all terms in float32.

    The mask term is the mean over cells and videos of weight x BCE (not divided by the weights'
    sum). A class term is the mean over mixes and classes of the BCE, and the mean (released: the
    sum) over the videos of a mix.
    """
    labels_BNC = batch.labels_BNC
    factor = labels_BNC.shape[1] if config.over_videos == "sum" else 1
    mask = mask_loss(outputs.mask_logits_BNQF, batch.masks_BNQF, batch.weight_B1QF)
    vision = factor * class_loss(outputs.vision_BNC, labels_BNC)
    pose = factor * class_loss(outputs.pose_BNC, labels_BNC)
    audio = factor * class_loss(outputs.audio_BNC, labels_BNC)
    maps = factor * map_loss(outputs.scores_BNSC, labels_BNC)
    total = (
        config.mask * mask
        + config.vision * vision
        + config.pose * pose
        + config.audio * audio
        + config.maps * maps
    )
    return LossTerms(mask=mask, vision=vision, pose=pose, audio=audio, maps=maps, total=total)


def mask_loss(
    logits_BNQF: torch.Tensor, masks_BNQF: torch.Tensor, weight_B1QF: torch.Tensor
) -> torch.Tensor:
    """Return the mean over all cells of weight x BCE of the sigmoid of `logits_BNQF`."""
    bce_BNQF = functional.binary_cross_entropy_with_logits(
        logits_BNQF.float(), masks_BNQF, reduction="none"
    )
    return (bce_BNQF * weight_B1QF).mean()


def class_loss(probability_BNC: torch.Tensor, labels_BNC: torch.Tensor) -> torch.Tensor:
    """Return the mean BCE of probabilities against multi-hot labels."""
    with torch.autocast(probability_BNC.device.type, enabled=False):
        return functional.binary_cross_entropy(probability_BNC.float(), labels_BNC)


def map_loss(scores_BNSC: torch.Tensor, labels_BNC: torch.Tensor) -> torch.Tensor:
    """Return the mean BCE of the attention maps' class scores, read as logits, at every step."""
    targets_BNSC = labels_BNC[:, :, None].expand_as(scores_BNSC)
    return functional.binary_cross_entropy_with_logits(scores_BNSC.float(), targets_BNSC)


def top_class_hit(scores_BNC: torch.Tensor, labels_BNC: torch.Tensor) -> torch.Tensor:
    """Return the share of the videos whose best-scored class is one of their labels."""
    best_BN1 = scores_BNC.argmax(2, keepdim=True)
    return labels_BNC.gather(2, best_BN1).gt(0.5).float().mean()
