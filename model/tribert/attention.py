"""Attention blocks of the transformer streams: self-attention and tri-modal co-attention.

In: tokens of one stream, or of all three, and which keys may be attended to. Out: tokens of the
same shapes. Blocks are post-norm, as in BERT and ViLBERT (TriBERT section 3.2, tri-modal
co-attention; tribert.md section 4).

Legend: B batch, L tokens, M keys, H heads, D a stream's width, X co-attention width, A one head.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

import torch
from torch import nn
from torch.nn import functional

LAYER_NORM_EPS = 1e-12


class Streams(NamedTuple):
    """One tensor for each of the three modalities, always in this order."""

    vision: torch.Tensor
    pose: torch.Tensor
    audio: torch.Tensor


class Widths(NamedTuple):
    """One number for each of the three modalities, in the order of `Streams`."""

    vision: int
    pose: int
    audio: int


def attend(
    query_BLX: torch.Tensor,
    key_BMX: torch.Tensor,
    value_BMX: torch.Tensor,
    *,
    heads: int,
    valid_BM: torch.Tensor | None,
    dropout: float,
) -> torch.Tensor:
    """Return (B, L, X): softmax(q k / sqrt(A)) v in each head.

    A key whose `valid_BM` is False gets no weight; every row needs at least one valid key.
    """
    query, key, value = (
        tensor.unflatten(-1, (heads, -1)).transpose(1, 2)
        for tensor in (query_BLX, key_BMX, value_BMX)
    )
    mask = None if valid_BM is None else valid_BM[:, None, None, :]
    context_BHLA = functional.scaled_dot_product_attention(
        query, key, value, attn_mask=mask, dropout_p=dropout
    )
    return context_BHLA.transpose(1, 2).flatten(2)


class AddNorm(nn.Module):
    """Linear, dropout, sum with the residual, layer norm."""

    def __init__(self, width: int, residual_width: int, dropout: float) -> None:
        super().__init__()
        self.dense = nn.Linear(width, residual_width)
        self.dropout = nn.Dropout(dropout)
        self.norm = nn.LayerNorm(residual_width, eps=LAYER_NORM_EPS)

    def forward(self, x_BLD: torch.Tensor, residual_BLD: torch.Tensor) -> torch.Tensor:
        """Return (B, L, residual width)."""
        return self.norm(residual_BLD + self.dropout(self.dense(x_BLD)))


class FeedForward(nn.Module):
    """The second half of a block: Linear, GELU, then `AddNorm`."""

    def __init__(self, width: int, inner_width: int, dropout: float) -> None:
        super().__init__()
        self.inner = nn.Linear(width, inner_width)
        self.out = AddNorm(inner_width, width, dropout)

    def forward(self, x_BLD: torch.Tensor) -> torch.Tensor:
        """Return (B, L, D)."""
        return self.out(functional.gelu(self.inner(x_BLD)), x_BLD)


class SelfBlock(nn.Module):
    """One BERT layer on the tokens of one stream."""

    def __init__(self, width: int, inner_width: int, *, heads: int, dropout: float) -> None:
        super().__init__()
        self.heads = heads
        self.attention_dropout = dropout
        self.query = nn.Linear(width, width)
        self.key = nn.Linear(width, width)
        self.value = nn.Linear(width, width)
        self.out = AddNorm(width, width, dropout)
        self.feed_forward = FeedForward(width, inner_width, dropout)

    def forward(self, x_BLD: torch.Tensor, valid_BL: torch.Tensor | None) -> torch.Tensor:
        """Return (B, L, D)."""
        context_BLD = attend(
            self.query(x_BLD),
            self.key(x_BLD),
            self.value(x_BLD),
            heads=self.heads,
            valid_BM=valid_BL,
            dropout=self.attention_dropout if self.training else 0.0,
        )
        return self.feed_forward(self.out(context_BLD, x_BLD))


class CoAttention(nn.Module):
    """Queries of each stream against keys and values of the two others.

    `sequence` (paper): the keys of the two others stand one after the other, each of width X.
    `feature` (released): keys have width X / 2 and key i of one partner is joined to key i of
    the other inside every head, so that both need equally many tokens.
    """

    def __init__(
        self,
        widths: Widths,
        co_width: int,
        *,
        heads: int,
        keys: Literal["sequence", "feature"],
        dropout: float,
    ) -> None:
        super().__init__()
        self.heads = heads
        self.keys = keys
        self.attention_dropout = dropout
        key_width = co_width if keys == "sequence" else co_width // 2
        self.query = nn.ModuleList(nn.Linear(width, co_width) for width in widths)
        self.key = nn.ModuleList(nn.Linear(width, key_width) for width in widths)
        self.value = nn.ModuleList(nn.Linear(width, key_width) for width in widths)

    def forward(self, tokens: Streams, valid: Streams) -> Streams:
        """Return the context (B, L, X) of each stream; `valid` holds (B, L) key masks."""
        keys = [layer(x_BLD) for layer, x_BLD in zip(self.key, tokens, strict=True)]
        values = [layer(x_BLD) for layer, x_BLD in zip(self.value, tokens, strict=True)]
        contexts = []
        for stream, x_BLD in enumerate(tokens):
            first, second = (other for other in range(3) if other != stream)
            contexts.append(
                attend(
                    self.query[stream](x_BLD),
                    self._join(keys[first], keys[second]),
                    self._join(values[first], values[second]),
                    heads=self.heads,
                    valid_BM=self._join_valid(valid[first], valid[second]),
                    dropout=self.attention_dropout if self.training else 0.0,
                )
            )
        return Streams(*contexts)

    def _join(self, first_BLX: torch.Tensor, second_BLX: torch.Tensor) -> torch.Tensor:
        if self.keys == "sequence":
            return torch.cat((first_BLX, second_BLX), dim=1)
        halves = (half.unflatten(-1, (self.heads, -1)) for half in (first_BLX, second_BLX))
        return torch.cat(tuple(halves), dim=-1).flatten(2)

    def _join_valid(self, first_BL: torch.Tensor, second_BL: torch.Tensor) -> torch.Tensor:
        if self.keys == "sequence":
            return torch.cat((first_BL, second_BL), dim=1)
        return first_BL & second_BL


class CoBlock(nn.Module):
    """Tri-modal co-attention, then the feed-forward half of a block in every stream."""

    def __init__(
        self,
        widths: Widths,
        inner_widths: Widths,
        co_width: int,
        *,
        heads: int,
        keys: Literal["sequence", "feature"],
        dropout: float,
    ) -> None:
        super().__init__()
        self.attention = CoAttention(widths, co_width, heads=heads, keys=keys, dropout=dropout)
        self.out = nn.ModuleList(AddNorm(co_width, width, dropout) for width in widths)
        self.feed_forward = nn.ModuleList(
            FeedForward(width, inner, dropout)
            for width, inner in zip(widths, inner_widths, strict=True)
        )

    def forward(self, tokens: Streams, valid: Streams) -> Streams:
        """Return tokens of the same shapes."""
        contexts = self.attention(tokens, valid)
        return Streams(
            *(
                feed_forward(out(context, x_BLD))
                for feed_forward, out, context, x_BLD in zip(
                    self.feed_forward, self.out, contexts, tokens, strict=True
                )
            )
        )
