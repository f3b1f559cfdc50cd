"""Mask coefficients: what a class map pools of the pictures weighs the maps of an audio U-Net.

In: a `Batch`, of which the pictures and the mixture are read. Out: one mask a video, and the class
scores of its pictures, which are trained on the video's labels.

An approximation: of Rahman & Sigal 2021 ("Weakly-supervised audio-visual sound source detection and
separation") only the abstract could be read. Its masks are learned bases weighed by coefficients
that depend on a segmentation; bases and their number, backbone and losses here are
Sound-of-Pixels' and TriBERT's (separation_baselines.md section 5).

Legend: B mixes, N videos, Z = B x N, S steps with SOS first, C classes, D feature width, K maps,
Q F spectrogram.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import nn

from model.separation.config import Config
from model.separation.pixels import MaskOutputs, Synthesizer
from model.separation.unet import SoundUNet
from model.tribert.batch import Batch
from model.tribert.vision import VisionTokens


@dataclass(frozen=True, slots=True, kw_only=True)
class CoefficientOutputs(MaskOutputs):
    """Masks, and the scores of every class map at every step, read as logits: (B, N, S, C)."""

    scores_BNSC: torch.Tensor


class MaskCoefficients(nn.Module):
    """The whole system; the U-Net runs once a mix."""

    def __init__(self, config: Config, classes: int) -> None:
        super().__init__()
        network = config.network
        self.sound = SoundUNet(network.widths, network.maps, network.init)
        self.vision = VisionTokens(replace(config.vision, objects=1), classes)
        self.coefficients = nn.Linear(config.vision.feature_width, network.maps)
        self.synthesizer = Synthesizer(network.maps, "bias")

    def forward(self, batch: Batch) -> CoefficientOutputs:
        """Return a mask for each video: its best class map, over all pictures, decides."""
        shape = batch.frames_BNTHWC.shape[:2]
        seen = self.vision(batch.frames_BNTHWC.flatten(0, 1))
        best_ZD = seen.tokens_BSOD[:, 0, 0]
        weights_BNK = self.coefficients(best_ZD).unflatten(0, shape)
        logits = self.synthesizer(weights_BNK, self.sound(batch.mix_B1QF))
        return CoefficientOutputs(
            mask_logits_BNQF=logits, scores_BNSC=seen.scores_BSC.unflatten(0, shape)
        )
