"""Import of a dataset's files into the store, and the plan of shards that grows with them.

Flows in: the dataset's items. Flows out: media with recorded sha256, one fetch event an item,
and a plan in which every imported item has its place.
"""

from __future__ import annotations

from collections import Counter

from pipeline.datasets.base import SourceItem
from pipeline.fetch import import_file, is_current
from pipeline.media import MediaRef
from storage.layout import Layout
from storage.outcomes import FetchEvent, FetchLog, read_fetch_log
from storage.plan import extend_plan, read_plan
from storage.views import write_dataset_view
from tasks.context import Context
from tasks.splits import items_with_splits, latest_view

BYTES_PER_S = 180_000
"""What the largest stage (stft, float32) stores for a second: it decides how full a shard is."""


def pending_imports(context: Context, source: str) -> list[SourceItem]:
    """Return the items whose file was never imported, or has changed since."""
    log = read_fetch_log(context.layout, source)
    return [
        entry
        for entry in context.items_of(source)
        if not is_current(log.get(entry.item.item_id), entry.path, entry.sidecars)
    ]


def unplanned(context: Context, source: str) -> list[tuple[str, float]]:
    """Return the imported items that no shard holds yet, with the bytes each will take."""
    planned = {i for shard in read_plan(context.layout, source) for i in shard.item_ids}
    log = read_fetch_log(context.layout, source)
    rows = []
    for entry in context.items_of(source):
        event = log.get(entry.item.item_id)
        if event is not None and event.media and entry.item.item_id not in planned:
            rows.append((entry.item.item_id, BYTES_PER_S * (event.duration_s or 60.0)))
    return rows


def ingest(context: Context) -> Counter[str]:
    """Import what is pending, extend the plans and write the dataset's view; count reasons."""
    counts: Counter[str] = Counter()
    mode = context.settings.run.import_mode
    for source in context.sources:
        todo = pending_imports(context, source)
        if todo:
            with FetchLog(context.layout, source) as log:
                for entry in todo:
                    event = import_file(
                        context.layout,
                        entry.item.item_id,
                        entry.path,
                        sidecars=entry.sidecars,
                        mode=mode,
                    )
                    log.append(event)
                    counts[event.reason] += 1
        new = unplanned(context, source)
        if new:
            extend_plan(context.layout, source, new)
    write_dataset_view(context.layout, context.name, items_with_splits(context))
    return counts


def is_ingested(context: Context) -> bool:
    """Whether every item is imported, planned and in the view."""
    if any(pending_imports(context, s) or unplanned(context, s) for s in context.sources):
        return False
    return latest_view(context) == items_with_splits(context)


def media_refs(layout: Layout, source: str) -> dict[str, MediaRef]:
    """Return the current media of every imported item of a source."""
    return {
        item_id: media_ref(layout, event)
        for item_id, event in read_fetch_log(layout, source).items()
        if event.media
    }


def media_ref(layout: Layout, event: FetchEvent) -> MediaRef:
    """Return the media that a fetch event recorded."""
    return MediaRef(
        item_id=event.item_id,
        path=str(layout.root / event.media),
        sha256=event.sha256,
        sidecars={kind: str(layout.root / s["path"]) for kind, s in event.sidecars.items()},
        sidecar_sha256={kind: s["sha256"] for kind, s in event.sidecars.items()},
    )
