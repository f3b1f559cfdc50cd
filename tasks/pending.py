"""What a stage still has to do for a shard, with the reason for each item."""

from __future__ import annotations

from pipeline.stages import STAGES
from storage import FeatureStore
from storage.pending import pending_items
from storage.plan import PlanShard, read_plan
from storage.records import UPSTREAM
from tasks.context import Context
from tasks.ingest import media_refs


def plan_shard(context: Context, source: str, number: int) -> PlanShard:
    """Return one shard of a source's plan."""
    for shard in read_plan(context.layout, source):
        if shard.number == number:
            return shard
    raise LookupError(f"source {source}: the plan has no shard {number}")


def shards_with_items(context: Context, source: str) -> list[PlanShard]:
    """Return the source's shards that hold an item of this dataset."""
    mine = {entry.item.item_id for entry in context.items_of(source)}
    return [s for s in read_plan(context.layout, source) if mine & set(s.item_ids)]


def pending(context: Context, stage: str, shard: PlanShard) -> dict[str, str]:
    """Return item id -> why ('missing', 'stale', 'retry', 'upstream') for what must be computed.

    An item that failed because of an upstream stage is pending as soon as that stage is pending
    for it, so that one run mends both. Imported rows are never pending; items without media are
    only where others of a shard that is not there yet have media, for a shard holds all its items.
    """
    resolved = context.resolved(stage)
    if resolved.imported:
        return {}
    media = media_refs(context.layout, shard.source)
    digests = {i: resolved.input_sha256(media[i]) for i in shard.item_ids if i in media}
    todo = dict(pending_items(context.store, resolved.record.name, shard, digests))
    if not any(i in media for i in todo):
        todo = {}
    outcomes = _outcomes(context.store, resolved.record.name)
    waiting = [
        i
        for i in shard.item_ids
        if i not in todo and i in outcomes and outcomes[i].reason.startswith(UPSTREAM)
    ]
    if waiting:
        above: set[str] = set()
        for name in STAGES[stage].inputs:
            above |= set(pending(context, name, shard))
        todo |= {i: "upstream" for i in waiting if i in above}
    return todo


def _outcomes(store: FeatureStore, name: str) -> dict:
    from storage.errors import StageNotFound

    try:
        return store.outcomes(name)
    except StageNotFound:
        return {}
