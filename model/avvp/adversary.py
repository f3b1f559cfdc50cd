"""A discriminator of modalities behind a reversed gradient (Lamba et al. 2021, section 3, "Adv").

In: the joint features just before pooling. Out: the discriminator's loss and accuracy. Its own
weights learn to tell audio from vision; what lies before the reversal learns to prevent it.

The loss is added with a plus: the reversal is the paper's minus (its equation 2), and both at once
would train the discriminator to be wrong.

Legend: B videos, T seconds, M modalities (0 audio, 1 visual), D width, N vectors.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

HIDDEN = (128, 10)
"""Widths of the discriminator's inner layers, as released."""
STEEPNESS = 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """How well the modalities are told apart: mean cross-entropy, and the share of right answers.

    Chance is an accuracy of 0.5 and a loss of log 2.
    """

    loss: Tensor
    accuracy: Tensor


class _Reversal(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, alpha: float) -> Tensor:
        ctx.alpha = alpha
        return x.view_as(x)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        return -ctx.alpha * gradient, None


def reverse_gradient(x: Tensor, alpha: float) -> Tensor:
    """Return `x` as it is; the gradient that comes back is multiplied by -`alpha`."""
    return _Reversal.apply(x, alpha)


def reversal_weight(step: int, *, steps_per_epoch: int, steps: int) -> float:
    """Return alpha at a step counted from 0: a ramp from about 0.12 to 1.

    2 / (1 + exp(-10 r)) - 1 (Ganin and Lempitsky, 2015) with r the share of the training's
    `steps` that are done, one epoch ahead, as released.
    """
    done = (step + steps_per_epoch) / steps
    return 2 / (1 + math.exp(-STEEPNESS * done)) - 1


class Discriminator(nn.Module):
    """Logit of 'visual' for each joint vector: three linear layers, batch norm and ReLU between."""

    def __init__(self, width: int) -> None:
        super().__init__()
        first, second = HIDDEN
        self.inner = nn.Linear(width, first)
        self.norm_inner = nn.BatchNorm1d(first)
        self.middle = nn.Linear(first, second)
        self.norm_middle = nn.BatchNorm1d(second)
        self.outer = nn.Linear(second, 1)

    def forward(self, x_ND: Tensor) -> Tensor:
        """Return the logits, (N,)."""
        h = torch.relu(self.norm_inner(self.inner(x_ND)))
        h = torch.relu(self.norm_middle(self.middle(h)))
        return self.outer(h)[:, 0]


def tell_modalities(
    discriminator: Discriminator, joint_BTMD: Tensor, absent_BT: Tensor | None, *, alpha: float
) -> Told:
    """Return how well the discriminator tells audio (0) from vision (1), second by second.

    It reads the features through a ReLU of its own and with their gradient reversed, scaled by
    `alpha`. Padded seconds are left out.
    """
    present_BTMD = joint_BTMD if absent_BT is None else joint_BTMD[~absent_BT]
    x_NMD = torch.relu(present_BTMD.reshape(-1, *joint_BTMD.shape[2:]))
    target_N = torch.arange(x_NMD.shape[1], device=x_NMD.device).expand(x_NMD.shape[:2]).flatten()
    with torch.autocast(x_NMD.device.type, enabled=False):
        logit_N = discriminator(reverse_gradient(x_NMD.flatten(0, 1), alpha))
        loss = F.binary_cross_entropy_with_logits(logit_N, target_N.to(logit_N.dtype))
    right_N = (logit_N.detach() >= 0) == target_N.bool()
    return Told(loss=loss, accuracy=right_N.to(loss.dtype).mean())
