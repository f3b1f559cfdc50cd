"""A check of everything in a store that carries a digest or a contract; it changes nothing.

In: a store. Out: problems, each naming the file, the dataset or item, and what to do.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np

from storage.atomic import abandoned_temp
from storage.catalog import ShardRef, list_shards, list_stage_sources, list_stages
from storage.columns import open_file
from storage.errors import StoreError
from storage.fingerprint import StageRecord, sha256_file
from storage.layout import STAGE_NAME, Layout
from storage.models import (
    list_evaluations,
    list_models,
    list_snapshots,
    read_evaluation,
    read_model,
    read_snapshot,
)
from storage.outcomes import read_fetch_log
from storage.plan import read_plan
from storage.retries import list_retry_logs, read_marks
from storage.schema import END_SUFFIX
from storage.shard_reader import ShardFile
from storage.views import list_datasets, read_dataset_view

ERROR = "error"
NOTE = "note"
_BLOCK_BYTES = 8 << 20

Plan = Mapping[int, tuple[str, ...]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """Something wrong ('error') or left over ('note') in the store.

    `where` is the dataset, item or key inside `path`; '' for the whole file.
    """

    path: Path
    where: str
    message: str
    severity: str = ERROR

    def __str__(self) -> str:
        return f"{self.severity}: {self.path}{self.where and ': '}{self.where}: {self.message}"


def verify_store(layout: Layout) -> list[Problem]:
    """Read every chunk of every shard and every digest; return what is wrong, files in order."""
    return [
        *_verify_plans(layout),
        *_verify_retries(layout),
        *_verify_stages(layout),
        *_verify_datasets(layout),
        *_verify_models(layout),
        *_leftovers(layout),
    ]


def _sources(layout: Layout) -> list[str]:
    folder = layout.sources()
    return sorted(p.name for p in folder.iterdir() if p.is_dir()) if folder.is_dir() else []


def _verify_plans(layout: Layout) -> Iterator[Problem]:
    for source in _sources(layout):
        seen: dict[str, int] = {}
        try:
            plan = read_plan(layout, source)
            read_fetch_log(layout, source)
        except StoreError as error:
            yield Problem(path=layout.source(source), where="", message=str(error))
            continue
        for shard in plan:
            for item_id in shard.item_ids:
                if item_id in seen:
                    yield Problem(
                        path=layout.plan_shard(source, shard.number),
                        where=item_id,
                        message=f"also planned in shard {seen[item_id]}",
                    )
                seen[item_id] = shard.number


def _verify_retries(layout: Layout) -> Iterator[Problem]:
    for source, scope in list_retry_logs(layout):
        try:
            list(read_marks(layout, source, scope))
        except StoreError as error:
            yield Problem(path=layout.retry_log(source, scope), where="", message=str(error))


def _verify_stages(layout: Layout) -> Iterator[Problem]:
    for name_fp in list_stages(layout):
        yield from _verify_meta(layout, name_fp)
        for source in list_stage_sources(layout, name_fp):
            try:
                plan = {s.number: s.item_ids for s in read_plan(layout, source)}
            except StoreError:
                plan = None  # reported with the plans
            for ref in list_shards(layout, name_fp, source):
                yield from verify_shard(ref, name_fp, plan)


def _verify_meta(layout: Layout, name_fp: str) -> Iterator[Problem]:
    path = layout.stage_meta(name_fp)
    try:
        record = StageRecord.from_json(json.loads(path.read_text(encoding="utf-8")))
    except FileNotFoundError:
        if list_stage_sources(layout, name_fp):  # else a run was killed before its first shard
            yield Problem(path=path, where="", message="missing; run the stage again")
        return
    except (OSError, ValueError, TypeError) as error:
        yield Problem(path=path, where="", message=f"cannot be read ({error})")
        return
    if record.name != name_fp:
        yield Problem(path=path, where="", message=f"describes {record.name}, not {name_fp}")


def verify_shard(ref: ShardRef, name_fp: str, plan: Plan | None) -> list[Problem]:
    """Read every chunk of a shard, and compare it with its folder, its plan and its contract.

    `plan` maps the numbers of its source's shards to their items; None when it cannot be read.
    """
    try:
        with ShardFile(ref.path) as shard:
            problems = _corrupt_datasets(ref.path)
            if not problems:
                problems += [
                    Problem(path=ref.path, where=where, message=message)
                    for where, message in _broken_contract(shard, ref, name_fp, plan)
                ]
    except (StoreError, OSError, RuntimeError, KeyError, ValueError) as error:
        # h5py raises any of these on damaged metadata
        return [Problem(path=ref.path, where="", message=str(error))]
    return problems


def _corrupt_datasets(path: Path) -> list[Problem]:
    """Read every dataset in the file, chunk by chunk."""
    problems: list[Problem] = []

    def check(name: str, value: h5py.Dataset | h5py.Group) -> None:
        if not isinstance(value, h5py.Dataset):
            return
        row = max(1, int(np.prod(value.shape[1:])) * value.dtype.itemsize)
        chunk = value.chunks[0] if value.chunks else 1
        step = max(1, _BLOCK_BYTES // (row * chunk)) * chunk
        try:
            for start in range(0, value.shape[0], step):
                value[start : start + step]
        except OSError as error:
            problems.append(
                Problem(
                    path=path,
                    where=name,
                    message=f"fails its checksum ({error}); delete the shard and run again",
                )
            )

    with open_file(path) as file:
        file.visititems(check)
    return problems


def _broken_contract(
    shard: ShardFile, ref: ShardRef, name_fp: str, plan: Plan | None
) -> Iterator[tuple[str, str]]:
    if shard.record.name != name_fp:
        yield "record_json", f"the shard is of {shard.record.name}, the folder of {name_fp}"
    if plan is not None:
        planned = plan.get(ref.number, ())
        if ref.supplement == 0 and shard.item_ids != planned:
            yield "index/item_id", f"{len(shard.item_ids)} items, not the plan's {len(planned)}"
        elif not set(shard.item_ids) <= set(planned):
            yield "index/item_id", "holds items that the plan does not have in this shard"
    rows = 0
    for item_id, entry in shard.index.entries.items():
        if entry.start != rows or (entry.length and not entry.ok):
            yield item_id, f"rows {entry.start}+{entry.length} do not follow row {rows}"
        rows += entry.length
    for spec in shard.schema.arrays:
        name = f"data/{spec.name}{END_SUFFIX if spec.is_bytes else ''}"
        shape, dtype = shard.dataset(name).shape, shard.dataset(name).dtype
        expected = np.dtype(np.int64 if spec.is_bytes else spec.dtype)
        if shape != (rows, *spec.row_shape) or dtype != expected:
            yield name, f"is {dtype} {shape}, expected {expected} {(rows, *spec.row_shape)}"
        elif spec.is_bytes:
            yield from _broken_ends(shard, spec.name, name)


def _broken_ends(shard: ShardFile, array: str, name: str) -> Iterator[tuple[str, str]]:
    ends = shard.dataset(name)[:]
    size = shard.dataset(f"data/{array}").shape[0]
    if (len(ends) and int(ends[-1]) != size) or np.any(np.diff(ends, prepend=0) < 0):
        yield name, f"the rows' ends do not divide the {size} bytes of data/{array}"


def _verify_datasets(layout: Layout) -> Iterator[Problem]:
    for dataset in list_datasets(layout):
        try:
            if any(layout.dataset(dataset).glob("items-*.jsonl")):
                read_dataset_view(layout, dataset)
        except StoreError as error:
            yield Problem(path=layout.dataset(dataset), where="", message=str(error))
        for digest in list_snapshots(layout, dataset):
            try:
                read_snapshot(layout, dataset, digest)
            except StoreError as error:
                yield Problem(path=layout.snapshot(dataset, digest), where="", message=str(error))


def _verify_models(layout: Layout) -> Iterator[Problem]:
    for name in list_models(layout):
        folder = layout.model(name)
        try:
            described = read_model(layout, name)
        except StoreError as error:
            yield Problem(path=folder, where="", message=str(error))
            continue
        weights, expected = folder / "weights.safetensors", described.get("weights_sha256")
        if expected is None:
            continue
        if not weights.is_file():
            yield Problem(path=weights, where="", message="missing; remove the model, run again")
        elif (found := sha256_file(weights)) != expected:
            yield Problem(
                path=weights,
                where="",
                message=f"sha256 is {found}, model.json says {expected}; "
                "remove the model and run again",
            )
    for name in list_evaluations(layout):
        try:
            read_evaluation(layout, name)
        except StoreError as error:
            yield Problem(path=layout.evaluation(name), where="", message=str(error))


def _leftovers(layout: Layout) -> Iterator[Problem]:
    """Yield what killed runs left behind; the next run uses or removes it."""
    for path in sorted(layout.root.rglob(".tmp-*")):
        if abandoned_temp(path):
            yield Problem(
                path=path, where="", message="left by a writer that is gone", severity=NOTE
            )
    for folder in sorted(layout.staging_root().glob("*/*/*")):
        stage, source, shard = folder.parts[-3:]
        if not STAGE_NAME.fullmatch(stage):
            continue
        if layout.shard_dir(stage, source).joinpath(f"{shard}.h5").exists():
            message = "staged items of a shard that is complete"
        else:
            message = "staged items of a shard in progress, or of a killed run"
        yield Problem(path=folder, where="", message=message, severity=NOTE)
