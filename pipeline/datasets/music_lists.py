"""The official MUSIC and MUSIC21 lists in, the instruments of every video out."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pipeline.datasets.base import DatasetError
from pipeline.datasets.classes import MUSIC21
from pipeline.datasets.list_folder import ListFolder
from pipeline.datasets.tables import read_text
from pipeline.datasets.youtube import is_video_id

MUSIC21_SOLOS = "roudimit_MUSIC_dataset/MUSIC21_solo_videos.json"
MUSIC_SOLOS = "roudimit_MUSIC_dataset/MUSIC_solo_videos.json"
DUETS = "roudimit_MUSIC_dataset/MUSIC_duet_videos.json"

Instruments = Mapping[str, tuple[str, ...]]
"""Video id -> its instruments; the order is the list's."""


def read_official(lists: ListFolder, solos: str) -> tuple[Instruments, Instruments]:
    """Return (solos, duets) of the official lists; `solos` is the solo list's name.

    Raises
    ------
    DatasetError
        A list that is missing or is not as its authors write it, an unknown instrument, an id that
        is none of YouTube's or is there twice, or one that is both a solo and a duet.
    """
    solo = _read(lists.path(solos), instruments=1)
    duet = _read(lists.path(DUETS), instruments=2)
    both = sorted(solo.keys() & duet.keys())
    if both:
        raise DatasetError(
            f"{both[0]} is in {solos} and in {DUETS} ({len(both)} such ids); take each out of one"
        )
    return solo, duet


def _read(path: Path, *, instruments: int) -> Instruments:
    text = read_text(path)
    videos = _videos(path, text)
    known: dict[str, tuple[str, ...]] = {}
    for name, ids in videos.items():
        labels = tuple(name.split())
        if len(set(labels)) != instruments or not set(labels) <= set(MUSIC21):
            raise DatasetError(
                f"{path}, line {_line(text, name)}: class {name!r}; expected {instruments} of "
                f"MUSIC21's instruments, with a blank between two ({', '.join(MUSIC21)})"
            )
        if not isinstance(ids, list):
            raise DatasetError(
                f"{path}, line {_line(text, name)}: {name!r} holds no list; expected YouTube ids"
            )
        for video_id in ids:
            if not isinstance(video_id, str) or not is_video_id(video_id):
                raise DatasetError(
                    f"{path}, line {_line(text, video_id)}: {video_id!r} under {name!r} is not a "
                    "YouTube id; expected 11 letters, digits, '-' or '_'"
                )
            if video_id in known:
                raise DatasetError(
                    f"{path}, line {_line(text, video_id, last=True)}: {video_id} is already at "
                    f"line {_line(text, video_id)}; take one of them out"
                )
            known[video_id] = labels
    return known


def _videos(path: Path, text: str) -> Mapping[str, Any]:
    try:
        content = json.loads(text, object_pairs_hook=_without_repeats)
    except json.JSONDecodeError as error:
        raise DatasetError(
            f"{path}, line {error.lineno}: not JSON ({error.msg}); the file was cut or edited: "
            "restore the published one"
        ) from error
    except _Repeated as error:
        name = str(error)
        raise DatasetError(
            f"{path}, line {_line(text, name, last=True)}: {name!r} is already at line "
            f"{_line(text, name)}; put its ids under one name"
        ) from error
    videos = content.get("videos") if isinstance(content, dict) else None
    if not isinstance(videos, dict) or not videos:
        raise DatasetError(
            f'{path}: no videos in it; expected {{"videos": {{"flute": ["id", ...], ...}}}}'
        )
    return videos


class _Repeated(Exception):
    """A name that stands twice in one JSON object."""


def _without_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made: dict[str, Any] = {}
    for name, value in pairs:
        if name in made:
            raise _Repeated(name)
        made[name] = value
    return made


def _line(text: str, value: object, *, last: bool = False) -> int:
    """Return the line at which a JSON value stands first, or last."""
    written = json.dumps(value)
    at = text.rfind(written) if last else text.find(written)
    return text.count("\n", 0, max(at, 0)) + 1
