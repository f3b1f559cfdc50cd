"""The audio U-Net of Sound-of-Pixels: log spectrogram of a mixture to K maps of its size.

Source: separation_baselines.md section 1. Without its video this is also the audio-only baseline.

Legend: B mixes, Q F rows and frames (of the bottleneck: 2^n times fewer), E bottleneck width,
K maps.
"""

from __future__ import annotations

from functools import partial
from itertools import pairwise
from typing import Literal

import torch
from torch import nn
from torch.nn import functional

from model.tribert.unet import Encoded

LOG_FLOOR = 1e-10
SLOPE = 0.2


class SoundUNet(nn.Module):
    """4x4 stride-2 convolutions down, bilinear doubling and 3x3 convolutions up, plain skips.

    Parameters
    ----------
    widths
        Channels after each halving, two levels at least.
    maps
        K.
    init
        'published' or 'kaiming', as `config.NetworkConfig` describes them.
    """

    def __init__(
        self, widths: tuple[int, ...], maps: int, init: Literal["published", "kaiming"]
    ) -> None:
        super().__init__()
        last = len(widths) - 1
        self.input_norm = nn.BatchNorm2d(1)
        self.down = nn.ModuleList(
            nn.Conv2d(before, after, 4, stride=2, padding=1, bias=False)
            for before, after in pairwise((1, *widths))
        )
        self.down_norms = nn.ModuleList(
            nn.Identity() if level in (0, last) else nn.BatchNorm2d(width)
            for level, width in enumerate(widths)
        )
        finer = widths[-2::-1]
        coarser = (widths[-1], *(2 * width for width in finer))
        self.up = nn.ModuleList(
            nn.Conv2d(before, after, 3, padding=1, bias=False)
            for before, after in zip(coarser, finer, strict=False)
        )
        self.up_norms = nn.ModuleList(nn.BatchNorm2d(width) for width in finer)
        self.out = nn.Conv2d(coarser[-1], maps, 3, padding=1)
        published = partial(normal_init, deviation=0.001)
        self.apply(published if init == "published" else _kaiming_init)

    def forward(self, mixture_B1QF: torch.Tensor) -> torch.Tensor:
        """Return the maps (B, K, Q, F), unbounded, from warped magnitudes."""
        return self.decode(self.encode(mixture_B1QF))

    def encode(self, mixture_B1QF: torch.Tensor) -> Encoded:
        """Return the skips and the bottleneck of warped magnitudes."""
        x = self.input_norm(torch.log(mixture_B1QF.float() + LOG_FLOOR))
        skips: list[torch.Tensor] = []
        for level, (down, norm) in enumerate(zip(self.down, self.down_norms, strict=True)):
            if level:
                skips.append(x)
                x = functional.leaky_relu(x, SLOPE)
            x = norm(down(x))
        return Encoded(tuple(skips), x)

    def decode(self, encoded: Encoded) -> torch.Tensor:
        """Return the maps (B, K, Q, F) from skips and a bottleneck, which may be another one."""
        x = encoded.bottleneck_BEQF
        levels = zip(self.up, self.up_norms, reversed(encoded.skips), strict=True)
        for up, norm, skip in levels:
            x = torch.cat((skip, norm(up(_doubled(x)))), dim=1)
        return self.out(_doubled(x))


def _doubled(x: torch.Tensor) -> torch.Tensor:
    """Return the rectified input, twice as large."""
    return functional.interpolate(
        functional.relu(x), scale_factor=2, mode="bilinear", align_corners=True
    )


def normal_init(module: nn.Module, deviation: float) -> None:
    """Draw a convolution's weights around 0, and a norm's around 1 (deviation 0.02)."""
    if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
        nn.init.normal_(module.weight, 0.0, deviation)
    elif isinstance(module, nn.BatchNorm2d):
        nn.init.normal_(module.weight, 1.0, 0.02)


def _kaiming_init(module: nn.Module) -> None:
    if isinstance(module, nn.Conv2d):
        nn.init.kaiming_normal_(module.weight, SLOPE)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
