"""How what is seen reaches the U-Net: fusion of the SOS features with its bottleneck.

In: pooled SOS features of the three streams or all of their tokens, and the bottleneck of the
mixture. Out: a bottleneck of the same shape that depends on the video (TriBERT section 3.2.1,
"self-attention based early fusion"; tribert.md section 5, row Fusion; all tokens as in
separation_baselines.md section 6).

Legend: B videos, P slots or tokens, X their width, M = 3 P keys, E bottleneck width, Q F its rows
and columns, L = Q x F its places.
"""

from __future__ import annotations

from typing import Protocol

import torch
from torch import nn

from model.tribert.attention import Streams, Widths, attend
from model.tribert.config import Config


class Fusion(Protocol):
    """What a U-Net's bottleneck can be conditioned by."""

    def __call__(
        self, bottleneck_BEQF: torch.Tensor, seen: Streams, valid: Streams
    ) -> torch.Tensor:
        """Return (B, E, Q, F); `seen` holds (B, P, X), `valid` the (B, P) key masks."""


class KeyFusion(nn.Module):
    """Every place of the bottleneck attends to what is seen, one key a stream and slot or token.

    h = softmax(a k^T / sqrt(E)) v + a, then MLP(h) + h with a the places of the bottleneck. Each
    stream has its own key and value layers, so that the softmax chooses between what is seen, how
    it moves and what is heard; a single fused key would have weight 1 everywhere.

    Parameters
    ----------
    widths
        X of each stream.
    heads
        A divisor of E.
    """

    def __init__(self, widths: Widths, bottleneck_width: int, *, heads: int = 1) -> None:
        super().__init__()
        self.heads = heads
        self.norm = nn.LayerNorm(bottleneck_width)
        self.query = nn.Linear(bottleneck_width, bottleneck_width)
        self.key = nn.ModuleList(nn.Linear(width, bottleneck_width) for width in widths)
        self.value = nn.ModuleList(nn.Linear(width, bottleneck_width) for width in widths)
        self.mlp = _mlp(bottleneck_width)

    def forward(self, bottleneck_BEQF: torch.Tensor, seen: Streams, valid: Streams) -> torch.Tensor:
        """Return (B, E, Q, F)."""
        places_BLE = bottleneck_BEQF.flatten(2).transpose(1, 2)
        keys_BME = torch.cat([key(x) for key, x in zip(self.key, seen, strict=True)], dim=1)
        values_BME = torch.cat([value(x) for value, x in zip(self.value, seen, strict=True)], 1)
        attended_BLE = attend(
            self.query(self.norm(places_BLE)),
            keys_BME,
            values_BME,
            heads=self.heads,
            valid_BM=torch.cat(valid, dim=1),
            dropout=0.0,
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

    def forward(self, bottleneck_BEQF: torch.Tensor, seen: Streams, valid: Streams) -> torch.Tensor:
        """Return (B, E, Q, F); E is three pooled widths. Slots count whether valid or not."""
        del valid
        fused_BPE = self.dropout(torch.cat(seen, dim=2))
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


def build_fusion(config: Config) -> KeyFusion | ChannelSoftmaxFusion | None:
    """Return the fusion that the configuration names, or None for `none`."""
    encoder, separation = config.encoder, config.separation
    bottleneck_width = separation.widths[-1]
    if separation.fusion == "none":
        return None
    if separation.fusion == "channel_softmax":
        return ChannelSoftmaxFusion(bottleneck_width, encoder.dropout)
    if separation.fusion == "tokens":
        widths = Widths(encoder.vision_width, encoder.pose_width, encoder.audio_width)
        return KeyFusion(widths, bottleneck_width, heads=encoder.co_heads)
    pooled = Widths(encoder.co_width, encoder.co_width, encoder.co_width)
    return KeyFusion(pooled, bottleneck_width)


def _mlp(width: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(width, width), nn.ReLU(), nn.Linear(width, width))
