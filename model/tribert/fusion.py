"""How what is seen reaches the U-Net: fusion of the SOS features with its bottleneck.

In: pooled SOS features of the three streams, and the bottleneck of the mixture. Out: a bottleneck
of the same shape that depends on the video (TriBERT section 3.2.1, "self-attention based early
fusion"; tribert.md section 5, row Fusion).

Legend: B videos, P slots, X pooled width, M = 3 P keys, E bottleneck width, Q F its rows and
columns, L = Q x F its places.
"""

from __future__ import annotations

from typing import Protocol

import torch
from torch import nn

from model.tribert.attention import Streams


class Fusion(Protocol):
    """What a U-Net's bottleneck can be conditioned by."""

    def __call__(
        self, bottleneck_BEQF: torch.Tensor, pooled: Streams, valid: Streams
    ) -> torch.Tensor:
        """Return (B, E, Q, F); `pooled` holds (B, P, X), `valid` the (B, P) key masks."""


class KeyFusion(nn.Module):
    """Every place of the bottleneck attends to the SOS features, one key a stream and slot.

    h = softmax(a k^T / sqrt(E)) v + a, then MLP(h) + h with a the places of the bottleneck. Each
    stream has its own key and value layers, so that the softmax chooses between what is seen, how
    it moves and what is heard; a single fused key would have weight 1 everywhere.
    """

    def __init__(self, pooled_width: int, bottleneck_width: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(bottleneck_width)
        self.query = nn.Linear(bottleneck_width, bottleneck_width)
        self.key = nn.ModuleList(nn.Linear(pooled_width, bottleneck_width) for _ in range(3))
        self.value = nn.ModuleList(nn.Linear(pooled_width, bottleneck_width) for _ in range(3))
        self.mlp = _mlp(bottleneck_width)

    def forward(
        self, bottleneck_BEQF: torch.Tensor, pooled: Streams, valid: Streams
    ) -> torch.Tensor:
        """Return (B, E, Q, F)."""
        places_BLE = bottleneck_BEQF.flatten(2).transpose(1, 2)
        keys_BME = torch.cat([key(x) for key, x in zip(self.key, pooled, strict=True)], dim=1)
        values_BME = torch.cat([value(x) for value, x in zip(self.value, pooled, strict=True)], 1)
        mask_B1M = torch.cat(valid, dim=1)[:, None]
        attended_BLE = nn.functional.scaled_dot_product_attention(
            self.query(self.norm(places_BLE)), keys_BME, values_BME, attn_mask=mask_B1M
        )
        hidden_BLE = attended_BLE + places_BLE
        fused_BLE = self.mlp(hidden_BLE) + hidden_BLE
        return fused_BLE.transpose(1, 2).unflatten(2, bottleneck_BEQF.shape[2:])


class ChannelSoftmaxFusion(nn.Module):
    """The released formula: one vector f, softmax over channels of (row sum of a) x f, times f.

    It hardly conditions the output (tribert.md section 12b); kept for comparison.
    """

    def __init__(self, bottleneck_width: int, dropout: float) -> None:
        super().__init__()
        self.dropout = nn.Dropout(dropout)
        self.mlp = _mlp(bottleneck_width)

    def forward(
        self, bottleneck_BEQF: torch.Tensor, pooled: Streams, valid: Streams
    ) -> torch.Tensor:
        """Return (B, E, Q, F); E is three pooled widths. Slots count whether valid or not."""
        del valid
        fused_BPE = self.dropout(torch.cat(pooled, dim=2))
        return self.fuse(bottleneck_BEQF, fused_BPE.mean(1).sigmoid())

    def fuse(self, bottleneck_BEQF: torch.Tensor, vector_BE: torch.Tensor) -> torch.Tensor:
        """Return (B, E, Q, F) from the fused vector."""
        mixed_BLE = self.attend(bottleneck_BEQF, vector_BE).flatten(2).transpose(1, 2)
        fused_BLE = self.mlp(mixed_BLE) + mixed_BLE
        return fused_BLE.transpose(1, 2).unflatten(2, bottleneck_BEQF.shape[2:])

    def attend(self, bottleneck_BEQF: torch.Tensor, vector_BE: torch.Tensor) -> torch.Tensor:
        """Return (B, E, Q, F) before the MLP."""
        vector_BE11 = vector_BE[:, :, None, None]
        scores_BEQ1 = bottleneck_BEQF.sum(3, keepdim=True) * vector_BE11
        return scores_BEQ1.softmax(dim=1) * vector_BE11 + bottleneck_BEQF


def _mlp(width: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(width, width), nn.ReLU(), nn.Linear(width, width))
