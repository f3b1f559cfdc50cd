"""Which items of a list a run fetches: the store's log and a lab's folder decide.

In: items and what became of them before. Out: those that are worth a try, in the list's order.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from pipeline.datasets.base import SourceItem
from pipeline.download.existing import ExistingVideos, Found
from pipeline.fetch import is_current, origin_stat
from storage.layout import Layout
from storage.outcomes import (
    FetchEvent,
    FetchLog,
    count_attempts,
    read_fetch_history,
    read_fetch_log,
)
from storage.records import MAX_ATTEMPTS, OK, TRANSIENT_REASONS
from storage.retries import fetch_marks, is_marked


def needs_fetch(event: FetchEvent | None, attempts: int) -> bool:
    """Whether an item is to be tried: never tried yet, or failed for a passing reason.

    `attempts` counts its passing failures in a row; after three it waits for `soundstage retry`.
    """
    if event is None:
        return True
    return event.reason in TRANSIENT_REASONS and attempts < MAX_ATTEMPTS


@dataclass(frozen=True, slots=True)
class _State:
    """What the store knows of an item."""

    event: FetchEvent | None
    attempts: int
    marked: bool


def pending_fetches(
    layout: Layout, items: Iterable[SourceItem], existing: ExistingVideos
) -> list[SourceItem]:
    """Return the items that a run fetches or imports, in order.

    Beside what `needs_fetch` says these are: items that a person marked to be tried again, items
    whose file in the lab's folder (or in the list) is new or has changed, and items whose import
    failed and whose file is gone, so that a download may help.
    """
    entries = list(items)
    states: dict[str, _State] = {}
    for source in {entry.item.item_id.partition("/")[0] for entry in entries}:
        states |= _read_states(layout, source)
    unknown = _State(None, 0, False)
    return [
        entry
        for entry in entries
        if _is_pending(entry, states.get(entry.item.item_id, unknown), existing)
    ]


def _read_states(layout: Layout, source: str) -> dict[str, _State]:
    marks = fetch_marks(layout, source)
    return {
        item_id: _State(
            event=events[-1],
            attempts=count_attempts(events, marks.get(item_id, "")),
            marked=events[-1].reason != OK and is_marked(events[-1], marks.get(item_id)),
        )
        for item_id, events in read_fetch_history(layout, source).items()
    }


def _is_pending(entry: SourceItem, state: _State, existing: ExistingVideos) -> bool:
    event = state.event
    if state.marked or needs_fetch(event, state.attempts) or event is None:
        return True
    if event.reason in TRANSIENT_REASONS:
        return False
    if entry.path is not None:
        return not is_current(event, entry.path, entry.sidecars)
    found = existing.find(entry)
    if event.reason == OK:
        return found is not None and event.origin == _origin(found) and _changed(event, found)
    if found is None:
        return event.origin_stat is not None
    return event.origin != _origin(found) or _changed(event, found)


def _origin(found: Found) -> str:
    return str(found.path.absolute())


def _changed(event: FetchEvent, found: Found) -> bool:
    then = event.origin_stat
    return then is None or tuple(then) != origin_stat(found.path)


def videos(entries: Sequence[SourceItem]) -> dict[str, list[SourceItem]]:
    """Return the items by video (`source/video_id`): all windows of one are fetched together."""
    groups: dict[str, list[SourceItem]] = {}
    for entry in entries:
        groups.setdefault(entry.item.item_id.rpartition("/")[0], []).append(entry)
    return groups


class KnownEvents:
    """The latest events of each source; read again only when another process has written some."""

    def __init__(self, layout: Layout) -> None:
        self._layout = layout
        self._read: dict[str, tuple[frozenset[tuple[str, int]], dict[str, FetchEvent]]] = {}

    def events(self, source: str, own: FetchLog | None) -> dict[str, FetchEvent]:
        """Return item id -> latest event; what `own` wrote since the last call may lack."""
        skipped = None if own is None else own.path
        files = sorted(self._layout.fetch_log(source).glob("*.jsonl"))
        state = frozenset((p.name, p.stat().st_size) for p in files if p != skipped)
        before = self._read.get(source)
        if before is None or before[0] != state:
            self._read[source] = before = (state, read_fetch_log(self._layout, source))
        return before[1]
