"""The fetch log: what became of each item's media, and where the file is.

In: one event an attempt, appended by one process to its own file. Out: the latest event an item,
merged over all the files. No file has two writers, so a shared directory needs no lock.
"""

from __future__ import annotations

import errno
import json
import os
import socket
import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any

from storage.atomic import sync
from storage.errors import StoreDamaged
from storage.layout import Layout
from storage.records import TRANSIENT_REASONS, Outcome
from storage.retries import fetch_marks, is_marked


@dataclass(frozen=True, slots=True, kw_only=True)
class FetchEvent:
    """One attempt to get an item's media.

    `media` is a path relative to the store's root, or '' for none; `origin` the path or URL it came
    from, `origin_stat` that file's (size in bytes, mtime in ns); `sidecars` maps a kind to
    {"path", "sha256"}; `utc` is ISO 8601.
    """

    item_id: str
    reason: str
    utc: str
    detail: str = ""
    media: str = ""
    sha256: str = ""
    origin: str = ""
    origin_stat: tuple[int, int] | None = None
    duration_s: float = 0.0
    sidecars: Mapping[str, Mapping[str, str]] = field(default_factory=dict)

    @property
    def outcome(self) -> Outcome:
        """The event as an outcome."""
        return Outcome(item_id=self.item_id, reason=self.reason, detail=self.detail)

    def as_json(self) -> dict[str, Any]:
        """Return JSON values; `from_json` reads them back."""
        return asdict(self)

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> FetchEvent:
        """Return the event that `as_json` described."""
        stat = value["origin_stat"]
        return cls(**{**value, "origin_stat": None if stat is None else (stat[0], stat[1])})


def utc_now() -> str:
    """Return the present time as the ISO 8601 text that events carry."""
    return datetime.now(UTC).isoformat(timespec="microseconds")


class FetchLog:
    """Append events of one source to a file of this process; the file appears with the first.

    `path` is that file, or None before the first event.
    """

    def __init__(self, layout: Layout, source: str) -> None:
        self._folder = layout.fetch_log(source)
        self._descriptor: int | None = None
        self.path: Path | None = None

    def append(self, event: FetchEvent) -> None:
        """Write an event and wait until it is on the disk."""
        # In ASCII: a path that is not valid UTF-8 has no other form that can be read back.
        line = (json.dumps(event.as_json(), sort_keys=True, allow_nan=False) + "\n").encode()
        if self._descriptor is None:
            self._descriptor = self._create()
        try:
            written = os.write(self._descriptor, line)
            os.fsync(self._descriptor)
        except OSError:
            self.close()
            raise
        if written < len(line):  # a full disk: the torn line stays the last of its file
            self.close()
            raise OSError(errno.ENOSPC, f"an event was cut off at {written} bytes", self._folder)

    def _create(self) -> int:
        self._folder.mkdir(parents=True, exist_ok=True)
        stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%S.%fZ")
        path = self._folder / f"{stamp}-{socket.gethostname()}-{uuid.uuid4().hex}.jsonl"
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND, 0o644)
        sync(self._folder)
        self.path = path
        return descriptor

    def close(self) -> None:
        """Close the file; a later append begins another."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def __enter__(self) -> FetchLog:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def read_fetch_log(layout: Layout, source: str) -> dict[str, FetchEvent]:
    """Return the latest event of every item of a source, by `utc`; of equals, the later line."""
    latest: dict[str, FetchEvent] = {}
    for path in sorted(layout.fetch_log(source).glob("*.jsonl")):
        for event in _read_file(path):
            before = latest.get(event.item_id)
            if before is None or _time(before) <= _time(event):
                latest[event.item_id] = event
    return latest


def read_fetch_history(layout: Layout, source: str) -> dict[str, list[FetchEvent]]:
    """Return every item's events in order of `utc`; of equals, the later line comes last."""
    history: dict[str, list[FetchEvent]] = {}
    for path in sorted(layout.fetch_log(source).glob("*.jsonl")):
        for event in _read_file(path):
            history.setdefault(event.item_id, []).append(event)
    for events in history.values():
        events.sort(key=_time)
    return history


def count_attempts(events: Sequence[FetchEvent], mark_utc: str = "") -> int:
    """Return how many passing failures end an item's events; those before the mark do not count.

    `mark_utc` (ISO 8601) is when a person asked to try the item again; '' means never.
    """
    count = 0
    for event in reversed(events):
        if event.reason not in TRANSIENT_REASONS or (mark_utc and is_marked(event, mark_utc)):
            break
        count += 1
    return count


def read_fetch_attempts(layout: Layout, source: str) -> dict[str, int]:
    """Return item id -> passing failures since its last other outcome or its last retry mark."""
    marks = fetch_marks(layout, source)
    history = read_fetch_history(layout, source)
    return {item: count_attempts(events, marks.get(item, "")) for item, events in history.items()}


def _time(event: FetchEvent) -> datetime:
    time = datetime.fromisoformat(event.utc)
    return time if time.tzinfo else time.replace(tzinfo=UTC)


def _read_file(path: Path) -> Iterator[FetchEvent]:
    """Yield a file's events. What follows the last line's end was torn off by a kill."""
    lines = path.read_bytes().split(b"\n")[:-1]
    for number, line in enumerate(lines, start=1):
        try:
            yield FetchEvent.from_json(json.loads(line))
        except (ValueError, KeyError, TypeError) as error:
            raise StoreDamaged(f"{path}, line {number}: not a fetch event ({error})") from error
