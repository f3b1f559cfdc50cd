"""The audio-only baseline: an U-Net with one map a source, trained in whatever order suits best.

In: a `Batch` of mixes, of which only the spectrogram is read. Out: masks without names, and the
loss of the best order of each mix. What it lacks against Sound-of-Pixels is the video alone.

Source: permutation-invariant training over whole utterances (Kolbæk et al. 2017);
separation_baselines.md section 7.

Legend: B mixes, N sources (predicted and true ones alike), Q F spectrogram.
"""

from __future__ import annotations

from itertools import permutations

import torch
from torch import nn
from torch.nn import functional

from model.separation.config import NetworkConfig
from model.separation.pixels import MaskOutputs
from model.separation.unet import SoundUNet
from model.tribert.batch import Batch


class AudioOnly(nn.Module):
    """An audio U-Net whose maps are the masks."""

    def __init__(self, config: NetworkConfig, sources: int) -> None:
        super().__init__()
        self.sound = SoundUNet(config.widths, sources, config.init)

    def forward(self, batch: Batch) -> MaskOutputs:
        """Return as many masks as there are sources, in no order that means anything."""
        return MaskOutputs(mask_logits_BNQF=self.sound(batch.mix_B1QF))


def invariant_mask_loss(
    logits_BNQF: torch.Tensor, masks_BNQF: torch.Tensor, weight_B1QF: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the mean over mixes of the mask loss in each mix's best order, and these orders.

    The loss of an order is that of `model.tribert.losses.mask_loss`: weight x BCE, averaged over
    all cells. The choice is made without a gradient.

    Returns
    -------
    loss
        Scalar, float32.
    order_BN
        int64: the map that is taken for each true mask.
    """
    sources = masks_BNQF.shape[1]
    cost_BNN = torch.stack(
        [_cost(logits_BNQF, masks_BNQF[:, n : n + 1], weight_B1QF) for n in range(sources)], dim=2
    )
    orders_ON = torch.tensor(list(permutations(range(sources))), device=logits_BNQF.device)
    true_N = torch.arange(sources, device=logits_BNQF.device)
    each_BO = cost_BNN[:, orders_ON, true_N].mean(dim=2)
    best_B = each_BO.detach().argmin(dim=1)
    loss = each_BO.gather(1, best_B[:, None]).mean()
    return loss, orders_ON[best_B]


def _cost(
    logits_BNQF: torch.Tensor, mask_B1QF: torch.Tensor, weight_B1QF: torch.Tensor
) -> torch.Tensor:
    """Return the loss of every map against one true mask: (B, N)."""
    bce_BNQF = functional.binary_cross_entropy_with_logits(
        logits_BNQF.float(), mask_B1QF.expand_as(logits_BNQF), reduction="none"
    )
    return (bce_BNQF * weight_B1QF).mean(dim=(2, 3))
