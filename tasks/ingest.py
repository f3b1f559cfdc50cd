"""Import and download of a dataset's videos, and the plan of shards that grows with them.

Flows in: the dataset's items. Flows out: media with recorded sha256, one fetch event an item,
and a plan in which every item whose video is there has its place.
"""

from __future__ import annotations

import json
from dataclasses import asdict
from functools import lru_cache
from pathlib import Path

from pipeline.datasets.base import SourceItem
from pipeline.download.existing import ExistingVideos
from pipeline.download.pending import pending_fetches
from pipeline.download.queue import FetchSummary, fetch_items
from pipeline.media import MediaRef
from storage.layout import Layout
from storage.outcomes import FetchEvent, read_fetch_log
from storage.plan import extend_plan, read_plan
from storage.views import write_dataset_view
from tasks.context import Context
from tasks.run_dir import run_dir
from tasks.splits import items_with_splits, latest_view

BYTES_PER_S = 180_000
"""What the largest stage (stft, float32) stores for a second: it decides how full a shard is."""


class DownloadsStopped(Exception):
    """Videos are still to be downloaded and this run cannot go on with it."""


def pending_imports(context: Context, source: str) -> list[SourceItem]:
    """Return the items to import or download: new, changed, or worth another try.

    There are none where all that the run reads was imported as features.
    """
    if not context.needs_media(source):
        return []
    existing = _existing(context.settings.fetch.videos_dir)
    return pending_fetches(context.layout, context.items_of(source), existing)


@lru_cache(maxsize=1)
def _existing(videos_dir: str) -> ExistingVideos:
    """Walk the lab's folder once a process."""
    return ExistingVideos.scan(videos_dir)


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


def ingest(context: Context) -> FetchSummary:
    """Fetch what is pending, extend the plans, write the dataset's view; say what came in.

    What this run's downloads leave pending does not keep it from going on with what is there: see
    `check_downloads`.
    """
    sources = [source for source in context.sources if context.needs_media(source)]
    everything = [entry for source in sources for entry in context.items_of(source)]
    summary = fetch_items(
        context.layout,
        everything,
        context.settings.fetch,
        import_mode=context.settings.run.import_mode,
    )
    for source in context.sources:
        new = unplanned(context, source)
        if new:
            extend_plan(context.layout, source, new)
    write_dataset_view(context.layout, context.name, items_with_splits(context))
    _note(context).write_text(json.dumps(asdict(summary)))
    return summary


def is_ingested(context: Context) -> bool:
    """Whether every item is fetched (or was tried by this run), planned and in the view."""
    if not _note(context).exists() and any(pending_imports(context, s) for s in context.sources):
        return False
    if any(unplanned(context, source) for source in context.sources):
        return False
    return latest_view(context) == items_with_splits(context)


def check_downloads(context: Context) -> None:
    """Raise when this run's downloads stopped before the end of the list.

    Raises
    ------
    DownloadsStopped
        The message says why, what to do, and how many videos are left.
    """
    note = _note(context)
    if not note.exists():
        return
    summary = FetchSummary(**json.loads(note.read_text()))
    if summary.stopped:
        total = len(context.dataset.items)
        here = sum(len(media_refs(context.layout, source)) for source in context.sources)
        raise DownloadsStopped(
            f"{context.dataset.name}: {summary.pending} of {total} items are still to be fetched "
            f"({here} are here). {summary.advice}"
        )


def _note(context: Context) -> Path:
    """Return the file in which this run keeps what it fetched."""
    return run_dir() / f"fetched-{context.name}.json"


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
