"""The rows of the parsing tables: their trainings, their evaluations, and the text of both tables.

In: a dataset's snapshot and stages (`Ground`) and what a table shall hold (`TableSpec`). Out: jobs
to train and to evaluate; and, of what is published, figures as JSON and as text beside the printed
numbers. Loads no torch: who trains is another matter (`model.avvp.table`, the Luigi tasks).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from model.avg.jobs import (
    grounding_job,
    published_grounding,
    row_grounding,
    split_settings,
    started_from,
)
from model.avvp.config import EVALUATION_VERSION, RECIPE_VERSION, Config, row_config
from model.avvp.metrics import FIGURES, LEVELS
from model.avvp.published import PUBLISHED_ROWS, SOURCE
from model.avvp.views import spread, views_table
from model.jobs import EvaluateJob, TrainJob
from model.settings import ConfigError
from model.text import aligned
from model.train.errors import RecipeError
from storage.fingerprint import FINGERPRINT_DIGITS, sha256_json
from storage.layout import Layout
from storage.models import evaluation_complete, read_evaluation

RECIPE = "avvp"
KIND = "parsing_tables"
VERSION = 1
"""Raised when the content of published tables changes for the same evaluations."""
HEADINGS = ("row", "A", "V", "AV", "Type@AV", "Event@AV")


@dataclass(frozen=True, slots=True, kw_only=True)
class Ground:
    """What all rows are trained and tested on."""

    layout: Layout
    dataset: str
    snapshot: str
    stages: Mapping[str, str]
    """Stage -> `<stage>-<fingerprint>`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TableSpec:
    """What the tables shall hold; raises ConfigError for what cannot be trained."""

    rows: tuple[str, ...]
    seeds: tuple[int, ...]
    preset: str
    settings: str = "{}"
    """Settings of every row, over those of the preset, as a JSON object."""
    pretraining: str = "{}"
    """The same of the models that rows start from; `preset` names theirs, `models` published ones
    by objective."""

    def __post_init__(self) -> None:
        for name in ("rows", "seeds"):
            values = getattr(self, name)
            if not values:
                raise ConfigError(f"no {name}; name at least one")
            if len(set(values)) != len(values):
                raise ConfigError(f"{name} {list(values)}: one is named twice")
        _, settings = split_settings(self.pretraining_changes)
        for row in self.rows:
            config = row_config(row, self.preset, self.changes)
            if config.network == "pretrained":
                row_grounding(config, self.preset, settings)

    @property
    def changes(self) -> dict[str, Any]:
        """`settings` as a dictionary."""
        return dict(json.loads(self.settings))

    @property
    def pretraining_changes(self) -> dict[str, Any]:
        """`pretraining` as a dictionary."""
        return dict(json.loads(self.pretraining))


def row_jobs(
    ground: Ground, spec: TableSpec, row: str, seed: int, *, device: str = "auto"
) -> tuple[TrainJob, ...]:
    """Return the trainings behind one row with one seed, in their order; the row's own is the last.

    Each reads what those before it have published, such as a pre-trained encoder. Raises
    ConfigError as `row_config` does.
    """
    config = row_config(row, spec.preset, spec.changes)
    before: tuple[TrainJob, ...] = ()
    if config.network == "pretrained" and not config.initial:
        before, config = _pretraining(ground, spec, config, seed, device)
    own = TrainJob.on(
        ground.layout,
        dataset=ground.dataset,
        snapshot=ground.snapshot,
        stages=ground.stages,
        recipe=RECIPE,
        recipe_version=RECIPE_VERSION,
        configuration=config.as_json(),
        seed=seed,
        device=device,
    )
    return (*before, own)


def _pretraining(
    ground: Ground, spec: TableSpec, row: Config, seed: int, device: str
) -> tuple[tuple[TrainJob, ...], Config]:
    """Return the training of what a row starts from, none where that is published; and the row."""
    models, settings = split_settings(spec.pretraining_changes)
    if name := models.get(row.grounding):
        return (), started_from(row, name, published_grounding(ground.layout, name))
    config = row_grounding(row, spec.preset, settings)
    job = grounding_job(
        ground.layout,
        config,
        dataset=ground.dataset,
        snapshot=ground.snapshot,
        stages=ground.stages,
        seed=seed,
        device=device,
    )
    return (job,), started_from(row, job.name, config)


def row_evaluation(layout: Layout, job: TrainJob) -> EvaluateJob:
    """Return the evaluation of a row's model on the test items of its snapshot."""
    return EvaluateJob.beside(
        layout,
        job.record,
        what="parsing",
        version=EVALUATION_VERSION,
        models=[job.name],
        device=job.device,
    )


def gather(ground: Ground, spec: TableSpec) -> dict[str, Any]:
    """Return the figures of what is published, as JSON values.

    `rows`: row -> level -> figure -> one value a seed, percent; `reference`: row that needs no
    training -> level -> figure -> value; `views`: row -> for each seed gate -> view -> level ->
    figure -> value; `missing`: row -> seeds that are not published yet, which have no value in
    `rows`.

    Raises
    ------
    RecipeError
        An evaluation has no figures, for want of dense events.
    """
    results: dict[str, Any] = {
        "kind": KIND,
        "dataset": ground.dataset,
        "snapshot": ground.snapshot,
        "preset": spec.preset,
        "changes": spec.changes,
        "pretraining": spec.pretraining_changes,
        "seeds": list(spec.seeds),
        "gates": {},
        "rows": {},
        "reference": {},
        "views": {},
        "models": {},
        "evaluations": {},
        "missing": {},
    }
    for row in spec.rows:
        _add_row(results, ground, spec, row)
    return results


def _add_row(results: dict[str, Any], ground: Ground, spec: TableSpec, row: str) -> None:
    """Add what is published of one row."""
    found, views, models, evaluations, missing = [], [], [], [], []
    for seed in spec.seeds:
        job = row_jobs(ground, spec, row, seed)[-1]
        name = row_evaluation(ground.layout, job).name
        if not evaluation_complete(ground.layout, name):
            missing.append(seed)
            continue
        own, others, gate, by_view = _figures(ground.layout, name)
        found.append(own)
        views.append(by_view)
        models.append(job.name)
        evaluations.append(name)
        results["reference"], results["gates"][row] = others, gate
    if missing:
        results["missing"][row] = missing
    if found:
        results["models"][row], results["evaluations"][row] = models, evaluations
        results["views"][row] = views
        results["rows"][row] = {
            level: {f: [own[level][f] for own in found] for f in FIGURES} for level in LEVELS
        }


def _figures(
    layout: Layout, name: str
) -> tuple[dict[str, Any], dict[str, Any], str, dict[str, Any]]:
    """Return a model's figures, those of the rows without training, the gate, and the views."""
    results = read_evaluation(layout, name)
    if not results["rows"]:
        raise RecipeError(f"{name}: no figures: {results['note']}")
    (own,) = results["models"]
    others = {row: figures for row, figures in results["rows"].items() if row != own}
    return results["rows"][own], others, results["gate"], results["views"][own]


def tables_name(results: Mapping[str, Any]) -> str:
    """Return `parsing_tables-<fingerprint>`: the address of what `gather` returned."""
    digest = sha256_json({"version": VERSION, "results": dict(results)})
    return f"{KIND}-{digest[:FINGERPRINT_DIGITS]}"


def table(results: Mapping[str, Any]) -> str:
    """Return the text of both tables: what `gather` found, then what is printed."""
    parts = [headline(results)]
    for level in LEVELS:
        found = level_rows(results, level)
        ours = [HEADINGS, *found["measured"], *found["reference"]]
        printed = [(f"  {name}", *figures) for name, *figures in found["printed"]]
        lines = aligned([*ours, *printed])
        lines.insert(len(ours), f"printed ({SOURCE}), not measured here:")
        parts.append("\n".join([f"{level} level, percent", *lines]))
    if views := results.get("views"):
        parts.append(views_table(views))
    return "\n\n".join(parts) + "\n"


def level_rows(results: Mapping[str, Any], level: str) -> dict[str, list[tuple[str, ...]]]:
    """Return one table's rows as text, a name and its figures each, by where they come from.

    'measured': trained models, mean ± deviation over the seeds; 'reference': answers that need no
    training; 'printed': the papers' own numbers.
    """
    return {
        "measured": [
            (_titled(results, name), *(spread(found[level][f]) for f in FIGURES))
            for name, found in results["rows"].items()
        ],
        "reference": [
            (name, *(f"{one[level][f]:.1f}" for f in FIGURES))
            for name, one in results["reference"].items()
        ],
        "printed": [
            (name, *(f"{value:.1f}" for value in printed.level(level)))
            for name, printed in PUBLISHED_ROWS.items()
        ],
    }


def headline(results: Mapping[str, Any]) -> str:
    """Return one line that says what the figures are of."""
    seeds = len(results["seeds"])
    said = [results["dataset"]]
    said += [f"snapshot {results['snapshot'][:12]}"] * bool(results["rows"])
    said += [
        f"preset {results['preset']}",
        f"{seeds} seed{'s' * (seeds > 1)}",
    ]
    if results["changes"]:
        said.append(f"settings {json.dumps(results['changes'])}")
    if results["pretraining"]:
        said.append(f"of pre-training {json.dumps(results['pretraining'])}")
    said += [f"gate {gate}" for gate in sorted(set(results["gates"].values()))]
    return ", ".join(said)


def _titled(results: Mapping[str, Any], row: str) -> str:
    """Return a row's name, with what it lacks, and its gate where another row has another."""
    absent = len(results["missing"].get(row, ()))
    asked = len(results["seeds"])
    said = f"{row} ({asked - absent} of {asked} seeds)" if absent else row
    gates = results["gates"]
    return f"{said}, gate {gates[row]}" if len(set(gates.values())) > 1 else said
