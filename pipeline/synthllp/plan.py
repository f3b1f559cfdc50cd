"""LLP's items in, which class is heard and seen in which second of each clip out."""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from pipeline.datasets.base import SPLITS, Dataset, DatasetError
from pipeline.datasets.events import event_array
from storage.records import DatasetItem

SECONDS = 10
SIZES: Mapping[str, Mapping[str, int]] = {
    "micro": {"train": 48, "val": 12, "test": 24},
    "small": {"train": 900, "val": 100, "test": 1200},
    "full": {"train": 10_000, "val": 649, "test": 1200},
}
"""Clips of each part; 'small' keeps the whole test part, so that its reference rows are LLP's."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class SynthClip:
    """One clip; `on` is uint8 (modality, class, second), modality 0 audio, 1 visual."""

    item_id: str
    on: np.ndarray


def check_lists(llp: Dataset, spec: str, specs: Sequence[str]) -> None:
    """Raise DatasetError for an unknown spec, or lists with fewer clips than it needs."""
    if spec not in specs:
        raise DatasetError(f"synthllp: size is {spec!r}; expected one of {', '.join(specs)}")
    listed = [entry.item.split for entry in llp.items]
    for split, needed in SIZES[spec.partition("-")[0]].items():
        if listed.count(split) < needed:
            raise DatasetError(
                f"synthllp:{spec}: expected {needed} {split} clips in LLP's lists, got "
                f"{listed.count(split)}; give the published lists in full"
            )


def plan_clips(llp: Dataset, *, size: str, clean: bool, seed: int) -> tuple[SynthClip, ...]:
    """Return the clips of a size, in the lists' order, with LLP's ids.

    With `clean` no label of a training clip is missing from a modality.
    """
    items = [entry.item for entry in llp.items]
    patterns = label_patterns(items, llp.classes, both=clean)
    clips = []
    for split in SPLITS:
        listed = [item for item in items if item.split == split]
        drawn = _rng(seed, split).permutation(len(listed))[: SIZES[size][split]]
        for i in sorted(drawn):
            item = listed[i]
            if item.events is None:
                on = _drawn(item, llp.classes, patterns, _rng(seed, item.item_id))
            else:
                on = event_array(item.events, llp.classes, SECONDS)
            clips.append(SynthClip(item_id=item.item_id, on=on))
    return tuple(clips)


def label_patterns(
    items: Sequence[DatasetItem], classes: Sequence[str], *, both: bool = False
) -> dict[str, np.ndarray]:
    """Return when each class is heard and seen in the clips that are tagged with it.

    Clips without dense events, and those in which a tag is neither heard nor seen, are left out;
    with `both` also those in which it is only heard or only seen.

    Returns
    -------
    dict
        Class -> uint8 (clips, modality, second).
    """
    found: dict[str, list[np.ndarray]] = {name: [] for name in classes}
    for item in items:
        if item.events is None:
            continue
        on = event_array(item.events, classes, SECONDS)
        for label in item.labels:
            pattern = on[:, list(classes).index(label)]
            present = pattern.any(axis=1)
            if present.all() if both else present.any():
                found[label].append(pattern)
    return {name: np.array(patterns) for name, patterns in found.items()}


def _drawn(
    item: DatasetItem,
    classes: Sequence[str],
    patterns: Mapping[str, np.ndarray],
    rng: np.random.Generator,
) -> np.ndarray:
    """Return seconds for a clip of which the labels alone are known."""
    on = np.zeros((2, len(classes), SECONDS), np.uint8)
    for label in item.labels:
        if not len(patterns[label]):
            raise DatasetError(
                f"synthllp: no dense events of {label}, which {item.item_id} is tagged with; give "
                "the published lists in full"
            )
        on[:, list(classes).index(label)] = rng.choice(patterns[label])
    return on


def _rng(seed: int, name: str) -> np.random.Generator:
    return np.random.default_rng([seed, zlib.crc32(name.encode())])
