"""`labels.csv` and `events.csv` in, checked records out: what a folder's lists say of its files.

`labels.csv`: file, labels (`;` between them), and optionally split, start_s, end_s; a row with
start and end is a window of its file. `events.csv`: file, modality, label, onset_s, offset_s, in
seconds on the file's clock. Comma-separated UTF-8 with a header line.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from pipeline.datasets.base import SPLITS, DatasetError
from pipeline.datasets.tables import Row, read_table
from storage.records import Event

LABELS_FILE = "labels.csv"
EVENTS_FILE = "events.csv"
_SHOWN = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One item to be: a file, perhaps a window of it (milliseconds), its labels and split."""

    file: str
    window_ms: tuple[int, int] | None = None
    labels: tuple[str, ...] = ()
    split: str = ""


def read_labels(folder: Path) -> list[Entry]:
    """Return the rows of the folder's `labels.csv` in order; none where there is no such file.

    Raises
    ------
    DatasetError
        Wrong columns or encoding, a file that is not there, a bad split or window, one item in two
        rows, one video in two splits.
    """
    path = folder / LABELS_FILE
    if not path.is_file():
        return []
    rows = read_table(path, required=("file", "labels"), optional=("split", "start_s", "end_s"))
    _check_files(folder, rows)
    entries = [_entry(row) for row in rows]
    check_rows(
        [
            (entry.file, entry.window_ms, entry.split, row)
            for entry, row in zip(entries, rows, strict=True)
        ]
    )
    return entries


def check_rows(
    rows: Iterable[tuple[str, tuple[int, int] | None, str, Row]],
) -> None:
    """Raise for one window in two rows, or one video in two splits: (video, window, split, row).

    Raises
    ------
    DatasetError
        With the line of the second row, the line of the first and what to do.
    """
    seen: dict[tuple[str, tuple[int, int] | None], Row] = {}
    split_of: dict[str, tuple[str, Row]] = {}
    for video, window_ms, split, row in rows:
        first = seen.setdefault((video, window_ms), row)
        if first is not row:
            raise row.error(
                f"{video} is already at line {first.line}, over the same time; "
                "write one row, with all its labels separated by ';'"
            )
        known, where = split_of.setdefault(video, (split, row))
        if known and split and split != known:
            raise row.error(
                f"split {split!r} for {video}, but {known!r} at line {where.line}; "
                "all windows of one video belong to one split"
            )
        if split and not known:
            split_of[video] = (split, row)


def read_events(folder: Path) -> dict[str, list[Event]]:
    """Return the events of each file that the folder's `events.csv` names.

    Raises
    ------
    DatasetError
        As `read_labels`, and for an unknown modality or an onset that is not before its offset.
    """
    path = folder / EVENTS_FILE
    if not path.is_file():
        return {}
    rows = read_table(path, required=("file", "modality", "label", "onset_s", "offset_s"))
    _check_files(folder, rows)
    events: dict[str, list[Event]] = defaultdict(list)
    for row in rows:
        events[row["file"]].append(_event(row))
    return dict(events)


def _check_files(folder: Path, rows: Iterable[Row]) -> None:
    """Raise for rows whose file is not a plain file below `folder`."""
    absent: dict[str, Row] = {}
    for row in rows:
        name = row["file"]
        path = Path(name)
        if not name or path.is_absolute() or ".." in path.parts or path.as_posix() != name:
            raise row.error(f"file is {name!r}; expected a path below {folder}, like 'a/clip.mp4'")
        if name not in absent and not (folder / name).is_file():
            absent[name] = row
    if absent:
        shown = ", ".join(
            f"{name} (line {row.line} of {row.path.name})"
            for name, row in list(absent.items())[:_SHOWN]
        )
        more = f" and {len(absent) - _SHOWN} more" if len(absent) > _SHOWN else ""
        raise DatasetError(
            f"{folder}: {len(absent)} listed file(s) not there: {shown}{more}; "
            "correct the names (capitals and extension count) or take the rows out"
        )


def _entry(row: Row) -> Entry:
    return Entry(
        file=row["file"],
        window_ms=row_window_ms(row),
        labels=row_labels(row),
        split=row_split(row),
    )


def row_labels(row: Row) -> tuple[str, ...]:
    """Return the distinct names in a row's column labels, which ';' separates."""
    labels = (label.strip() for label in row["labels"].split(";"))
    return tuple(dict.fromkeys(label for label in labels if label))


def row_split(row: Row) -> str:
    """Return a row's split; raises DatasetError for a name that is none."""
    if row["split"] and row["split"] not in SPLITS:
        raise row.error(
            f"split is {row['split']!r}; expected one of {', '.join(SPLITS)}, or nothing"
        )
    return row["split"]


def row_window_ms(row: Row) -> tuple[int, int] | None:
    """Return a row's window in milliseconds, None where it has neither start_s nor end_s.

    Raises
    ------
    DatasetError
        One of the two alone, no numbers, or a start that is not before the end.
    """
    if not row["start_s"] and not row["end_s"]:
        return None
    if not row["start_s"] or not row["end_s"]:
        raise row.error("only one of start_s and end_s is given; give both, or neither")
    start_ms, end_ms = round(row.seconds("start_s") * 1000), round(row.seconds("end_s") * 1000)
    if start_ms >= end_ms:
        raise row.error(
            f"start_s {row['start_s']} is not before end_s {row['end_s']}; "
            "a window is at least a millisecond long"
        )
    return start_ms, end_ms


def _event(row: Row) -> Event:
    if row["modality"] not in ("audio", "visual"):
        raise row.error(f"modality is {row['modality']!r}; expected audio or visual")
    if not row["label"]:
        raise row.error("no label; expected the name of one class")
    onset_s, offset_s = row.seconds("onset_s"), row.seconds("offset_s")
    if onset_s >= offset_s:
        raise row.error(f"onset_s {onset_s:g} is not before offset_s {offset_s:g}")
    return Event(modality=row["modality"], label=row["label"], onset_s=onset_s, offset_s=offset_s)
