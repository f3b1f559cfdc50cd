"""LLP as a dataset: weak labels for all, dense events for validation and test, both editions.

Source: avvp.md section 1. Items are windows of ten seconds of the source `youtube`. What is odd
in the published lists is read as the authors' loader reads it, and counted by kind.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path

from pipeline.datasets.base import SPLITS, Dataset, DatasetError
from pipeline.datasets.classes import LLP
from pipeline.datasets.list_folder import ListFolder
from pipeline.datasets.llp_events import read_dense
from pipeline.datasets.tables import Row, read_table
from pipeline.datasets.youtube import source_item
from storage.records import Event

WEAK_LISTS = {
    "train": "llp/AVVP_train.csv",
    "val": "llp/AVVP_val_pd.csv",
    "test": "llp/AVVP_test_pd.csv",
}
AUDIO_LISTS = {"pre2024": "llp/AVVP_eval_audio_pre2024.csv", "2024": "llp/AVVP_eval_audio.csv"}
VISUAL_LIST = "llp/AVVP_eval_visual.csv"
WINDOW_S = 10

_NAME = re.compile(r"(?P<id>[A-Za-z0-9_-]{11})_(?P<start>\d+(\.\d{1,3})?)_(?P<end>\d+(\.\d{1,3})?)")


@dataclass(frozen=True, slots=True, kw_only=True)
class WeakRow:
    """One row of a weak list: which ten seconds of which video, and its labels."""

    name: str
    video_id: str
    window_ms: tuple[int, int]
    labels: tuple[str, ...]
    where: Row


def read_llp(lists: Path, *, audio_edition: str = "pre2024") -> Dataset:
    """Return LLP's 11 849 windows, in the order train, val, test.

    Training items have no events (None), the others the dense events of both modalities: an empty
    tuple where the dense lists say nothing. Overlapping and touching intervals of a class are one
    event.

    Parameters
    ----------
    lists
        A folder with the published lists, in any arrangement.
    audio_edition
        'pre2024' (behind the published figures) or '2024' (three rows corrected).

    Raises
    ------
    DatasetError
        An unknown edition, or a list that is missing or has a row that cannot be used.
    """
    if audio_edition not in AUDIO_LISTS:
        raise DatasetError(
            f"audio edition is {audio_edition!r}; expected one of {', '.join(AUDIO_LISTS)}"
        )
    folder, kinds = ListFolder(lists), Counter[str]()
    weak = _read_weak_lists(folder, kinds)
    listed = {row.name for split in ("val", "test") for row in weak[split]}
    audio = read_dense(folder.path(AUDIO_LISTS[audio_edition]), "audio", listed, kinds)
    visual = read_dense(folder.path(VISUAL_LIST), "visual", listed, kinds)
    kinds["unlisted_name"] = len(audio.unlisted | visual.unlisted)
    events = {name: (*audio.events.get(name, ()), *visual.events.get(name, ())) for name in listed}
    for split in ("val", "test"):
        _count_gaps(split, weak[split], {"audio": audio.named, "visual": visual.named}, kinds)
        _count_disagreements(split, weak[split], events, kinds)
    items = tuple(
        source_item(
            row.video_id,
            window_ms=row.window_ms,
            labels=row.labels,
            split=split,
            events=None if split == "train" else events[row.name],
            clip_name=row.name,
        )
        for split in SPLITS
        for row in weak[split]
    )
    irregularities = {kind: kinds[kind] for kind in sorted(kinds) if kinds[kind]}
    return Dataset(
        name="llp",
        items=items,
        classes=LLP,
        notes=(*folder.notes(), *_notes(audio_edition, irregularities)),
        list_files=folder.files,
        irregularities=irregularities,
    )


def read_llp_ids(folder: ListFolder) -> Mapping[str, tuple[str, ...]]:
    """Return the video ids of each part, in the lists' order; raises as `read_llp`."""
    weak = _read_weak_lists(folder, Counter())
    return {split: tuple(row.video_id for row in rows) for split, rows in weak.items()}


def _read_weak_lists(folder: ListFolder, kinds: Counter[str]) -> Mapping[str, list[WeakRow]]:
    weak = {split: _read_weak(folder.path(name), kinds) for split, name in WEAK_LISTS.items()}
    _check_unique(weak.values())
    return weak


def _read_weak(path: Path, kinds: Counter[str]) -> list[WeakRow]:
    """Return the rows of a weak list, and count what is odd into `kinds`."""
    rows = read_table(path, required=("filename", "event_labels"), delimiter="\t")
    return [_weak_row(row, kinds) for row in rows]


def _weak_row(row: Row, kinds: Counter[str]) -> WeakRow:
    match = _NAME.fullmatch(row["filename"])
    if match is None:
        raise row.error(
            f"filename is {row['filename']!r}; expected a YouTube id of 11 characters and two "
            "times in seconds, like 'AP0061o0Nvk_101.8_111.8'; correct it or take the row out"
        )
    start_ms, end_ms = (int(Decimal(match[key]) * 1000) for key in ("start", "end"))
    if end_ms - start_ms != WINDOW_S * 1000:
        raise row.error(
            f"{row['filename']} is {(end_ms - start_ms) / 1000:g} s long; expected {WINDOW_S} s; "
            "correct the times"
        )
    labels = [label.strip() for label in row["event_labels"].split(",")]
    unknown = [label for label in labels if label not in LLP]
    if unknown:
        raise row.error(
            f"label {unknown[0]!r} of {row['filename']}; expected one or more of LLP's "
            f"{len(LLP)}, with commas between them ({', '.join(LLP)})"
        )
    kinds["decimal_start"] += "." in match["start"]
    kinds["repeated_label"] += len(set(labels)) < len(labels)
    return WeakRow(
        name=row["filename"],
        video_id=match["id"],
        window_ms=(start_ms, end_ms),
        labels=tuple(dict.fromkeys(labels)),
        where=row,
    )


def _check_unique(lists: Iterable[list[WeakRow]]) -> None:
    """Raise for a video that two rows name; LLP has one window of each."""
    first: dict[str, WeakRow] = {}
    for rows in lists:
        for row in rows:
            other = first.setdefault(row.video_id, row)
            if other is not row:
                raise row.where.error(
                    f"video {row.video_id} is already at line {other.where.line} of "
                    f"{other.where.path.name}; take one of them out"
                )


def _count_gaps(
    split: str, rows: Iterable[WeakRow], named: Mapping[str, frozenset[str]], kinds: Counter[str]
) -> None:
    for row in rows:
        for modality, names in named.items():
            kinds[f"{split}_video_without_{modality}_rows"] += row.name not in names


def _count_disagreements(
    split: str,
    rows: Iterable[WeakRow],
    events: Mapping[str, tuple[Event, ...]],
    kinds: Counter[str],
) -> None:
    for row in rows:
        dense, weak = {event.label for event in events[row.name]}, set(row.labels)
        kinds[f"{split}_video_with_other_weak_than_dense_labels"] += dense != weak
        kinds[f"{split}_label_in_weak_only"] += len(weak - dense)
        kinds[f"{split}_label_in_dense_only"] += len(dense - weak)


def _notes(edition: str, irregularities: Mapping[str, int]) -> Iterable[str]:
    yield (
        "audio annotation before its correction of April 2024, as behind the published figures"
        if edition == "pre2024"
        else "audio annotation as corrected in April 2024; published figures used the one before"
    )
    if irregularities:
        counts = ", ".join(f"{kind} {count}" for kind, count in irregularities.items())
        yield f"irregularities in the lists, read as the authors' loader reads them: {counts}"
