"""The weakly supervised loss: one tag list a video against three pooled probabilities.

In: a `Parsing` and the video's tags. Out: the three terms of the loss and their sum.

Legend: B videos, C classes.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from model.avvp.han import Parsing
from model.avvp.targets import Targets, tag_targets

CLAMP = 1e-7
"""Pooled probabilities are kept this far from 0 and 1; beyond it they have no gradient."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WeakLoss:
    """Mean binary cross-entropy over videos and classes, for each pooled probability."""

    video: Tensor
    audio: Tensor
    visual: Tensor
    modality_weight: float = 1.0
    audio_factor: float = 1.0

    @property
    def total(self) -> Tensor:
        """The sum of the video's term and the weighted ones of the modalities."""
        weight = self.modality_weight
        return self.video + self.audio_factor * weight * self.audio + weight * self.visual


def weak_loss(
    parsing: Parsing,
    tags_BC: Tensor,
    *,
    audio_smoothing: float,
    visual_smoothing: float,
    modality_weight: float = 1.0,
) -> WeakLoss:
    """Return the loss of a batch of which the tags alone are known.

    Parameters
    ----------
    parsing
        What the network returned.
    tags_BC : Tensor [shape=(B, C)], float, 0 or 1
        The events of each video, of whatever modality and time.
    audio_smoothing, visual_smoothing : float [0, 1)
        Weight of 0.5 in the targets: not every event is heard and seen. With 0.1 they are .95, .05.
    modality_weight : float
        Of the audio and of the visual term: 1 for HAN; 0.3 for Base, whose L_g is the mean of the
        two and whose lambda_g is 0.6 (Lamba et al. 2021, section 4).
    """
    targets = tag_targets(
        tags_BC, audio_smoothing=audio_smoothing, visual_smoothing=visual_smoothing
    )
    return target_loss(parsing, targets, modality_weight=modality_weight)


def target_loss(
    parsing: Parsing, targets: Targets, *, modality_weight: float = 1.0, audio_factor: float = 1.0
) -> WeakLoss:
    """Return the loss of a batch with a target for each pooled probability.

    `audio_factor` weighs the audio term over `modality_weight`: 2 in JoMoLD.
    """
    return WeakLoss(
        video=bce(parsing.video_BC, targets.video_BC),
        audio=bce(parsing.audio_BC, targets.audio_BC),
        visual=bce(parsing.visual_BC, targets.visual_BC),
        modality_weight=modality_weight,
        audio_factor=audio_factor,
    )


def bce(probability: Tensor, target: Tensor, *, reduction: str = "mean") -> Tensor:
    """Return the binary cross-entropy of probabilities, kept from 0 and 1 by `CLAMP`."""
    with torch.autocast(probability.device.type, enabled=False):  # CUDA's autocast refuses it
        return F.binary_cross_entropy(
            probability.clamp(CLAMP, 1 - CLAMP), target, reduction=reduction
        )
