"""A shard out of its staged items: assembled block by block in plan order, published once.

In: a stage's record and schema, item ids, their staged files. Out: an immutable shard. Equal staged
items give equal bytes: nothing of a clock, a host or an order of arrival is written.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

import h5py
import numpy as np

from storage.atomic import private_file, publish_json, publish_private, sweep_temp
from storage.columns import (
    ArraySizes,
    ArrayWriter,
    create_file,
    open_file,
    write_column,
    write_text_attribute,
    write_text_column,
)
from storage.errors import CorruptShard, StoreDamaged, StoreError
from storage.fingerprint import StageRecord, canonical_json
from storage.layout import Layout
from storage.records import ArraySpec, StageSchema
from storage.schema import END_SUFFIX, check_schema, row_bytes, schema_as_json
from storage.shard_compare import shard_differences
from storage.shard_reader import SHARD_SCHEMA_VERSION, ShardFile
from storage.staging import StagedItem, read_staged

logger = logging.getLogger(__name__)

BLOCK_BYTES = 4 << 20
_ABANDONED_AFTER_S = 3600.0


def write_shard(
    layout: Layout,
    record: StageRecord,
    source: str,
    number: int,
    item_ids: Sequence[str],
    *,
    supplement: int = 0,
    provenance: Mapping[str, str],
    schema: StageSchema,
) -> Path:
    """Publish a shard, or a supplement of retried items, from its staged items; return its path.

    When another writer was first, the two are compared, a difference is logged with both
    provenances, and ours is dropped; a supplement number that another writer took for other items
    is left to it and the next free one used. The staged items are removed at the end.

    Raises StoreError when an item is not staged, StoreDamaged when a published shard holds other
    items than the plan says.
    """
    check_schema(schema)
    publish_json(layout.stage_meta(record.name), record.as_json())
    while True:
        final = layout.shard(record.name, source, number, supplement)
        try:
            staged = _read_all_staged(layout, record, source, number, item_ids, schema)
            won = _assemble(final, record, staged, provenance, schema)
        except (FileNotFoundError, NotADirectoryError) as error:
            if not final.exists():
                raise StoreError(
                    f"{final}: an item is not staged ({error}); stage every item first"
                ) from error
            won = False  # the other writer, who published first, removed the staged items
        if won or not _taken_for_others(final, item_ids, supplement):
            break
        supplement += 1
    sweep_temp(final.parent, _ABANDONED_AFTER_S)
    _remove_staged(layout, record, source, number, item_ids)
    return final


def _remove_staged(
    layout: Layout, record: StageRecord, source: str, number: int, item_ids: Sequence[str]
) -> None:
    """Remove our items; the folder too, unless another run stages other items there."""
    folder = layout.staging(record.name, source, number)
    for item_id in item_ids:
        layout.staged_item(record.name, source, number, item_id).unlink(missing_ok=True)
    sweep_temp(folder, _ABANDONED_AFTER_S)
    with suppress(OSError):
        folder.rmdir()


def _taken_for_others(final: Path, item_ids: Sequence[str], supplement: int) -> bool:
    """Whether the published file misses one of our items; only a supplement may."""
    with ShardFile(final) as shard:
        held = set(shard.item_ids)
    if held.issuperset(item_ids):
        return False
    if supplement == 0:
        raise StoreDamaged(
            f"{final}: holds {len(held)} items, but not all {len(item_ids)} of the plan's shard; "
            "the plan was changed by hand, or the shard belongs to another store"
        )
    return True


def _read_all_staged(
    layout: Layout,
    record: StageRecord,
    source: str,
    number: int,
    item_ids: Sequence[str],
    schema: StageSchema,
) -> dict[str, StagedItem]:
    staged = {}
    for item_id in item_ids:
        item = read_staged(layout.staged_item(record.name, source, number, item_id))
        if item.outcome.ok and item.schema != schema:
            raise StoreError(
                f"{item.path}: staged under another schema than {record.stage}'s present one; "
                "raise stage_version when a stage's arrays change, and delete the staged items"
            )
        staged[item_id] = item
    return staged


def _assemble(
    final: Path,
    record: StageRecord,
    staged: Mapping[str, StagedItem],
    provenance: Mapping[str, str],
    schema: StageSchema,
) -> bool:
    """Write and publish; False when `final` exists, after comparing it with ours."""
    with private_file(final) as temp:
        with create_file(temp) as file:
            _write_attributes(file, record, provenance, schema)
            _write_index(file, staged)
            good = [item for item in staged.values() if item.outcome.ok]
            for spec in schema.arrays:
                _write_array(file, spec, good)
        if publish_private(temp, final):
            logger.info("%s: %d items, %d of them good", final, len(staged), len(good))
            return True
        _report_differences(temp, final)
        return False


def _report_differences(ours: Path, theirs: Path) -> None:
    with ShardFile(ours) as mine, ShardFile(theirs) as other:
        differences = shard_differences(mine, other)
        if differences:
            logger.warning(
                "%s: computed twice with different results, the first is kept: %s; "
                "provenance of the first %s, of ours %s",
                theirs,
                "; ".join(differences),
                canonical_json(other.provenance),
                canonical_json(mine.provenance),
            )
        else:
            logger.info("%s: published by another writer first, with equal results", theirs)


def _write_attributes(
    file: h5py.File, record: StageRecord, provenance: Mapping[str, str], schema: StageSchema
) -> None:
    file.attrs["schema_version"] = SHARD_SCHEMA_VERSION
    texts = {
        "stage": record.stage,
        "fingerprint": record.fingerprint,
        "record_json": canonical_json(record.as_json()),
        "schema_json": canonical_json(schema_as_json(schema)),
        "provenance_json": canonical_json(dict(provenance)),
    }
    for name, text in texts.items():
        write_text_attribute(file, name, text)


def _write_index(file: h5py.File, staged: Mapping[str, StagedItem]) -> None:
    lengths = np.array([item.length for item in staged.values()], dtype=np.int64)
    starts = np.cumsum(lengths, dtype=np.int64) - lengths
    bases = [item.time_base for item in staged.values()]
    write_text_column(file, "index/item_id", list(staged))
    write_text_column(file, "index/media_sha256", [i.media_sha256 for i in staged.values()])
    write_column(file, "index/start", starts)
    write_column(file, "index/length", lengths)
    write_column(file, "index/t0_s", np.array([b.t0_s for b in bases], dtype=np.float64))
    write_column(file, "index/hop_s", np.array([b.hop_s for b in bases], dtype=np.float64))
    failed = {item_id: item.outcome for item_id, item in staged.items() if not item.outcome.ok}
    write_text_column(file, "outcomes/item_id", list(failed))
    write_text_column(file, "outcomes/reason", [o.reason for o in failed.values()])
    write_text_column(file, "outcomes/detail", [o.detail for o in failed.values()])


def _write_array(file: h5py.File, spec: ArraySpec, items: Sequence[StagedItem]) -> None:
    """Concatenate one array of every staged item, a few MB at a time."""
    rows = sum(item.length for item in items)
    values = sum(_staged_size(item, spec) for item in items) if spec.is_bytes else rows
    writer = ArrayWriter(file, spec, ArraySizes(rows, values))
    for item in items:
        with open_file(item.path) as source:
            try:
                _copy_rows(source, spec, writer)
            except OSError as error:
                raise CorruptShard(
                    f"{item.path}: data/{spec.name} cannot be read ({error}); delete the file "
                    "and run again"
                ) from error
    writer.close()


def _copy_rows(source: h5py.File, spec: ArraySpec, writer: ArrayWriter) -> None:
    dataset = source[f"data/{spec.name}"]
    step = max(1, BLOCK_BYTES // max(1, row_bytes(spec)))
    for start in range(0, dataset.shape[0], step):
        block = dataset[start : start + step]
        if spec.is_bytes:
            writer.append_bytes(block)
        else:
            writer.append(block)
    if spec.is_bytes:
        writer.append_ends(source[f"data/{spec.name}{END_SUFFIX}"][:])


def _staged_size(item: StagedItem, spec: ArraySpec) -> int:
    with open_file(item.path) as file:
        return int(file[f"data/{spec.name}"].shape[0])
