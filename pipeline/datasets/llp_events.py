"""LLP's dense lists in, events of each window out: intervals united, oddities counted.

A dense row is `filename onset offset event_labels`, tab-separated, in whole seconds from the
window's start; it covers [onset, offset).
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from pipeline.datasets.classes import LLP
from pipeline.datasets.tables import Row, read_table
from storage.records import Event

_WINDOW_S = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Dense:
    """The events of one modality by window, the windows that have rows, and names of no window."""

    events: Mapping[str, tuple[Event, ...]]
    named: frozenset[str]
    unlisted: frozenset[str]


def read_dense(path: Path, modality: str, listed: Collection[str], kinds: Counter[str]) -> Dense:
    """Return one dense list's events for the windows in `listed`, and count oddities in `kinds`.

    As in the authors' loader, a row of a name that no window has counts for nothing, nor does one
    whose onset is not before its offset; a second is on or off, however many rows cover it.

    Raises
    ------
    DatasetError
        A row with other than four fields, times that are not whole seconds from 0 to 10, or an
        unknown label.
    """
    table = read_table(
        path, required=("filename", "onset", "offset", "event_labels"), delimiter="\t"
    )
    intervals: dict[tuple[str, str], list[tuple[int, int]]] = defaultdict(list)
    named, unlisted = set(), set()
    for row in table:
        name, label = row["filename"], _label(row)
        onset_s, offset_s = _whole_seconds(row, "onset"), _whole_seconds(row, "offset")
        kinds[f"{modality}_onset_not_before_offset"] += onset_s >= offset_s
        if name not in listed:
            if not _known_slip(name, listed, kinds, modality):
                unlisted.add(name)
                kinds[f"{modality}_row_of_unlisted_name"] += 1
            continue
        named.add(name)
        intervals[name, label].append((onset_s, offset_s))
    events: dict[str, list[Event]] = defaultdict(list)
    for (name, label), rows in intervals.items():
        for onset_s, offset_s in _united(rows, modality, kinds):
            events[name].append(
                Event(
                    modality=modality,
                    label=label,
                    onset_s=float(onset_s),
                    offset_s=float(offset_s),
                )
            )
    return Dense(
        events={name: tuple(each) for name, each in events.items()},
        named=frozenset(named),
        unlisted=frozenset(unlisted),
    )


def _known_slip(name: str, listed: Collection[str], kinds: Counter[str], modality: str) -> bool:
    """Count the slips of the pen of the audio list before 2024; they match no window either."""
    if name in LLP:
        kinds[f"{modality}_label_in_place_of_name"] += 1
    elif name.rstrip("`") in listed:
        kinds[f"{modality}_name_with_backtick"] += 1
    else:
        return False
    return True


def _united(
    rows: Iterable[tuple[int, int]], modality: str, kinds: Counter[str]
) -> Iterator[tuple[int, int]]:
    """Yield the intervals of one class of one window, those that overlap or touch as one."""
    distinct, given = set(rows), list(rows)
    kinds[f"{modality}_repeated_row"] += len(given) - len(distinct)
    current: tuple[int, int] | None = None
    for onset_s, offset_s in sorted(pair for pair in distinct if pair[0] < pair[1]):
        if current is None or onset_s > current[1]:
            if current is not None:
                yield current
            current = (onset_s, offset_s)
            continue
        touching = onset_s == current[1]
        kinds[f"{modality}_{'touching' if touching else 'overlapping'}_interval"] += 1
        current = (current[0], max(current[1], offset_s))
    if current is not None:
        yield current


def _label(row: Row) -> str:
    if row["event_labels"] not in LLP:
        raise row.error(
            f"label {row['event_labels']!r}; expected one of LLP's {len(LLP)} ({', '.join(LLP)})"
        )
    return row["event_labels"]


def _whole_seconds(row: Row, column: str) -> int:
    text = row[column]
    if not text.isascii() or not text.isdigit() or int(text) > _WINDOW_S:
        raise row.error(f"{column} is {text!r}; expected whole seconds from 0 to {_WINDOW_S}")
    return int(text)
