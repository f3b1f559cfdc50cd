"""The transformer of audio-visual grounding: every second of every stream is a token (UNITER-like).

In: features of every second. Out: the same seconds in the context of all streams.

As released but for three things: the learnt vector that is added to all inputs there is part of the
linear map's bias; positions are sinusoids (the release overwrites its own with noise when it draws
the first weights); a stream that does not take part has no tokens at all (the release masks them).

Legend: B videos, T seconds, H width, E size of a feature.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from model.avg.config import EncoderConfig

EPSILON = 1e-12
DEVIATION = 0.02
"""Of the first weights."""
TYPES: Mapping[str, int] = {"picture": 0, "audio": 1, "motion": 1}
"""Stream -> its row of the type embedding."""
SECONDS = 64
"""Positions that are computed once; those of longer videos anew each time."""


def sinusoids(seconds: int, width: int) -> Tensor:
    """Return fixed positions, float32 (seconds, width): sines at even columns, cosines at odd.

    Column pair i has the wavelength 2 pi 10000^(2i / width) (Vaswani et al. 2017, section 3.5).
    """
    second = torch.arange(seconds, dtype=torch.float64)[:, None]
    even = torch.arange(0, width, 2, dtype=torch.float64)
    angle = second / 10000 ** (even / width)
    return torch.stack([angle.sin(), angle.cos()], dim=-1).flatten(1).float()


class StreamTokens(nn.Module):
    """Tokens of one stream: its features mapped and normalised, with position and type."""

    positions_TH: Tensor

    def __init__(self, size: int, config: EncoderConfig) -> None:
        super().__init__()
        self.from_feature = nn.Linear(size, config.width)
        self.norm_feature = nn.LayerNorm(config.width, eps=EPSILON)
        self.norm = nn.LayerNorm(config.width, eps=EPSILON)
        self.dropout = nn.Dropout(config.dropout)
        self.register_buffer("positions_TH", sinusoids(SECONDS, config.width), persistent=False)

    def forward(self, x_BTE: Tensor, type_H: Tensor) -> Tensor:
        """Return the tokens, (B, T, H)."""
        seconds, positions_TH = x_BTE.shape[1], self.positions_TH
        if seconds > len(positions_TH):
            positions_TH = sinusoids(seconds, positions_TH.shape[1]).to(positions_TH)
        x_BTH = self.norm_feature(self.from_feature(x_BTE)) + positions_TH[:seconds] + type_H
        return self.dropout(self.norm(x_BTH))


class Encoder(nn.Module):
    """Attention of all seconds of all streams to each other.

    Parameters
    ----------
    config
    sizes
        Stream (of `TYPES`) -> size of its features.
    """

    def __init__(self, config: EncoderConfig, sizes: Mapping[str, int]) -> None:
        super().__init__()
        self.streams = nn.ModuleDict({s: StreamTokens(e, config) for s, e in sizes.items()})
        self.types = nn.Embedding(1 + max(TYPES.values()), config.width)
        self.layers = nn.ModuleList(_layer(config) for _ in range(config.layers))
        self.apply(_draw)

    def forward(
        self, features: Mapping[str, Tensor], absent_BT: Tensor | None = None
    ) -> dict[str, Tensor]:
        """Return each stream's seconds in context, (B, T, H).

        `features` has (B, T, E) for every stream. `absent_BT` is True at the padded seconds of
        shorter videos, which nothing attends to; None when there are none.
        """
        tokens = [
            self.streams[stream](x_BTE, self.types.weight[TYPES[stream]])
            for stream, x_BTE in features.items()
        ]
        x_BSH = torch.cat(tokens, dim=1)
        absent_BS = None if absent_BT is None else absent_BT.repeat(1, len(tokens))
        for layer in self.layers:
            x_BSH = layer(x_BSH, src_key_padding_mask=absent_BS)
        return dict(zip(features, x_BSH.chunk(len(tokens), dim=1), strict=True))


def _layer(config: EncoderConfig) -> nn.TransformerEncoderLayer:
    """Return one post-norm layer of BERT: torch's, but for a dropout that BERT has not."""
    layer = nn.TransformerEncoderLayer(
        config.width,
        config.heads,
        config.inner_width,
        dropout=config.dropout,
        activation=nn.functional.gelu,
        layer_norm_eps=EPSILON,
        batch_first=True,
    )
    layer.dropout = nn.Dropout(0.0)  # between the two maps of the feed-forward part
    return layer


def _draw(module: nn.Module) -> None:
    """Draw a module's first weights as BERT does; biases are zero."""
    if isinstance(module, nn.Linear | nn.Embedding):
        nn.init.normal_(module.weight, std=DEVIATION)
    if isinstance(module, nn.Linear):
        nn.init.zeros_(module.bias)
    if isinstance(module, nn.MultiheadAttention):
        nn.init.normal_(module.in_proj_weight, std=DEVIATION)
        nn.init.zeros_(module.in_proj_bias)
