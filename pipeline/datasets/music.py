"""MUSIC21 and MUSIC as datasets: official classes, one of the published splits, solos and duets.

Sources: tribert.md sections 6 to 9. Items are whole videos of the source `youtube`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path

from pipeline.datasets.base import SPLITS, Dataset, DatasetError, SourceItem
from pipeline.datasets.classes import order_classes
from pipeline.datasets.list_folder import ListFolder
from pipeline.datasets.music_lists import MUSIC21_SOLOS, MUSIC_SOLOS, Instruments, read_official
from pipeline.datasets.music_splits import (
    DRAW,
    MUSIC21_SPLITS,
    MUSIC_SPLITS,
    Parts,
    read_music21_split,
    read_music_split,
    shared_ids,
)
from pipeline.datasets.splits import carve_validation
from pipeline.datasets.youtube import item_id, source_item

VIEWS = ("solo", "solo+duet")


def read_music21(
    lists: Path,
    *,
    view: str = "solo+duet",
    split: str = "tribert",
    refit: bool = False,
    seed: int = 0,
) -> Dataset:
    """Return MUSIC21: the videos of one published split, with the instruments of each.

    Parameters
    ----------
    lists
        A folder with the published lists, in any arrangement.
    view
        'solo' or 'solo+duet'.
    split
        'tribert' (840 and 211 videos), 'iquery' (894 and 198 solos), or 'draw': every official
        video, with splits still to be drawn.
    refit
        Train on all training videos. Otherwise a tenth of them validates, drawn from `seed`,
        class by class; never a test video.

    Raises
    ------
    DatasetError
        An unknown view or split, or a list that is missing or cannot be used.
    """
    _check("view", view, VIEWS)
    _check("split", split, MUSIC21_SPLITS)
    folder = ListFolder(lists)
    solos, duets = read_official(folder, MUSIC21_SOLOS)
    known = {**solos, **duets}
    parts = None if split == DRAW else read_music21_split(folder, split, known)
    wanted = solos if view == "solo" else known
    return _dataset("music21", folder, wanted, split, parts, carve=not refit, seed=seed)


def read_music(
    lists: Path, *, view: str = "solo", split: str = "co-separation", seed: int = 0
) -> Dataset:
    """Return MUSIC (11 instruments): the videos of one published split.

    All published splits name solos only: with 'solo+duet' the duets are left out and counted,
    unless splits are drawn.

    Parameters
    ----------
    lists, view, seed
        As for `read_music21`; iQuery's list has no validation part, so one is carved from training.
    split
        'co-separation', 'ccol', 'iquery', 'clipsep', 'mix-and-localize' or 'draw'.

    Raises
    ------
    DatasetError
        As `read_music21`.
    """
    _check("view", view, VIEWS)
    _check("split", split, MUSIC_SPLITS)
    folder = ListFolder(lists)
    solos, duets = read_official(folder, MUSIC_SOLOS)
    parts = None if split == DRAW else read_music_split(folder, split, solos)
    wanted = solos if view == "solo" else {**solos, **duets}
    return _dataset("music", folder, wanted, split, parts, carve=True, seed=seed)


def _check(what: str, value: str, allowed: Iterable[str]) -> None:
    if value not in allowed:
        raise DatasetError(f"{what} is {value!r}; expected one of {', '.join(allowed)}")


def _dataset(
    name: str,
    folder: ListFolder,
    wanted: Instruments,
    split: str,
    parts: Parts | None,
    *,
    carve: bool,
    seed: int,
) -> Dataset:
    split_of = dict.fromkeys(wanted, "") if parts is None else _split_of(parts)
    items = [
        source_item(video_id, labels=wanted[video_id], split=part)
        for video_id, part in split_of.items()
        if video_id in wanted
    ]
    shared = {} if parts is None else shared_ids(parts)
    notes = [*folder.notes(), *_left_out(split, wanted, split_of), *_said(split, shared)]
    if carve and parts is not None and "val" not in parts:
        items = _carved(items, seed)
        held = sum(s.item.split == "val" for s in items)
        notes.append(f"{held} of the training videos validate (drawn class by class, seed {seed})")
    both = shared.get(("train", "test"), ())
    return Dataset(
        name=name,
        items=tuple(items),
        classes=order_classes(label for labels in wanted.values() for label in labels),
        notes=tuple(notes),
        overlap=tuple(str(item_id(video_id)) for video_id in both if video_id in wanted),
        list_files=folder.files,
        irregularities={f"in_{a}_and_{b}": len(ids) for (a, b), ids in shared.items()},
    )


def _split_of(parts: Parts) -> dict[str, str]:
    """Return each id's split, part after part in list order; test goes before val before train."""
    last = {video_id: part for part in SPLITS for video_id in parts.get(part, ())}
    return {
        video_id: part
        for part in SPLITS
        for video_id in parts.get(part, ())
        if last[video_id] == part
    }


def _left_out(split: str, wanted: Instruments, split_of: Mapping[str, str]) -> Iterable[str]:
    outside = [labels for video_id, labels in wanted.items() if video_id not in split_of]
    duets = sum(len(labels) > 1 for labels in outside)
    if outside:
        yield (
            f"{len(outside)} of the official {len(wanted)} videos ({len(outside) - duets} solos, "
            f"{duets} duets) are in no part of the split {split} and are left out"
        )
    other = sum(video_id not in wanted for video_id in split_of)
    if other:
        yield f"{other} duets of the split {split} are left out of the view of solos"


def _said(split: str, shared: Mapping[tuple[str, str], tuple[str, ...]]) -> Iterable[str]:
    for (first, second), ids in shared.items():
        yield (
            f"the split {split} has {len(ids)} videos in both {first} and {second}; "
            f"here they are {second} only"
        )


def _carved(items: list[SourceItem], seed: int) -> list[SourceItem]:
    """Return the items with a tenth of the training videos as validation."""
    train = [s.item for s in items if s.item.split == "train"]
    carved = {item.item_id: item for item in carve_validation(train, seed=seed)}
    return [replace(s, item=carved.get(s.item.item_id, s.item)) for s in items]
