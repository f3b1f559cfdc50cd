"""What of a shard is still to compute, and why.

In: a stage, a planned shard, the present digests of its items' media. Out: item -> reason.
"""

from __future__ import annotations

import json
from collections.abc import Mapping

from storage.catalog import ItemState, shard_states
from storage.fingerprint import StageRecord
from storage.layout import Layout
from storage.plan import PlanShard
from storage.records import MAX_ATTEMPTS, TRANSIENT_REASONS, UPSTREAM
from storage.store import FeatureStore

MISSING = "missing"
STALE = "stale"
RETRY = "retry"
UPSTREAM_OK = "upstream"


def pending_items(
    store: FeatureStore, name_fp: str, shard: PlanShard, media_sha: Mapping[str, str]
) -> dict[str, str]:
    """Return the items of a shard that a run computes, each with why, in plan order.

    'missing': never computed; 'stale': computed from other media bytes; 'retry': failed for a
    passing reason, fewer than MAX_ATTEMPTS times, or marked to be tried again; 'upstream': waited
    for a stage that has rows now.
    Items without an entry in `media_sha` are not checked for staleness.
    """
    layout = store.layout
    states = shard_states(layout, name_fp, shard.source, shard.number)
    upstream: dict[str, dict[str, ItemState]] = {}
    pending = {}
    for item_id in shard.item_ids:
        state = states.get(item_id)
        if state is None:
            pending[item_id] = MISSING
        elif media_sha.get(item_id, state.entry.media_sha256) != state.entry.media_sha256:
            pending[item_id] = STALE
        elif state.marked:
            pending[item_id] = RETRY
        elif state.entry.reason in TRANSIENT_REASONS:
            if state.attempts < MAX_ATTEMPTS:
                pending[item_id] = RETRY
        elif state.entry.reason.startswith(UPSTREAM):
            stage = state.entry.reason.removeprefix(UPSTREAM)
            if stage not in upstream:
                upstream[stage] = _upstream_states(layout, name_fp, stage, shard)
            before = upstream[stage].get(item_id)
            if before is not None and before.entry.ok:
                pending[item_id] = UPSTREAM_OK
    return pending


def _upstream_states(
    layout: Layout, name_fp: str, stage: str, shard: PlanShard
) -> dict[str, ItemState]:
    """Return the states of the shard in the (direct or further) upstream stage of that name."""
    found = upstream_name(layout, name_fp, stage)
    return {} if found is None else shard_states(layout, found, shard.source, shard.number)


def read_record(layout: Layout, name_fp: str) -> StageRecord | None:
    """Return the record behind a stage's fingerprint; None when nothing of it is published."""
    try:
        text = layout.stage_meta(name_fp).read_text(encoding="utf-8")
    except FileNotFoundError:
        return None
    return StageRecord.from_json(json.loads(text))


def upstream_name(layout: Layout, name_fp: str, stage: str) -> str | None:
    """Return `<stage>-<fingerprint>` of the stage of that name that `name_fp` builds on."""
    record = read_record(layout, name_fp)
    if record is None:
        return None
    if stage in record.upstream:
        return f"{stage}-{record.upstream[stage]}"
    for name, fingerprint in record.upstream.items():
        found = upstream_name(layout, f"{name}-{fingerprint}", stage)
        if found is not None:
            return found
    return None
