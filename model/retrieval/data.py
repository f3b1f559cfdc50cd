"""Choices that a scorer learns from: one right candidate among hard and random wrong ones.

In: which clip lies near which by what is seen. Out: for (epoch, index) the candidates' rows, a pure
function of the key and the seed (TriBERT section 4.2; tribert.md section 8).

Legend: N clips, K candidates.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch.nn import functional
from torch.utils.data import Dataset

from model.retrieval.config import VARIANTS, Config
from model.retrieval.errors import RetrievalError
from pipeline.datasets.base import video_of

Choice = dict[str, torch.Tensor]
"""Variant -> int64 rows of the candidates, the right one (which is also the query) first."""


class Choices(Dataset[Choice]):
    """One choice a training clip and variant.

    Parameters
    ----------
    item_ids
        Of the clips; a clip of the right one's video is never a wrong candidate.
    seen_NE
        What neighbours are looked for in: float32 (N, E).

    Raises
    ------
    RetrievalError
        A clip has fewer clips of other videos than a choice needs.
    """

    def __init__(
        self, item_ids: Sequence[str], seen_NE: torch.Tensor, config: Config, seed: int
    ) -> None:
        self.config = config
        self.seed = seed
        self.order = neighbours(item_ids, seen_NE)
        most = max(config.ways, config.pair_ways + config.pair_skips) - 1
        if len(item_ids) < 2 or min(map(len, self.order)) < most:
            raise RetrievalError(
                f"{len(item_ids)} training clips: each needs {most} clips of other videos to be "
                "told from; add clips, or lower retrieval.ways, pair_ways and pair_skips"
            )

    def __len__(self) -> int:
        return len(self.order)

    def __getitem__(self, key: tuple[int, int]) -> Choice:
        """Return the candidates of clip `index` in an epoch, for every variant."""
        epoch, index = key
        rng = np.random.default_rng([self.seed, epoch, index])
        drawn = {
            variant: self._pair(index, rng)
            if len(VARIANTS[variant][0]) == 2
            else self._single(index, rng)
            for variant in self.config.variants
        }
        return {name: torch.from_numpy(np.array([index, *rows])) for name, rows in drawn.items()}

    def _single(self, index: int, rng: np.random.Generator) -> np.ndarray:
        near = self.order[index][: max(self.config.neighbours, self.config.ways - 1)]
        return rng.choice(near, self.config.ways - 1, replace=False)

    def _pair(self, index: int, rng: np.random.Generator) -> np.ndarray:
        """Return one hard candidate, not from the very nearest, and random ones."""
        skips = self.config.pair_skips
        near = self.order[index][skips : max(self.config.neighbours, skips + 1)]
        hard = rng.choice(near, 1)
        others = np.setdiff1d(self.order[index], hard)
        return np.concatenate([hard, rng.choice(others, self.config.pair_ways - 2, replace=False)])


class Rows(Dataset[int]):
    """The rows 0..N-1 themselves: queries of a ranking over the whole pool."""

    def __init__(self, count: int) -> None:
        self.count = count

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, key: tuple[int, int]) -> int:
        """Return the row, whatever the epoch."""
        return key[1]


def neighbours(item_ids: Sequence[str], seen_NE: torch.Tensor) -> list[np.ndarray]:
    """Return for each clip the rows of the clips of other videos, nearest (by cosine) first."""
    unit_NE = functional.normalize(seen_NE - seen_NE.mean(0), dim=1)
    nearness_NN = (unit_NE @ unit_NE.T).numpy()
    videos = np.array([video_of(item_id) for item_id in item_ids])
    order_NN = np.argsort(-nearness_NN, axis=1, kind="stable")
    return [rows[videos[rows] != videos[own]] for own, rows in enumerate(order_NN)]


def collate(samples: Sequence[Choice] | Sequence[int]) -> Mapping[str, torch.Tensor] | torch.Tensor:
    """Return choices as (B, K) rows by variant, or rows as (B,) int64."""
    first = samples[0]
    if isinstance(first, int):
        return torch.tensor(samples)
    return {name: torch.stack([each[name] for each in samples]) for name in first}  # type: ignore[index]
