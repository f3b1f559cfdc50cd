"""The three-stream transformer: co-attention and self-attention in turn, C0 S0 C1 S1 ...

In: tokens of vision, pose and audio with key masks. Out: tokens of the same shapes, and the pooled
features of the SOS step (TriBERT section 3.2; order and sizes from tribert.md section 4).

Legend: B videos, S steps (SOS first), P slots of a step, L = S x P tokens, D width, X pooled width.
"""

from __future__ import annotations

from torch import nn
from torch.nn import functional

from model.tribert.attention import CoBlock, SelfBlock, Streams, Widths
from model.tribert.config import EncoderConfig


class Layer(nn.Module):
    """One tri-modal co-attention, then one self-attention in every stream."""

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__()
        widths, inner = _widths(config)
        self.co_block = CoBlock(
            widths,
            inner,
            config.co_width,
            heads=config.co_heads,
            keys=config.keys,
            dropout=config.dropout,
        )
        self.self_blocks = nn.ModuleList(
            SelfBlock(width, inner_width, heads=config.heads, dropout=config.dropout)
            for width, inner_width in zip(widths, inner, strict=True)
        )

    def forward(self, tokens: Streams, valid: Streams) -> Streams:
        """Return tokens of the same shapes."""
        joined = self.co_block(tokens, valid)
        return Streams(
            *(
                block(x_BLD, valid_BL)
                for block, x_BLD, valid_BL in zip(self.self_blocks, joined, valid, strict=True)
            )
        )


class Encoder(nn.Module):
    """`config.layers` layers."""

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__()
        self.layers = nn.ModuleList(Layer(config) for _ in range(config.layers))

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
        for layer in self.layers:
            tokens = layer(tokens, valid)
        return tokens


class SosPooler(nn.Module):
    """Linear and ReLU on the SOS step of every stream."""

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__()
        widths, _ = _widths(config)
        self.dense = nn.ModuleList(nn.Linear(width, config.co_width) for width in widths)

    def forward(self, steps: Streams) -> Streams:
        """Return (B, P, X) of each stream from (B, S, P, D)."""
        return Streams(
            *(
                functional.relu(dense(x_BSPD[:, 0]))
                for dense, x_BSPD in zip(self.dense, steps, strict=True)
            )
        )


def _widths(config: EncoderConfig) -> tuple[Widths, Widths]:
    """Return the streams' widths and their feed-forward widths."""
    return (
        Widths(config.vision_width, config.pose_width, config.audio_width),
        Widths(config.vision_ffn, config.pose_ffn, config.audio_ffn),
    )
