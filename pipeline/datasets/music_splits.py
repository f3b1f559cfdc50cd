"""The published divisions of MUSIC and MUSIC21 into training, validation and test.

Flows in: the split files of five projects, each in its own format. Flows out: for each part its
ids, in the file's order. Co-Separation publishes a rule and no files.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from pipeline.datasets.base import DatasetError
from pipeline.datasets.list_folder import ListFolder
from pipeline.datasets.music_lists import Instruments
from pipeline.datasets.tables import Row, read_lines
from pipeline.datasets.youtube import is_video_id

DRAW = "draw"
CO_SEPARATION = "co-separation"

Parts = Mapping[str, tuple[str, ...]]
"""'train', 'val', 'test' -> ids in the order of the list."""


@dataclass(frozen=True, slots=True)
class _Lists:
    """The files of one split, and how many fields a row of them has."""

    files: Mapping[str, str]
    fields: tuple[int, ...]


def _three(folder: str) -> Mapping[str, str]:
    return {part: f"{folder}/{part}.csv" for part in ("train", "val", "test")}


_MUSIC21 = {
    "tribert": _Lists(
        {"train": "tribert/music21_train.csv", "test": "tribert/music21_val.csv"}, (1,)
    ),
    "iquery": _Lists(
        {
            "train": "iquery/MUSIC_21/trainmusic21.csv",
            "test": "iquery/MUSIC_21/testmusic21.csv",
        },
        (3,),
    ),
}
_MUSIC = {
    "ccol": _Lists(_three("ccol_music11"), (3,)),
    "iquery": _Lists(
        {"train": "iquery/MUSIC/trainmusic.csv", "test": "iquery/MUSIC/testmusic.csv"}, (3,)
    ),
    "clipsep": _Lists(_three("clipsep_music11_solo"), (3, 4)),
    "mix-and-localize": _Lists(_three("mix_and_localize_music11_solo"), (1,)),
}

MUSIC21_SPLITS = (*_MUSIC21, DRAW)
MUSIC_SPLITS = (CO_SEPARATION, *_MUSIC, DRAW)


def read_music21_split(lists: ListFolder, split: str, known: Instruments) -> Parts:
    """Return the parts of one of MUSIC21's splits; `known` holds every official id.

    Raises
    ------
    DatasetError
        A list that is missing or malformed, or an id that is twice in it or not official.
    """
    return _read_parts(lists, _MUSIC21[split], known)


def read_music_split(lists: ListFolder, split: str, known: Instruments) -> Parts:
    """Return the parts of one of MUSIC's splits; `known` holds the official solos, in order.

    Raises as `read_music21_split`.
    """
    if split == CO_SEPARATION:
        return co_separation(known)
    return _read_parts(lists, _MUSIC[split], known)


def co_separation(solos: Instruments) -> Parts:
    """Return Co-Separation's parts: of each class the first id validates, the second tests."""
    of_class: dict[tuple[str, ...], list[str]] = defaultdict(list)
    for video_id, labels in solos.items():
        of_class[labels].append(video_id)
    ranked = [(min(rank, 2), i) for ids in of_class.values() for rank, i in enumerate(ids)]
    parts = {"train": 2, "val": 0, "test": 1}
    return {part: tuple(i for r, i in ranked if r == rank) for part, rank in parts.items()}


def shared_ids(parts: Parts) -> Mapping[tuple[str, str], tuple[str, ...]]:
    """Return the ids that two parts share, in the order of the second; only pairs with some."""
    pairs = (("train", "val"), ("train", "test"), ("val", "test"))
    both = {(a, b): (set(parts.get(a, ())), parts.get(b, ())) for a, b in pairs}
    shared = {pair: tuple(i for i in later if i in first) for pair, (first, later) in both.items()}
    return {pair: ids for pair, ids in shared.items() if ids}


def _read_parts(lists: ListFolder, split: _Lists, known: Instruments) -> Parts:
    return {
        part: _read_ids(lists.path(name), split.fields, known) for part, name in split.files.items()
    }


def _read_ids(path: Path, fields: Sequence[int], known: Instruments) -> tuple[str, ...]:
    line_of: dict[str, int] = {}
    for line, values in read_lines(path):
        if not any(values):
            continue
        row = Row(path=path, line=line, values={})
        if len(values) not in fields:
            raise row.error(
                f"{len(values)} fields; expected {' or '.join(map(str, fields))}, like the other "
                "rows; complete the row or take it out"
            )
        video_id = _video_id(row, values, known)
        first = line_of.setdefault(video_id, line)
        if first != line:
            raise row.error(f"{video_id} is already at line {first}; take one of them out")
    if not line_of:
        raise DatasetError(f"{path}: an empty list; restore the published file")
    return tuple(line_of)


def _video_id(row: Row, values: Sequence[str], known: Instruments) -> str:
    """Return the id of a row whose fields are paths `.../<class>/<id>[.<extension>]`."""
    place = PurePosixPath(values[0])
    video_id = place.name.partition(".")[0]
    if not is_video_id(video_id):
        raise row.error(
            f"{video_id!r} is not a YouTube id; expected 11 letters, digits, '-' or '_'"
        )
    if video_id not in known:
        raise row.error(
            f"{video_id} is not in the official lists, so its instruments are not known; correct "
            "the id or take the row out"
        )
    if len(values) > 1 and PurePosixPath(values[1]).name.partition(".")[0] != video_id:
        raise row.error(f"two videos in one row, {values[0]} and {values[1]}; expected one id")
    folder = place.parent.name
    if folder and folder not in known[video_id]:
        raise row.error(
            f"{video_id} is listed as {folder}, officially it is {' and '.join(known[video_id])}; "
            "correct the class"
        )
    return video_id
