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

CLAMP = 1e-7
"""Pooled probabilities are kept this far from 0 and 1; beyond it they have no gradient."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WeakLoss:
    """Mean binary cross-entropy over videos and classes, for each pooled probability."""

    video: Tensor
    audio: Tensor
    visual: Tensor
    modality_weight: float = 1.0

    @property
    def total(self) -> Tensor:
        """The sum of the video's term and the weighted ones of the modalities."""
        weight = self.modality_weight
        return self.video + weight * self.audio + weight * self.visual


def weak_loss(
    parsing: Parsing,
    tags_BC: Tensor,
    *,
    audio_smoothing: float,
    visual_smoothing: float,
    modality_weight: float = 1.0,
) -> WeakLoss:
    """Return the loss of a batch.

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
    return WeakLoss(
        video=_bce(parsing.video_BC, tags_BC),
        audio=_bce(parsing.audio_BC, _smooth(tags_BC, audio_smoothing)),
        visual=_bce(parsing.visual_BC, _smooth(tags_BC, visual_smoothing)),
        modality_weight=modality_weight,
    )


def _smooth(tags_BC: Tensor, weight: float) -> Tensor:
    return (1 - weight) * tags_BC + weight * 0.5


def _bce(probability_BC: Tensor, target_BC: Tensor) -> Tensor:
    with torch.autocast(probability_BC.device.type, enabled=False):  # CUDA's autocast refuses it
        return F.binary_cross_entropy(probability_BC.clamp(CLAMP, 1 - CLAMP), target_BC)
