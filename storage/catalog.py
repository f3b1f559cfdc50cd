"""Which shards a stage has, and what they say together: a supplement overrides what came before it.

In: a stage's folder. Out: the shard files in order, and each item's latest state.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from storage.layout import SHARD_FILE, STAGE_NAME, Layout
from storage.records import TRANSIENT_REASONS, Outcome
from storage.retries import stage_marks
from storage.shard_reader import Entry, ShardFile, ShardIndex


@dataclass(frozen=True, slots=True, order=True)
class ShardRef:
    """One shard file; in order of number, then supplement."""

    number: int
    supplement: int
    path: Path


@dataclass(frozen=True, slots=True, kw_only=True)
class ItemState:
    """The latest word on an item: where its rows are, or why there are none.

    `index` is that of the shard at `path`, whose number of supplement is `supplement`. `attempts`
    counts the passing failures so far of the media that the latest word is about, since the item
    was last marked to be tried again; `marked` says that a mark waits for its next outcome.
    """

    path: Path
    index: ShardIndex
    entry: Entry
    attempts: int = 0
    supplement: int = 0
    marked: bool = False

    def outcome(self, item_id: str) -> Outcome:
        """Return the item's outcome."""
        return self.entry.outcome(item_id)


def list_stages(layout: Layout, stage: str | None = None) -> list[str]:
    """Return every `<stage>-<fingerprint>` in the store, sorted; of one stage when it is given."""
    if not layout.stages().is_dir():
        return []
    matches = (STAGE_NAME.fullmatch(path.name) for path in layout.stages().iterdir())
    return sorted(m[0] for m in matches if m and stage in (None, m["stage"]))


def list_stage_sources(layout: Layout, name_fp: str) -> list[str]:
    """Return the sources that a stage has shards of, sorted."""
    folder = layout.stage_dir(name_fp)
    return sorted(p.name for p in folder.iterdir() if p.is_dir()) if folder.is_dir() else []


def list_shards(layout: Layout, name_fp: str, source: str) -> list[ShardRef]:
    """Return the shards and supplements of a stage and source, in order."""
    folder = layout.shard_dir(name_fp, source)
    if not folder.is_dir():
        return []
    matches = ((path, SHARD_FILE.fullmatch(path.name)) for path in folder.iterdir())
    return sorted(
        ShardRef(int(match["number"]), int(match["supplement"] or 0), path)
        for path, match in matches
        if match
    )


def merge_index(
    states: dict[str, ItemState], ref: ShardRef, index: ShardIndex, marks: Mapping[str, int]
) -> None:
    """Add what the next shard or supplement says about its items.

    `marks` are the stage's and source's `stage_marks`: attempts before a mark do not count.
    """
    for item_id, entry in index.entries.items():
        before = states.get(item_id)
        marked = marks.get(item_id, -1)
        attempts = 0
        if (
            before is not None
            and before.entry.media_sha256 == entry.media_sha256
            and not before.supplement <= marked < ref.supplement
        ):
            attempts = before.attempts
        states[item_id] = ItemState(
            path=ref.path,
            index=index,
            entry=entry,
            attempts=attempts + (entry.reason in TRANSIENT_REASONS),
            supplement=ref.supplement,
            marked=not entry.ok and ref.supplement <= marked,
        )


def source_states(
    layout: Layout, name_fp: str, source: str, number: int | None = None
) -> dict[str, ItemState]:
    """Return the latest state of every item of a stage and source; of one shard when given."""
    states: dict[str, ItemState] = {}
    marks = stage_marks(layout, name_fp, source)
    for ref in list_shards(layout, name_fp, source):
        if number in (None, ref.number):
            with ShardFile(ref.path) as shard:
                merge_index(states, ref, shard.index, marks)
    return states


def shard_states(layout: Layout, name_fp: str, source: str, number: int) -> dict[str, ItemState]:
    """Return the latest state of every item of one shard; empty when it is not published."""
    return source_states(layout, name_fp, source, number)


def next_supplement(layout: Layout, name_fp: str, source: str, number: int) -> int:
    """Return the first free supplement number of a shard."""
    taken = [r.supplement for r in list_shards(layout, name_fp, source) if r.number == number]
    return max(taken, default=0) + 1
