"""Items in, the same items with a split each out: drawn by video, per class, from a seed.

The order of the draw is a hash of the seed and the video's id, so neither the order of the list
nor the machine changes it. Splits that are given stay.
"""

from __future__ import annotations

import hashlib
import math
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import replace

from pipeline.datasets.base import DatasetError, video_of
from storage.records import DatasetItem

_ENOUGH = 3
"""Videos that a class needs before some of them are held out."""


def draw_splits(
    items: Sequence[DatasetItem], seed: int, fractions: tuple[float, float, float] = (0.8, 0.1, 0.1)
) -> tuple[DatasetItem, ...]:
    """Return `items`, in their order, with 'train', 'val' or 'test' where the split was empty.

    All windows of a video get one split, the given one if it has one. Each class is divided by
    `fractions` (train, val, test), rarest class first; a class with three videos or more gets at
    least one video for test, one for val and one for train, unless given splits or videos shared
    with other classes leave none. A class with fewer stays in train. Items without labels are
    divided like a class of their own.

    Raises
    ------
    DatasetError
        The given splits put one video in two of them.
    ValueError
        Fractions that are negative or do not sum to 1.
    """
    if min(fractions) < 0 or abs(sum(fractions) - 1) > 1e-9:
        raise ValueError(f"fractions {fractions}: expected three that sum to 1")
    split_of = _given(items)
    for videos in _rarest_first(items):
        _divide(sorted(videos, key=lambda video: _draw(seed, video)), split_of, fractions)
    return tuple(
        replace(item, split=split_of.get(video_of(item.item_id), "train")) for item in items
    )


def carve_validation(
    items: Sequence[DatasetItem], *, seed: int, fraction: float = 0.1
) -> tuple[DatasetItem, ...]:
    """Return training items, in their order, with a fraction of them as 'val'.

    Items with the same labels are one class; the number of each class follows its size, so that
    all together are `fraction` of the items, to the nearest whole. Which ones depends on the seed
    and their own ids only. One video must be one item.

    Raises
    ------
    ValueError
        A fraction below 0 or above 1.
    """
    if not 0 <= fraction <= 1:
        raise ValueError(f"fraction {fraction}: expected 0 to 1")
    classes: dict[tuple[str, ...], list[str]] = defaultdict(list)
    for item in items:
        classes[tuple(sorted(item.labels))].append(item.item_id)
    exact = {labels: len(ids) * fraction for labels, ids in classes.items()}
    quota = {labels: math.floor(number) for labels, number in exact.items()}
    missing = round(len(items) * fraction) - sum(quota.values())
    for labels in sorted(exact, key=lambda x: (quota[x] - exact[x], x))[:missing]:
        quota[labels] += 1
    held = {
        item_id
        for labels, ids in classes.items()
        for item_id in sorted(ids, key=lambda i: _draw(seed, video_of(i)))[: quota[labels]]
    }
    return tuple(replace(item, split="val") if item.item_id in held else item for item in items)


def _given(items: Iterable[DatasetItem]) -> dict[str, str]:
    split_of: dict[str, str] = {}
    for item in items:
        if item.split and split_of.setdefault(video_of(item.item_id), item.split) != item.split:
            raise DatasetError(
                f"{video_of(item.item_id)}: windows of one video in two splits, "
                f"{split_of[video_of(item.item_id)]} and {item.split}; give it one"
            )
    return split_of


def _rarest_first(items: Iterable[DatasetItem]) -> list[set[str]]:
    """Return the videos of each class, the class with the fewest first."""
    labels_of: dict[str, set[str]] = defaultdict(set)
    for item in items:
        labels_of[video_of(item.item_id)] |= set(item.labels)
    videos_of: dict[str, set[str]] = defaultdict(set)
    for video, labels in labels_of.items():
        for label in labels or {""}:
            videos_of[label].add(video)
    return [videos_of[label] for label in sorted(videos_of, key=lambda x: (len(videos_of[x]), x))]


def _draw(seed: int, video: str) -> str:
    return hashlib.sha256(f"{seed}/{video}".encode()).hexdigest()


def _divide(
    videos: list[str], split_of: dict[str, str], fractions: tuple[float, float, float]
) -> None:
    """Give `split_of` enough of one class's `videos` for test and val, and one for train.

    The rest stay open for the classes still to come; what nobody takes is for training.
    """
    if len(videos) < _ENOUGH:
        return
    _, val, test = fractions
    wanted = {
        "test": max(1, round(test * len(videos))) if test else 0,
        "val": max(1, round(val * len(videos))) if val else 0,
        "train": 1,
    }
    given = [split_of.get(video, "") for video in videos]
    open_videos = [video for video in videos if video not in split_of]
    for split in ("test", "train", "val"):
        for _ in range(wanted[split] - given.count(split)):
            if open_videos:
                split_of[open_videos.pop(0)] = split
