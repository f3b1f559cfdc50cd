"""Which videos are mixed, and how: sources divided by their number, then added.

In: waveforms or complex spectra, labels of the clips. Out: scaled sources with their mixture, and
lists of pairs that depend on a seed only.

Sources: tribert.md sections 3 (mean convention), 7 (official pairs); separation_baselines.md
section 6 (partners of another class).
"""

from __future__ import annotations

import random
from collections.abc import Collection, Sequence

import numpy as np
import torch

from model.tribert.errors import SeparationError


def mean_mixture(sources_N: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the sources divided by their number, and their sum: the mixture.

    Each source is scaled before it is mixed and before its own STFT, so what a prediction is
    scored against is scaled too (SDR does not depend on scale, masks neither).

    Parameters
    ----------
    sources_N
        Waveforms or complex spectra, N on axis 0, any other axes.
    """
    scaled_N = sources_N / sources_N.shape[0]
    return scaled_N, scaled_N.sum(dim=0)


def official_pairs(videos: int) -> list[tuple[int, int]]:
    """Return the published test pairs for a list of `videos` (211 in the paper): (i, partner).

    Row i's partner is drawn from Python's generator seeded with i; it may be i itself, and may play
    the same instrument (tribert.md section 7).
    """
    return [(i, random.Random(i).randint(0, videos - 1)) for i in range(videos)]


def disjoint_partners(labels: Sequence[Collection[str]]) -> list[np.ndarray]:
    """Return for every clip the positions of the clips that share no label with it, ascending."""
    sets = [frozenset(each) for each in labels]
    by_set = {
        own: np.array([i for i, other in enumerate(sets) if own.isdisjoint(other)], dtype=np.int64)
        for own in set(sets)
    }
    return [by_set[own] for own in sets]


def disjoint_pairs(
    labels: Sequence[Collection[str]], count: int, *, seed: int
) -> list[tuple[int, int]]:
    """Return `count` pairs of clips that share no instrument, the same for the same arguments.

    Every clip comes first in its turn before one comes first again; a pair appears once, in one
    order. Fewer pairs come back when no more exist.

    Raises
    ------
    SeparationError
        No two clips are free of a common label.
    """
    partners = disjoint_partners(labels)
    possible = sum(len(each) for each in partners) // 2
    if not possible:
        raise SeparationError(
            f"test pairs: {len(labels)} clips, and no two without a common label: "
            "add clips of another class, or set pairs = 'official'"
        )
    generator = np.random.default_rng([seed, len(labels)])
    chosen: dict[frozenset[int], tuple[int, int]] = {}
    while len(chosen) < min(count, possible):
        for first in generator.permutation(len(labels)):
            free = [j for j in partners[first] if frozenset((int(first), int(j))) not in chosen]
            if free and len(chosen) < count:
                second = free[int(generator.integers(len(free)))]
                chosen[frozenset((int(first), int(second)))] = (int(first), int(second))
    return list(chosen.values())
