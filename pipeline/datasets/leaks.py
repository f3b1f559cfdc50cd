"""Which videos a training list shares with a test list, by the lists' names.

Flows in: named lists of ids (a video's, or an item's). Flows out: one `Leak` for each pair of a
training and a test list that share videos.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from pipeline.datasets.base import Dataset, DatasetError, video_of
from pipeline.datasets.list_folder import ListFolder
from pipeline.datasets.llp import read_llp_ids
from pipeline.datasets.music_lists import MUSIC21_SOLOS, MUSIC_SOLOS, read_official
from pipeline.datasets.music_splits import (
    DRAW,
    MUSIC21_SPLITS,
    MUSIC_SPLITS,
    Parts,
    read_music21_split,
    read_music_split,
)
from pipeline.datasets.youtube import SOURCE


@dataclass(frozen=True, slots=True, kw_only=True)
class Leak:
    """The videos, sorted, that a training list and a test list have in common."""

    train: str
    test: str
    ids: tuple[str, ...]

    def __str__(self) -> str:
        shown = ", ".join(self.ids[:3]) + (", ..." if len(self.ids) > 3 else "")
        return f"{self.train} and {self.test} share {len(self.ids)} videos ({shown})"


def leak_report(
    trains: Mapping[str, Collection[str]], tests: Mapping[str, Collection[str]]
) -> list[Leak]:
    """Return every pair of a training and a test list that shares videos, in the mappings' order.

    Parameters
    ----------
    trains, tests
        Name of a list -> its ids: YouTube ids, or item ids, of which the video counts and the
        window does not. `youtube/<id>/...` and `<id>` are the same video.
    """
    train_videos = {name: {video_key(i) for i in ids} for name, ids in trains.items()}
    test_videos = {name: {video_key(i) for i in ids} for name, ids in tests.items()}
    return [
        Leak(train=train, test=test, ids=tuple(sorted(own & other)))
        for train, own in train_videos.items()
        for test, other in test_videos.items()
        if own & other
    ]


def dataset_leaks(dataset: Dataset) -> list[Leak]:
    """Return what a dataset's own training and validation share with its own test.

    The published lists' overlap counts, although such an item is a test item only.
    """
    ids: dict[str, list[str]] = {"train": [], "val": [], "test": []}
    for item in (s.item for s in dataset.items):
        if item.split:
            ids[item.split].append(item.item_id)
    ids["train"].extend(dataset.overlap)
    named = {f"{dataset.name}/{split}": of for split, of in ids.items()}
    test = f"{dataset.name}/test"
    return leak_report({n: of for n, of in named.items() if n != test}, {test: named[test]})


def known_lists(lists: Path) -> dict[str, tuple[str, ...]]:
    """Return the YouTube ids of every published list found below a folder, by the list's name.

    Names are `music21/<split>/<part>`, `music/<split>/<part>` and `llp/<part>`, the part being
    train, val or test, as published (before a validation part is carved). Lists whose files are
    not there, or cannot be read, are left out: `check_lists` says why.

    Raises
    ------
    DatasetError
        No such folder.
    """
    folder = ListFolder(lists)
    found: dict[str, tuple[str, ...]] = {}
    for name, read in readers(folder).items():
        try:
            parts = read()
        except DatasetError:
            continue
        found.update({f"{name}/{part}": ids for part, ids in parts.items()})
    return found


def readers(folder: ListFolder) -> Mapping[str, Callable[[], Parts]]:
    """Return for each published split, by name, what reads its parts from a folder."""

    def music21(split: str) -> Parts:
        solos, duets = read_official(folder, MUSIC21_SOLOS)
        return read_music21_split(folder, split, {**solos, **duets})

    def music(split: str) -> Parts:
        return read_music_split(folder, split, read_official(folder, MUSIC_SOLOS)[0])

    return {
        **{f"music21/{name}": partial(music21, name) for name in MUSIC21_SPLITS if name != DRAW},
        **{f"music/{name}": partial(music, name) for name in MUSIC_SPLITS if name != DRAW},
        "llp": partial(read_llp_ids, folder),
    }


def video_key(listed: str) -> str:
    """Return what names the video of an item id, or of a bare YouTube id."""
    video = video_of(listed) if listed.count("/") == 2 else listed
    return video.removeprefix(f"{SOURCE}/")
