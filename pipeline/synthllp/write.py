"""A synthetic LLP in, its shards in a store out: one clip at a time, as imported stages."""

from __future__ import annotations

from collections.abc import Iterator
from importlib.metadata import version

from pipeline.npy_features import FOLDERS, imported_stage
from pipeline.synthllp import SynthLlp
from pipeline.synthllp.features import rows_of
from storage.fingerprint import sha256_json
from storage.layout import Layout
from storage.plan import PlanShard, extend_plan, read_plan
from storage.records import TimeBase
from storage.shard_writer import write_shard
from storage.staging import ItemWriter


def write_synthllp(layout: Layout, made: SynthLlp) -> Iterator[str]:
    """Publish the rows of all clips; yield the name of each shard that is there.

    Shards that are there already are kept: killed at any moment, a later call goes on with the next
    one. Rows are drawn clip by clip, so memory does not grow with the size.
    """
    widest = max(folder.rows * folder.width * 4 for folder in FOLDERS.values())
    extend_plan(layout, made.source, [(clip.item_id, widest) for clip in made.clips])
    for shard in read_plan(layout, made.source):
        for stage in FOLDERS:
            yield _write_shard(layout, made, stage, shard)


def _write_shard(layout: Layout, made: SynthLlp, stage: str, shard: PlanShard) -> str:
    folder, resolved = FOLDERS[stage], imported_stage(stage, made.digest)
    name = resolved.record.name
    said = f"{name} {shard.source}/{shard.number}"
    if layout.shard(name, shard.source, shard.number).exists():
        return said
    clips = {clip.item_id: clip for clip in made.clips}
    for item_id in shard.item_ids:
        staged = layout.staged_item(name, shard.source, shard.number, item_id)
        rows = rows_of(clips[item_id], stage, seed=made.seed)
        base = TimeBase(0.0, folder.hop_s)
        digest = sha256_json([made.digest, stage, item_id])
        with ItemWriter(staged, folder.schema, base, digest, item_id=item_id) as writer:
            writer.append({folder.array: rows})
    write_shard(
        layout,
        resolved.record,
        shard.source,
        shard.number,
        shard.item_ids,
        provenance={"synthllp": made.source, "soundstage": version("soundstage")},
        schema=folder.schema,
    )
    return said
