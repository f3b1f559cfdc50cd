"""What a run will take, before anything starts: bytes, days of download, hours of computing.

Flows in: a context. Flows out: JSON values, and tables printed from them.
"""

from __future__ import annotations

import shutil
import socket
from collections.abc import Iterable, Mapping
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from pipeline.estimate.media import MediaEstimate, estimate_media
from pipeline.estimate.sizes import StageSize, pose_embed_size, stage_sizes
from pipeline.estimate.speeds import (
    CPU_SOURCE,
    GPU_SOURCE,
    core_seconds,
    gpu_seconds,
    stated_cost,
)
from pipeline.networks.stgcn_config import NetworkConfig
from pipeline.stages import STAGES, ResolvedStage
from storage.catalog import list_shards
from storage.errors import StageNotFound
from storage.rates import read_rates, slot_seconds
from tasks.context import POSE_EMBED, Context
from tasks.models import POSE_MODEL, draft_job
from tasks.settings import worker_count

SCRATCH_BYTES = 512e6
"""A shard in the making lies in the store twice for a moment: its items, and itself."""
_ENOUGH = 5


def estimate(context: Context) -> dict[str, Any]:
    """Return what is still to fetch, store and compute for a dataset, as JSON values."""
    gpu = _has_gpu(context)
    media = {source: _media(context, source) for source in context.sources}
    stages = [row for s, found in media.items() for row in _stages(context, s, found, gpu)]
    cpu_hours = sum(row["cpu_hours"] for row in stages)
    gpu_hours = sum(row["gpu_hours"] for row in stages)
    return {
        "dataset": context.dataset.name,
        "recipe": context.recipe,
        "root": str(context.layout.root),
        "items": len(context.dataset.items),
        "media_hours": sum(sum(m.lengths.values()) for m in media.values()) / 3600,
        "sources": [_source(name, found) for name, found in media.items()],
        "download": {
            "videos": sum(m.videos for m in media.values()),
            "transfer_bytes": sum(m.transfer_bytes for m in media.values()),
            "days": sum(m.download_s for m in media.values()) / 86400,
        },
        "stages": stages,
        "compute": {
            "cpu_hours": cpu_hours,
            "gpu_hours": gpu_hours,
            "workers": worker_count(context.settings.run),
            "hours": cpu_hours / worker_count(context.settings.run) + gpu_hours,
        },
        "disk": _disk(context, media.values(), stages),
        "notes": _notes(media.values(), stages),
    }


def _media(context: Context, source: str) -> MediaEstimate:
    return estimate_media(
        context.layout,
        context.items_of(source) if context.needs_media(source) else [],
        context.settings.fetch,
        import_mode=context.settings.run.import_mode,
    )


def _source(name: str, media: MediaEstimate) -> dict[str, Any]:
    return {
        "source": name,
        "items": media.items,
        "here": media.here,
        "lost": media.lost,
        "to_import": media.local,
        "to_download": media.download,
        "mean_s": media.mean_s,
        "new_bytes": media.new_bytes,
    }


def _stages(context: Context, source: str, media: MediaEstimate, gpu: bool) -> list[dict[str, Any]]:
    """Return a line for each stage that the items of a source need."""
    if not media.lengths:
        return []
    computed = (name for name in context.stages_of(source) if name not in context.imported)
    wanted = {name: context.stages[name] for name in computed}
    sizes = stage_sizes(wanted, media.mean_s)
    resolved: dict[str, ResolvedStage | None] = dict(wanted)
    if context.needs_pose_embed(source):
        sizes[POSE_EMBED] = _pose_embed(context, sizes["pose"])
        resolved[POSE_EMBED] = _pinned(context)
    return [
        _stage_row(context, source, name, stage, sizes[name], media, gpu)
        for name, stage in resolved.items()
    ]


def _stage_row(
    context: Context,
    source: str,
    name: str,
    stage: ResolvedStage | None,
    size: StageSize,
    media: MediaEstimate,
    gpu: bool,
) -> dict[str, Any]:
    done = _done(context, stage)
    left_s = sum(s for item_id, s in media.lengths.items() if item_id not in done)
    left = sum(item_id not in done for item_id in media.lengths)
    stored = _stored_bytes_per_s(context, stage, source, media) if size.stated else None
    seconds, on_gpu, basis = _seconds(context, name, stage, size, media.mean_s, gpu)
    hours = seconds * left / 3600
    return {
        "stage": name,
        "source": source,
        "items": left,
        "done": len(done & set(media.lengths)),
        "rows_per_item": size.rows,
        "bytes": left_s * stored if stored is not None else left * size.bytes,
        "bytes_from": "shards" if stored is not None else "stated" if size.stated else "schema",
        "cpu_hours": 0.0 if on_gpu else hours,
        "gpu_hours": hours if on_gpu else 0.0,
        "hours_from": basis,
    }


def _seconds(
    context: Context,
    name: str,
    stage: ResolvedStage | None,
    size: StageSize,
    mean_s: float,
    gpu: bool,
) -> tuple[float, bool, str]:
    """Return seconds for an item, whether they are a GPU's, and where they come from."""
    on_gpu = gpu and STAGES[name].network
    if stage is not None:
        measured = _measured_s(context, stage)
        if measured is not None:
            return measured * mean_s, on_gpu, "measured"
    cost = stated_cost(name, stage.record.backend if stage else "")
    if on_gpu:
        return gpu_seconds(cost, size), True, "stated"
    float32 = stage is None or stage.precision != "bfloat16"
    return core_seconds(cost, size, mean_s, float32=float32), False, "stated"


def _measured_s(context: Context, stage: ResolvedStage) -> float | None:
    """Return seconds of one worker for a second of media, as this host measured them."""
    device = context.settings.run.device
    rates = [
        rate
        for rate in read_rates(context.layout, stage.record.name)
        if rate.host == socket.gethostname()
        and (rate.device == device or not stage.definition.network)
    ]
    return slot_seconds(rates)


def _done(context: Context, stage: ResolvedStage | None) -> set[str]:
    """Return the items of which the stage has an outcome."""
    if stage is None:
        return set()
    try:
        return set(context.store.outcomes(stage.record.name))
    except StageNotFound:
        return set()


def _stored_bytes_per_s(
    context: Context, stage: ResolvedStage | None, source: str, media: MediaEstimate
) -> float | None:
    """Return what the stage's shards take for a second of media; None while there are few."""
    if stage is None:
        return None
    try:
        good = set(context.store.items(stage.record.name)) & set(media.lengths)
    except StageNotFound:
        return None
    if len(good) < _ENOUGH:
        return None
    shards = list_shards(context.layout, stage.record.name, source)
    size = sum(ref.path.stat().st_size for ref in shards)
    return size / sum(media.lengths[item_id] for item_id in good)


def _pinned(context: Context) -> ResolvedStage | None:
    try:
        return context.resolved(POSE_EMBED)
    except LookupError:
        return None


def _pose_embed(context: Context, pose: StageSize) -> StageSize:
    """Return the size of pose embeddings through the ST-GCN that the settings describe."""
    settings = draft_job(context, POSE_MODEL).record.configuration
    network = NetworkConfig.from_json(settings["network"])
    return pose_embed_size(
        pose, persons=settings["persons"], channels=network.channels[-1], stride=network.stride
    )


def _has_gpu(context: Context) -> bool:
    if context.settings.run.device != "auto":
        return context.settings.run.device.startswith("cuda")
    import torch

    return torch.cuda.is_available()


def _disk(
    context: Context, media: Iterable[MediaEstimate], stages: Iterable[Mapping[str, Any]]
) -> dict[str, Any]:
    media_bytes = sum(m.new_bytes for m in media)
    stage_bytes = sum(row["bytes"] for row in stages)
    scratch = min(stage_bytes, SCRATCH_BYTES)
    need = media_bytes + stage_bytes + scratch
    free = shutil.disk_usage(context.layout.root).free
    return {
        "media_bytes": media_bytes,
        "stage_bytes": stage_bytes,
        "scratch_bytes": scratch,
        "need_bytes": need,
        "free_bytes": free,
        "fits": need <= free,
    }


def _notes(media: Iterable[MediaEstimate], stages: Iterable[Mapping[str, Any]]) -> list[str]:
    """Return where the numbers come from, each sentence once."""
    notes = [note for m in media for note in m.notes]
    rows = [row for row in stages if row["items"]]
    networks = [row for row in rows if STAGES[row["stage"]].network]
    if any(row["cpu_hours"] for row in networks):
        notes.append("networks are counted on the CPU; with device = cuda, on a GPU")
    if any(row["hours_from"] == "stated" and row["cpu_hours"] for row in rows):
        notes.append(f"CPU hours marked stated: {CPU_SOURCE}")
    if any(row["hours_from"] == "stated" and row["gpu_hours"] for row in rows):
        notes.append(f"GPU hours marked stated: {GPU_SOURCE}")
    notes.append("training and evaluation are not counted")
    return list(dict.fromkeys(notes))


def print_estimate(found: Mapping[str, Any]) -> None:
    """Print the estimate as tables."""
    console = Console(highlight=False, soft_wrap=True)
    console.print(
        f"[bold]{escape(found['dataset'])}[/bold] (recipe {found['recipe']}): {found['items']} "
        f"items, {found['media_hours']:.1f} hours of media"
    )
    media = Table("source", "items", "here", "lost", "to import", "to download", "new media")
    for row in found["sources"]:
        counts = (str(row[k]) for k in ("items", "here", "lost", "to_import", "to_download"))
        media.add_row(escape(row["source"]), *counts, said_bytes(row["new_bytes"]))
    console.print(media)
    stages = Table("stage", "source", "items left", "bytes", "from", "CPU h", "GPU h", "from")
    for row in found["stages"]:
        stages.add_row(
            row["stage"],
            escape(row["source"]),
            str(row["items"]),
            said_bytes(row["bytes"]),
            row["bytes_from"],
            f"{row['cpu_hours']:.2f}",
            f"{row['gpu_hours']:.2f}",
            row["hours_from"],
        )
    console.print(stages)
    load, compute, disk = found["download"], found["compute"], found["disk"]
    console.print(
        f"download: {load['videos']} videos, {said_bytes(load['transfer_bytes'])}, "
        f"{load['days']:.1f} days from one address"
    )
    console.print(
        f"computing: {compute['cpu_hours']:.1f} CPU hours, {compute['gpu_hours']:.1f} GPU hours; "
        f"{compute['hours']:.1f} hours with {compute['workers']} worker(s)"
    )
    verdict = "it fits" if disk["fits"] else "[bold]it does not fit[/bold]"
    console.print(
        f"disk: {said_bytes(disk['need_bytes'])} needed, {said_bytes(disk['free_bytes'])} free in "
        f"{escape(found['root'])}: {verdict}"
    )
    for note in found["notes"]:
        console.print(escape(f"- {note}"))


def said_bytes(count: float) -> str:
    """Return a number of bytes as people read it."""
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} TB"
