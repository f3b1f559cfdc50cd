"""Does this query belong to that candidate: an MLP on the product of their embeddings.

In: embeddings of a query's streams, and of candidates. Out: one logit a candidate (TriBERT
section 4.2; sizes and the fusion of two streams from tribert.md section 8).

Legend: B queries, K candidates, E size of a stream's embedding, W common width, L tokens, D width
of a token.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import cast

import torch
from torch import nn

from model.retrieval.config import VARIANTS


class PairFusion(nn.Module):
    """Two embeddings to one: h = softmax(a v) v + a in each token, then h + MLP(h)."""

    def __init__(self, width: int, tokens: int) -> None:
        super().__init__()
        self.tokens = tokens
        self.mlp = nn.Sequential(
            nn.Linear(width, width),
            nn.Tanh(),
            nn.Linear(width, width),
            nn.Tanh(),
            nn.Linear(width, width),
        )

    def forward(self, seen_BW: torch.Tensor, heard_BW: torch.Tensor) -> torch.Tensor:
        """Return (B, W); the softmax runs over the channels of a token."""
        seen_BLD, heard_BLD = (x.unflatten(1, (self.tokens, -1)) for x in (seen_BW, heard_BW))
        weight_BLD = (heard_BLD * seen_BLD).softmax(dim=2)
        hidden_BW = (weight_BLD * seen_BLD + heard_BLD).flatten(1)
        return hidden_BW + self.mlp(hidden_BW)


class Scorer(nn.Module):
    """One variant: what is asked with, what is looked for, and how well they match.

    Parameters
    ----------
    variant
        Name in `config.VARIANTS`.
    sizes
        E of each stream. The largest of the variant's streams is the common width; a smaller
        embedding goes through a linear layer.
    tokens
        L of an embedding.
    hidden
        Widths of the MLP between the product and the logit.
    """

    def __init__(
        self, variant: str, sizes: Mapping[str, int], tokens: int, hidden: Sequence[int]
    ) -> None:
        super().__init__()
        self.queries, self.result = VARIANTS[variant]
        streams = (*self.queries, self.result)
        width = max(sizes[stream] for stream in streams)
        self.place = nn.ModuleDict(
            {
                stream: nn.Identity() if sizes[stream] == width else nn.Linear(sizes[stream], width)
                for stream in streams
            }
        )
        self.fusion = PairFusion(width, tokens) if len(self.queries) == 2 else None
        layers: list[nn.Module] = []
        for before, after in pairwise((width, *hidden)):
            layers += [nn.Linear(before, after), nn.Tanh()]
        self.align = nn.Sequential(*layers, nn.Linear((width, *hidden)[-1], 1))

    def query(self, vectors: Mapping[str, torch.Tensor]) -> torch.Tensor:
        """Return (B, W) from the (B, E) of each stream of the query."""
        placed = [self.place[stream](vectors[stream]) for stream in self.queries]
        return placed[0] if self.fusion is None else self.fusion(*placed)

    def candidates(self, vectors: Mapping[str, torch.Tensor]) -> torch.Tensor:
        """Return (..., W) from the (..., E) of the stream that is looked for."""
        return self.place[self.result](vectors[self.result])

    def forward(self, query_BW: torch.Tensor, candidates_BKW: torch.Tensor) -> torch.Tensor:
        """Return the logits (B, K): no softmax, the loss has it."""
        return self.align(query_BW[:, None] * candidates_BKW).squeeze(2)


class Scorers(nn.Module):
    """The scorers of several variants, and the scaling of the embeddings that they share.

    The variants have no weight in common: trained together they learn as they would one by one.
    """

    def __init__(
        self, variants: Sequence[str], sizes: Mapping[str, int], tokens: int, hidden: Sequence[int]
    ) -> None:
        super().__init__()
        self.scorers = nn.ModuleDict(
            {variant: Scorer(variant, sizes, tokens, hidden) for variant in variants}
        )
        for stream, size in sizes.items():
            self.register_buffer(f"{stream}_mean_E", torch.zeros(size))
            self.register_buffer(f"{stream}_deviation_E", torch.ones(size))

    def __getitem__(self, variant: str) -> Scorer:
        """Return the scorer of one variant."""
        return cast(Scorer, self.scorers[variant])

    def fit_scale(self, vectors: Mapping[str, torch.Tensor]) -> None:
        """Take mean and deviation of every feature from (N, E) of each stream.

        A feature that hardly varies is not blown up: no deviation counts as less than a tenth of
        the stream's average one.
        """
        for stream, vectors_NE in vectors.items():
            deviation_E = vectors_NE.std(dim=0, correction=0)
            floor = max(0.1 * float(deviation_E.mean()), 1e-6)
            getattr(self, f"{stream}_mean_E").copy_(vectors_NE.mean(0))
            getattr(self, f"{stream}_deviation_E").copy_(deviation_E.clamp(min=floor))

    def scaled(self, vectors: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """Return (N, E) of each stream, scaled."""
        return {
            stream: (x - getattr(self, f"{stream}_mean_E")) / getattr(self, f"{stream}_deviation_E")
            for stream, x in vectors.items()
        }

    def score_all(
        self, variant: str, vectors: Mapping[str, torch.Tensor], rows_B: torch.Tensor
    ) -> torch.Tensor:
        """Return the logits (B, N) of the clips `rows_B` as queries against all N clips."""
        scorer = self[variant]
        scaled = self.scaled(vectors)
        query_BW = scorer.query({name: x[rows_B] for name, x in scaled.items()})
        candidates_NW = scorer.candidates(scaled)
        return torch.cat([scorer(one_1W, candidates_NW[None]) for one_1W in query_BW.split(1)])
