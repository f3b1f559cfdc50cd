"""What failed in a store, where and how long ago, as far as it can be tried again.

In: a store. Out: one `Failure` for each item whose latest outcome in fetch or in a stage is none.
Items that only wait for a stage upstream are left out: they follow when that stage has rows.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from storage.catalog import list_stage_sources, list_stages, source_states
from storage.layout import STAGE_NAME, Layout
from storage.outcomes import read_fetch_log
from storage.records import UPSTREAM
from storage.retries import FETCH, RetryMark, as_utc, fetch_marks, is_marked, mark, mark_time


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """An item's latest outcome in one scope: 'fetch' or `<stage>-<fingerprint>`.

    `utc` (ISO 8601) is when it was recorded: for stages, when the shard file was published.
    `marked` says that it is marked to be tried again already.
    """

    scope: str
    item_id: str
    reason: str
    utc: str
    detail: str = ""
    supplement: int = 0
    marked: bool = False

    @property
    def stage(self) -> str:
        """The scope's name without a fingerprint."""
        match = STAGE_NAME.fullmatch(self.scope)
        return match["stage"] if match else self.scope

    def older_than(self, age: timedelta) -> bool:
        """Whether it was recorded at least `age` ago."""
        return datetime.now(UTC) - as_utc(self.utc) >= age


def failures(layout: Layout, stage: str | None = None) -> Iterator[Failure]:
    """Yield the failures of the whole store; of 'fetch' or of one stage when it is given.

    `stage` is a name, for all its fingerprints, or `<stage>-<fingerprint>`.
    """
    if stage in (None, FETCH):
        yield from _fetch_failures(layout)
    for name_fp in list_stages(layout):
        if stage in (None, name_fp, name_fp.rpartition("-")[0]):
            for source in list_stage_sources(layout, name_fp):
                yield from _stage_failures(layout, name_fp, source)


def retry(
    layout: Layout, wanted: Callable[[Failure], bool], stage: str | None = None
) -> list[Failure]:
    """Mark the failures that are `wanted` to be tried again; return them.

    Failures that were marked before are left as they are, and not returned.
    """
    chosen = [f for f in failures(layout, stage) if not f.marked and wanted(f)]
    mark(
        layout,
        (
            RetryMark(
                scope=f.scope,
                item_id=f.item_id,
                utc=mark_time(f.utc),
                supplement=f.supplement,
            )
            for f in chosen
        ),
    )
    return chosen


def _fetch_failures(layout: Layout) -> Iterator[Failure]:
    folder = layout.fetch_logs()
    for path in sorted(folder.iterdir()) if folder.is_dir() else ():
        marks = fetch_marks(layout, path.name)
        for item_id, event in read_fetch_log(layout, path.name).items():
            if not event.outcome.ok:
                yield Failure(
                    scope=FETCH,
                    item_id=item_id,
                    reason=event.reason,
                    utc=event.utc,
                    detail=event.detail,
                    marked=is_marked(event, marks.get(item_id)),
                )


def _stage_failures(layout: Layout, name_fp: str, source: str) -> Iterator[Failure]:
    for item_id, state in source_states(layout, name_fp, source).items():
        if not state.entry.ok and not state.entry.reason.startswith(UPSTREAM):
            published = datetime.fromtimestamp(state.path.stat().st_mtime, UTC)
            yield Failure(
                scope=name_fp,
                item_id=item_id,
                reason=state.entry.reason,
                utc=published.isoformat(timespec="microseconds"),
                detail=state.entry.detail,
                supplement=state.supplement,
                marked=state.marked,
            )
