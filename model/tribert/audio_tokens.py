"""Audio tokens: the mixture's spectrogram through a VGG-like network, one vector a mix.

In: warped mixture magnitude. Out: its logarithm (also the U-Net's input) and the audio token
(TriBERT section 3.2, audio representations; not the published VGGish: tribert.md section 3).

Legend: B mixes, Q frequency rows, F spectrogram frames, D width.
"""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import nn
from torch.nn import functional

from model.tribert.attention import LAYER_NORM_EPS
from model.tribert.config import AudioConfig

LOG_FLOOR = 1e-10
POOLED_SIDE = 2


class SpectrogramInput(nn.Module):
    """Logarithm of a magnitude and, unless switched off, batch norm over all of its cells."""

    def __init__(self, config: AudioConfig) -> None:
        super().__init__()
        self.log = config.log
        self.norm = nn.BatchNorm2d(1) if config.input_norm else nn.Identity()

    def forward(self, magnitude_B1QF: torch.Tensor) -> torch.Tensor:
        """Return (B, 1, Q, F) float32."""
        magnitude = magnitude_B1QF.float()
        log = torch.log1p(magnitude) if self.log == "log1p" else torch.log(magnitude + LOG_FLOOR)
        return self.norm(log)


class AudioTokens(nn.Module):
    """3x3 convolutions with ReLU and halving, then Linear, layer norm and dropout.

    With the seven default levels a 256 x 256 input ends at 2 x 2; any other size is pooled to it.
    """

    def __init__(self, config: AudioConfig, width: int) -> None:
        super().__init__()
        self.convs = nn.ModuleList(
            nn.Conv2d(before, after, 3, padding=1)
            for before, after in pairwise((1, *config.widths))
        )
        self.dense = nn.Linear(config.widths[-1] * POOLED_SIDE**2, width)
        self.norm = nn.LayerNorm(width, eps=LAYER_NORM_EPS)
        self.dropout = nn.Dropout(config.dropout)
        for conv in self.convs:
            nn.init.kaiming_normal_(conv.weight, nonlinearity="relu")  # type: ignore[arg-type]
            nn.init.zeros_(conv.bias)  # type: ignore[arg-type]

    def forward(self, log_B1QF: torch.Tensor) -> torch.Tensor:
        """Return the token (B, D) of each mixture."""
        x_BCQF = log_B1QF
        for conv in self.convs:
            x_BCQF = functional.max_pool2d(functional.relu(conv(x_BCQF)), 2)
        pooled = functional.adaptive_avg_pool2d(x_BCQF, POOLED_SIDE)
        return self.dropout(self.norm(self.dense(pooled.flatten(1))))
