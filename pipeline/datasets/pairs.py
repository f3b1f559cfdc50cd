"""Pairs of test videos to mix: the published draw, and a clean one from a seed.

Sources: tribert.md section 7 (the published pairs); separation_baselines.md section 6 (partners of
another class).
"""

from __future__ import annotations

import random
from collections.abc import Collection, Sequence

import numpy as np

from pipeline.datasets.base import Dataset, DatasetError

PAIR_RULES = ("official", "disjoint")


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
    order, and never a clip with itself. Fewer pairs, perhaps none, come back when no more exist.
    """
    partners = disjoint_partners(labels)
    possible = sum(len(set(each) - {i}) for i, each in enumerate(partners)) // 2
    generator = np.random.default_rng([seed, len(labels)])
    chosen: dict[frozenset[int], tuple[int, int]] = {}
    while len(chosen) < min(count, possible):
        for first in generator.permutation(len(labels)):
            free = [
                int(j)
                for j in partners[first]
                if j != first and frozenset((int(first), int(j))) not in chosen
            ]
            if free and len(chosen) < count:
                second = free[generator.integers(len(free))]
                chosen[frozenset((int(first), int(second)))] = (int(first), int(second))
    return list(chosen.values())


def pair_list(
    dataset: Dataset, *, rule: str, count: int = 0, seed: int = 0
) -> list[tuple[str, str]]:
    """Return the item ids of each pair of a dataset's test items, taken in the dataset's order.

    For MUSIC21 with TriBERT's split and both solos and duets, the rule 'official' gives the 211
    published pairs, whichever of their videos can still be had.

    Parameters
    ----------
    dataset
        Any dataset whose splits are drawn.
    rule
        'official', or 'disjoint': no clip with itself, no shared label.
    count
        How many pairs; 0: as many as there are test items.
    seed
        Of the rule 'disjoint'; the published draw has its own.

    Raises
    ------
    DatasetError
        An unknown rule, no test item, or an unlabelled one where labels decide.
    """
    if rule not in PAIR_RULES:
        raise DatasetError(f"pair rule is {rule!r}; expected one of {', '.join(PAIR_RULES)}")
    test = [s.item for s in dataset.items if s.item.split == "test"]
    if not test:
        raise DatasetError(f"{dataset.name}: no test item to pair; draw its splits first")
    bare = [item.item_id for item in test if not item.labels]
    if rule == "disjoint" and bare:
        raise DatasetError(
            f"{dataset.name}: {bare[0]} has no label, so its pairs cannot be chosen by label; "
            "label it, or use the rule official"
        )
    if rule == "official":
        pairs = official_pairs(len(test))[: count or len(test)]
    else:
        pairs = disjoint_pairs([item.labels for item in test], count or len(test), seed=seed)
    return [(test[first].item_id, test[second].item_id) for first, second in pairs]
