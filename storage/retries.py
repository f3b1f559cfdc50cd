"""Marks of failed items that are to be tried again, whatever their reason and attempts.

In: the failures that a person wants tried again. Out: the marks that are still to be used up. Each
call of `mark` publishes one file, so no file has two writers and none is ever half-written. A mark
names the outcome that it is about; the next outcome of the item uses it up.
"""

from __future__ import annotations

import json
import socket
import uuid
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from storage.atomic import publish_file
from storage.errors import StoreDamaged
from storage.layout import Layout

if TYPE_CHECKING:
    from storage.outcomes import FetchEvent

FETCH = "fetch"
_TICK = timedelta(microseconds=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryMark:
    """One item of one scope: 'fetch', or a stage as `<stage>-<fingerprint>`.

    `utc` (ISO 8601) is later than the outcome that the mark is about. `supplement` is the number of
    the shard file that holds this outcome; 0 for fetch.
    """

    scope: str
    item_id: str
    utc: str
    supplement: int = 0


def mark_time(outcome_utc: str = "") -> str:
    """Return the time of a new mark, later than its outcome whatever this host's clock says."""
    now = datetime.now(UTC)
    if outcome_utc:
        now = max(now, as_utc(outcome_utc) + _TICK)
    return now.isoformat(timespec="microseconds")


def as_utc(text: str) -> datetime:
    """Return the time that an ISO 8601 text names; one without a zone is UTC."""
    time = datetime.fromisoformat(text)
    return time if time.tzinfo else time.replace(tzinfo=UTC)


def mark(layout: Layout, marks: Iterable[RetryMark]) -> int:
    """Publish marks, durably; return how many there were."""
    groups: dict[tuple[str, str], list[RetryMark]] = defaultdict(list)
    for entry in marks:
        groups[entry.item_id.partition("/")[0], entry.scope].append(entry)
    for (source, scope), entries in groups.items():
        _publish(layout.retry_log(source, scope), entries)
    return sum(len(entries) for entries in groups.values())


def _publish(folder: Path, entries: list[RetryMark]) -> None:
    text = "".join(json.dumps(asdict(entry), sort_keys=True) + "\n" for entry in entries)
    stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%S.%fZ")
    name = f"{stamp}-{socket.gethostname()}-{uuid.uuid4().hex}.jsonl"

    def write(temp: Path) -> None:
        temp.write_text(text, encoding="utf-8")

    publish_file(folder / name, write)


def fetch_marks(layout: Layout, source: str) -> dict[str, str]:
    """Return item id -> time (ISO 8601) of its latest mark for fetch, spent or not.

    `is_marked` says whether an event leaves the mark unspent; only events later than the mark count
    as attempts since then.
    """
    latest: dict[str, str] = {}
    for entry in read_marks(layout, source, FETCH):
        before = latest.get(entry.item_id)
        if before is None or as_utc(before) <= as_utc(entry.utc):
            latest[entry.item_id] = entry.utc
    return latest


def is_marked(event: FetchEvent | None, mark_utc: str | None) -> bool:
    """Whether an item's latest fetch event is older than its mark, so that it is tried again."""
    return event is not None and mark_utc is not None and as_utc(event.utc) < as_utc(mark_utc)


def stage_marks(layout: Layout, name_fp: str, source: str) -> dict[str, int]:
    """Return item id -> the newest shard file (by supplement) whose outcome was marked."""
    latest: dict[str, int] = {}
    for entry in read_marks(layout, source, name_fp):
        latest[entry.item_id] = max(latest.get(entry.item_id, 0), entry.supplement)
    return latest


def read_marks(layout: Layout, source: str, scope: str) -> Iterator[RetryMark]:
    """Yield every mark of a source and scope, files in order. Raises StoreDamaged."""
    for path in sorted(layout.retry_log(source, scope).glob("*.jsonl")):
        lines = path.read_text(encoding="utf-8").splitlines()
        for number, line in enumerate(lines, start=1):
            try:
                entry = RetryMark(**json.loads(line))
                as_utc(entry.utc)
            except (ValueError, TypeError) as error:
                raise StoreDamaged(
                    f"{path}, line {number}: not a retry mark ({error}); delete the file and mark "
                    "the items again with `soundstage retry`"
                ) from error
            yield entry


def list_retry_logs(layout: Layout) -> list[tuple[str, str]]:
    """Return every (source, scope) that has marks, sorted."""
    folders = (path for path in layout.retries().glob("*/*") if path.is_dir())
    return sorted((path.parent.name, path.name) for path in folders)
