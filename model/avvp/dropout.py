"""Dropout whose mask is drawn four values at a time: on a CPU the draws are most of its cost."""

from __future__ import annotations

import torch
from torch import Tensor, nn

LEVELS = 1 << 16


class WordDropout(nn.Dropout):
    """`torch.nn.Dropout` with 16 random bits a value: the rate is `p` to the nearest 1/65536.

    One 64-bit draw of torch's generator decides four values. Off the CPU it is torch's own.
    """

    def forward(self, x: Tensor) -> Tensor:
        """Return `x` with about a share `p` of its values 0 and the others scaled up."""
        if not self.training or self.p == 0 or x.device.type != "cpu":
            return super().forward(x)
        words = torch.empty(-(-x.numel() // 4), dtype=torch.int64).random_(-(1 << 63), None)
        dropped = round(self.p * LEVELS)
        kept = words.view(torch.int16)[: x.numel()].view(x.shape) >= dropped - LEVELS // 2
        return x * (kept.to(x.dtype) * (LEVELS / (LEVELS - dropped)))
