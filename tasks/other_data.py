"""A trained model on another dataset's test items: which of them, and the evaluator's job.

Flows in: a published model, a dataset's name or a snapshot, what to do about classes that the model
does not know and videos that it has seen. Flows out: an `EvaluateJob` on a snapshot of its own.
Nothing is computed here but that.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from model.jobs import EvaluateJob
from model.separation.jobs import SYSTEMS, baseline_jobs
from model.tribert.described import seen_of
from pipeline.datasets.leaks import video_key
from storage.errors import StageNotFound
from storage.layout import Layout
from storage.models import (
    ModelRecord,
    model_complete,
    read_model,
    read_snapshot,
    write_snapshot,
)
from storage.records import DatasetItem
from storage.store import FeatureStore
from tasks.context import POSE_EMBED, RECIPES
from tasks.records import read_stage_records
from tasks.settings import SettingsError

JUDGED = {"tribert": "separation", "separation": "separation", "avvp": "parsing"}
JUDGED |= {"retrieval": "retrieval"}
"""A model's recipe -> what it is judged by."""
SERVED = {"separation": "tribert", "retrieval": "tribert"}
"""A model's recipe -> the recipe whose items it reads."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What to do about items that a model should not be judged on: refuse, or leave them out."""

    skip_seen: bool = False
    """Leave out videos that the model was trained on."""
    skip_unknown: bool = False
    """Leave out items of classes that it does not know."""
    any_class: bool = False
    """Keep them: separation needs no names."""


def described(layout: Layout, name: str) -> tuple[ModelRecord, str]:
    """Return a published model's record, and the recipe whose items it reads.

    Raises
    ------
    storage.errors.ItemNotFound
        There is no such model.
    SettingsError
        Nothing judges models of its kind.
    """
    record = ModelRecord.from_json(read_model(layout, name)["record"])
    if record.recipe not in JUDGED:
        raise SettingsError(
            f"evaluate {name}: models of the recipe {record.recipe!r} have no figures of their "
            f"own; name one of {', '.join(JUDGED)}"
        )
    return record, SERVED.get(record.recipe, record.recipe)


def published_baselines(layout: Layout, tribert: str) -> list[str]:
    """Return the names of a TriBERT's own baselines that are in the store."""
    names = [job.name for job in baseline_jobs(layout, tribert, SYSTEMS)]
    return [name for name in names if model_complete(layout, name)]


def test_items(
    items: Sequence[DatasetItem], served: str, split: str, dataset: str
) -> list[DatasetItem]:
    """Return the items to be judged on, marked as test items.

    Raises
    ------
    SettingsError
        There are none.
    """
    chosen = [
        replace(item, split="test")
        for item in items
        if item.labels and split in ("all", item.split) and (not item.tasks or served in item.tasks)
    ]
    if not chosen:
        raise SettingsError(
            f"evaluate: {dataset} has no labelled {split} items for {served}; choose another "
            "--split (all takes every item), or a dataset with labels"
        )
    return chosen


def allowed_items(
    layout: Layout, models: Sequence[str], items: Sequence[DatasetItem], limits: Limits
) -> list[DatasetItem]:
    """Return the items of known classes that no model has seen.

    Raises
    ------
    SettingsError
        There are others, and they are not to be left out; or nothing is left.
    """
    seen = {
        video for name in _with_embedders(layout, models) for video in _seen(layout, name, items)
    }
    unknown = _unknown_labels(layout, models[0], items) if not limits.any_class else set()
    if seen and not limits.skip_seen:
        raise SettingsError(
            f"evaluate {models[0]}: it, its ST-GCN or a baseline was trained on {len(seen)} of the "
            f"videos (the first: {min(seen)}), so the figures would be flattered; leave those out "
            "with --skip-seen"
        )
    if unknown and not limits.skip_unknown:
        known = ", ".join(read_model(layout, models[0])["classes"])
        raise SettingsError(
            f"evaluate {models[0]}: it knows the classes {known}, the items are labelled "
            f"{', '.join(sorted(unknown))}, too; leave those items out with --skip-unknown, "
            "fine-tune the model on this dataset ([tribert] initial), or separate them all the "
            "same with --any-class"
        )
    kept = [
        item
        for item in items
        if video_key(item.item_id) not in seen and not unknown & set(item.labels)
    ]
    if not kept:
        raise SettingsError(
            f"evaluate {models[0]}: of {len(items)} items none is left, {len(seen)} videos were "
            f"seen in training and {len(unknown)} classes are unknown"
        )
    return kept


def present_items(
    store: FeatureStore, record: ModelRecord, items: Sequence[DatasetItem], dataset: str
) -> list[DatasetItem]:
    """Return the items that have rows in every stage that the model reads.

    Raises
    ------
    SettingsError
        There are none; the message says which stage misses how many and how to get them.
    """
    found = {name: _items_of(store, name) for name in record.stages.values()}
    kept = [i for i in items if all(i.item_id in ids for ids in found.values())]
    if kept:
        return kept
    missing = [
        f"{name} has {sum(i.item_id in ids for i in items)}{_differences(store, stage, name)}"
        for (stage, name), ids in zip(record.stages.items(), found.values(), strict=True)
    ]
    raise SettingsError(
        f"evaluate {record.name}: no item of {dataset} has every stage that the model reads; of "
        f"{len(items)} items {'; '.join(missing)}. --compute computes what is missing; luigi.cfg "
        "must have the settings of the stages that the model was trained with"
    )


def job_on(
    layout: Layout,
    record: ModelRecord,
    models: Sequence[str],
    items: Sequence[DatasetItem],
    dataset: str,
    *,
    version: int,
    configuration: Mapping[str, Any],
    device: str,
) -> EvaluateJob:
    """Return the evaluation of models on items, whose snapshot is kept in the store."""
    snapshot = write_snapshot(layout, dataset, items)
    return EvaluateJob.beside(
        layout,
        replace(record, dataset=dataset, snapshot=snapshot),
        what=JUDGED[record.recipe],
        version=version,
        models=models,
        configuration=configuration,
        device=device,
    )


def snapshot_items(layout: Layout, dataset: str, digest: str) -> list[DatasetItem]:
    """Return the items of a snapshot in the store; raises ItemNotFound."""
    return read_snapshot(layout, dataset.replace(":", "-"), digest)


def recipe_of(served: str) -> str:
    """Return the run's recipe that computes what models of a recipe read."""
    return served if served in RECIPES else "features"


def _with_embedders(layout: Layout, models: Sequence[str]) -> list[str]:
    """Return the models and the ST-GCN that embedded the poses they read."""
    read = {read_model(layout, name)["record"]["stages"].get(POSE_EMBED) for name in models}
    records = [r for r in read_stage_records(layout, POSE_EMBED) if r.name in read]
    embedders = {str(record.parameters["model"]) for record in records}
    return [*models, *sorted(name for name in embedders if model_complete(layout, name))]


def _seen(layout: Layout, name: str, items: Sequence[DatasetItem]) -> tuple[str, ...]:
    leak = seen_of(layout, name, [item.item_id for item in items])
    return tuple(leak.ids) if leak else ()


def _unknown_labels(layout: Layout, model: str, items: Sequence[DatasetItem]) -> set[str]:
    classes = set(read_model(layout, model)["classes"])
    return {label for item in items for label in item.labels} - classes


def _items_of(store: FeatureStore, stage: str) -> set[str]:
    try:
        return set(store.items(stage))
    except StageNotFound:
        return set()


def _differences(store: FeatureStore, stage: str, name: str) -> str:
    """Return how the stage that the model reads differs from others of its kind in the store."""
    records = {record.name: record for record in read_stage_records(store.layout, stage)}
    wanted = records.pop(name, None)
    if wanted is None or not records:
        return ""
    nearest = min((other.differences(wanted) for other in records.values()), key=len)
    above = [
        _differences(store, upstream, f"{upstream}-{fingerprint}")
        for upstream, fingerprint in wanted.upstream.items()
        if any(line.startswith(f"upstream.{upstream}:") for line in nearest)
    ]
    return f" (another {stage} in this store differs in {', '.join(nearest)}{''.join(above)})"
