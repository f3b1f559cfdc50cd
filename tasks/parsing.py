"""The parsing tables of a run: what they shall hold, on which items, and where they are kept.

Flows in: [parsing_tables] of luigi.cfg, the command line, a context. Flows out: a `TableSpec`, a
`Ground`, the figures of what is published, and the folder of published tables.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

from model.avvp.config import networks
from model.avvp.rows import (
    KIND,
    RECIPE,
    Ground,
    TableSpec,
    gather,
    row_jobs,
    table,
    tables_name,
)
from model.settings import ConfigError, settings_of_text
from model.train.errors import TrainingError
from storage.layout import Layout
from storage.models import (
    RESULTS_FILE,
    evaluation_complete,
    list_evaluations,
    list_snapshots,
    model_complete,
    publish_evaluation,
    read_evaluation,
    read_snapshot,
    snapshot_digest,
    write_snapshot,
)
from tasks.context import Context
from tasks.models import stage_names
from tasks.settings import ParsingTableSettings, SettingsError
from tasks.snapshots import still_stands, usable_items
from tasks.splits import items_with_splits

TEXT_FILE = "tables.txt"


def table_spec(
    chosen: ParsingTableSettings,
    *,
    rows: str = "",
    seeds: str = "",
    preset: str = "",
    settings: str = "",
    pretraining: str = "",
) -> TableSpec:
    """Return what tables are asked for: the command line's texts, luigi.cfg's where they are empty.

    Raises
    ------
    SettingsError
        A row or preset that is not there, no seeds, or settings that no row can have.
    """
    named = _parts(rows or chosen.rows, ";") or tuple(networks)
    try:
        return TableSpec(
            rows=named,
            seeds=_numbers(seeds or chosen.seeds),
            preset=preset or chosen.preset,
            settings=_object("settings", settings or chosen.settings),
            pretraining=_object("pretraining", pretraining or chosen.pretraining),
        )
    except ConfigError as error:
        hint = " (rows are separated by ';')" if any("," in row for row in named) else ""
        raise SettingsError(f"parsing tables: {error}{hint}") from error


def _parts(text: str, mark: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in text.split(mark) if part.strip())


def _object(name: str, text: str) -> str:
    return json.dumps(settings_of_text(text, name), sort_keys=True)


def _numbers(text: str) -> tuple[int, ...]:
    try:
        return tuple(int(part) for part in _parts(text, ","))
    except ValueError:
        raise ConfigError(f"seeds {text!r}: expected numbers such as 0,1,2") from None


@lru_cache(maxsize=8)
def table_ground(
    context: Context, spec: TableSpec, *, latest: bool = False, write: bool = True
) -> Ground:
    """Return what all rows of the tables are trained and tested on, the same for a whole run.

    The items of finished rows, as long as they have the labels and splits that they have now; else,
    or with `latest`, all items that can be used now, whose list is kept in the store with `write`.
    """
    stages = stage_names(context, RECIPE)
    digest = "" if latest else _standing_snapshot(context, spec, stages)
    if not digest:
        items = usable_items(context, RECIPE, list(stages.values()))
        digest = (
            write_snapshot(context.layout, context.name, items) if write else snapshot_digest(items)
        )
    return Ground(layout=context.layout, dataset=context.name, snapshot=digest, stages=stages)


def _standing_snapshot(context: Context, spec: TableSpec, stages: Mapping[str, str]) -> str:
    """Return the largest snapshot that still stands and that a row was trained on, or nothing."""
    now = {item.item_id: item for item in items_with_splits(context)}
    best = (0, "")
    for digest in list_snapshots(context.layout, context.name):
        ground = Ground(layout=context.layout, dataset=context.name, snapshot=digest, stages=stages)
        if not _any_trained(ground, spec):
            continue
        held = read_snapshot(context.layout, context.name, digest)
        if still_stands(held, now):
            best = max(best, (len(held), digest))
    return best[1]


def _any_trained(ground: Ground, spec: TableSpec) -> bool:
    """Whether a model of the tables is published."""
    return any(
        model_complete(ground.layout, job.name)
        for row in spec.rows
        for seed in spec.seeds
        for job in row_jobs(ground, spec, row, seed)
    )


def newer_items(context: Context, ground: Ground) -> int:
    """Return how many items can be used that the tables' snapshot does not hold."""
    held = {item.item_id for item in read_snapshot(ground.layout, ground.dataset, ground.snapshot)}
    items = usable_items(context, RECIPE, list(ground.stages.values()))
    return sum(item.item_id not in held for item in items)


def gathered(ground: Ground, spec: TableSpec) -> dict[str, Any]:
    """Return the figures of the tables' published rows, as `model.avvp.rows.gather` does.

    Raises
    ------
    SettingsError
        The dataset's test items have no dense events to be compared with.
    """
    try:
        return gather(ground, spec)
    except TrainingError as error:
        raise SettingsError(f"parsing tables of {ground.dataset}: {error}") from error


def publish_tables(layout: Layout, results: Mapping[str, Any]) -> Path:
    """Publish tables as JSON and as text; return their folder."""
    name = tables_name(results)
    if not evaluation_complete(layout, name):
        folder = layout.run(name)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / RESULTS_FILE).write_text(json.dumps(results, indent=1) + "\n")
        (folder / TEXT_FILE).write_text(table(results), encoding="utf-8")
        publish_evaluation(layout, name, folder)
    return layout.evaluation(name)


def published_tables(layout: Layout, dataset: str) -> list[str]:
    """Return the names of a dataset's published tables, sorted."""
    names = [name for name in list_evaluations(layout) if name.startswith(f"{KIND}-")]
    return [name for name in names if read_evaluation(layout, name)["dataset"] == dataset]
