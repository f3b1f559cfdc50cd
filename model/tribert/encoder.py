"""The three-stream transformer: co-attention and self-attention in turn, C0 S0 C1 S1 ...

In: tokens of vision, pose and audio with key masks. Out: tokens of the same shapes, and the pooled
features of the SOS step (TriBERT section 3.2; order and sizes from tribert.md section 4).

Legend: B videos, S steps (SOS first), P slots of a step, L = S x P tokens, D width, X pooled width.
"""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional

from model.tribert.attention import CoBlock, SelfBlock, Streams, Widths
from model.tribert.config import EncoderConfig


class Encoder(nn.Module):
    """`config.layers` times: one tri-modal co-attention, then one self-attention a stream."""

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__()
        widths = Widths(config.vision_width, config.pose_width, config.audio_width)
        inner = Widths(config.vision_ffn, config.pose_ffn, config.audio_ffn)
        self.co_blocks = nn.ModuleList(
            CoBlock(
                widths,
                inner,
                config.co_width,
                heads=config.co_heads,
                keys=config.keys,
                dropout=config.dropout,
            )
            for _ in range(config.layers)
        )
        self.self_blocks = nn.ModuleList(
            nn.ModuleList(
                SelfBlock(width, inner_width, heads=config.heads, dropout=config.dropout)
                for width, inner_width in zip(widths, inner, strict=True)
            )
            for _ in range(config.layers)
        )

    def forward(self, tokens: Streams, valid: Streams) -> Streams:
        """Return refined tokens.

        Parameters
        ----------
        tokens
            (B, L, D) of each stream.
        valid
            (B, L) bool of each stream, False where a token must not be attended to. Each row of
            each stream needs one True.
        """
        for co_block, self_blocks in zip(self.co_blocks, self.self_blocks, strict=True):
            tokens = co_block(tokens, valid)
            tokens = Streams(
                *(
                    block(x_BLD, valid_BL)
                    for block, x_BLD, valid_BL in zip(self_blocks, tokens, valid, strict=True)
                )
            )
        return tokens


class SosPooler(nn.Module):
    """Linear and ReLU on the SOS step of every stream."""

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__()
        widths = Widths(config.vision_width, config.pose_width, config.audio_width)
        self.dense = nn.ModuleList(nn.Linear(width, config.co_width) for width in widths)

    def forward(self, steps: Streams) -> Streams:
        """Return (B, P, X) of each stream from (B, S, P, D)."""
        return Streams(
            *(
                functional.relu(dense(x_BSPD[:, 0]))
                for dense, x_BSPD in zip(self.dense, steps, strict=True)
            )
        )
