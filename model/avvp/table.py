"""`python -m model.avvp.table STORE`: rows of the papers' tables, trained over several seeds.

In: a store with the features of a parsing dataset, rows, seeds. Out: models and evaluations,
published, all on one snapshot; and both tables (segment and event level), mean ± deviation over the
seeds beside the printed numbers. What is published already is not done again, and a training that
was killed goes on where it was.
"""

from __future__ import annotations

import argparse
import json
import logging
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import torch

from model.avvp.config import (
    EVALUATION_VERSION,
    RECIPE_VERSION,
    ablations,
    networks,
    presets,
    row_config,
    stages_needed,
)
from model.avvp.metrics import FIGURES, LEVELS
from model.avvp.published import PUBLISHED_ROWS, SOURCE
from model.evaluate_main import evaluate
from model.ground import chosen_dataset, stages_of
from model.jobs import EvaluateJob, TrainJob
from model.settings import settings_of_text
from model.text import aligned
from model.train.errors import RecipeError, TrainingError
from model.train.main import speak, train
from storage.errors import StoreError
from storage.layout import Layout, open_store
from storage.models import ModelRecord, read_evaluation, read_snapshot, write_snapshot
from storage.store import FeatureStore
from storage.views import read_dataset_view

HEADINGS = ("row", "A", "V", "AV", "Type@AV", "Event@AV")
RECIPE = "avvp"

log = logging.getLogger("model.avvp.table")


@dataclass(frozen=True, slots=True, kw_only=True)
class Ground:
    """What all rows are trained and tested on."""

    layout: Layout
    dataset: str
    snapshot: str
    stages: Mapping[str, str]
    """Stage -> `<stage>-<fingerprint>`."""


def find_ground(root: Path, dataset: str = "", snapshot: str = "") -> Ground:
    """Return the ground of a table: the named dataset, or the only one; its items as they are now.

    Parameters
    ----------
    root
        Directory of the store.
    dataset : str
    snapshot : str
        Digest of an older list of items; empty for today's, which is written down.

    Raises
    ------
    RecipeError
        Several datasets and none is named, or sources that read different stages.
    StoreError
        There is no such store, dataset, snapshot or stage.
    """
    layout = open_store(root)
    dataset = chosen_dataset(layout, dataset)
    if snapshot:
        items = read_snapshot(layout, dataset, snapshot)
    else:
        items = read_dataset_view(layout, dataset)
        snapshot = write_snapshot(layout, dataset, items)
    stages = stages_of(FeatureStore(root), items, stages_needed)
    return Ground(layout=layout, dataset=dataset, snapshot=snapshot, stages=stages)


def row_job(
    ground: Ground,
    row: str,
    *,
    preset: str,
    seed: int,
    changes: Mapping[str, Any] | None = None,
    device: str = "auto",
) -> TrainJob:
    """Return the training of one row with one seed. Raises ConfigError as `row_config` does."""
    record = ModelRecord(
        recipe=RECIPE,
        recipe_version=RECIPE_VERSION,
        configuration={},
        seed=seed,
        stages=dict(ground.stages),
        snapshot=ground.snapshot,
        dataset=ground.dataset,
    )
    return TrainJob.beside(
        ground.layout,
        record,
        recipe=RECIPE,
        recipe_version=RECIPE_VERSION,
        configuration=row_config(row, preset, changes).as_json(),
        seed=seed,
        device=device,
    )


def run(
    ground: Ground,
    rows: Sequence[str],
    seeds: Sequence[int],
    *,
    preset: str,
    changes: Mapping[str, Any] | None = None,
    device: str = "auto",
) -> dict[str, Any]:
    """Train, evaluate and publish every row with every seed; return the figures as JSON values.

    `rows` of the result: row -> level -> figure -> one value a seed, percent; `reference`: row that
    needs no training -> level -> figure -> value. Raises TrainingError or StoreError.
    """
    results: dict[str, Any] = {
        "dataset": ground.dataset,
        "snapshot": ground.snapshot,
        "preset": preset,
        "changes": dict(changes or {}),
        "seeds": list(seeds),
        "rows": {},
        "reference": {},
        "models": {},
    }
    for row in rows:
        found = []
        for seed in seeds:
            job = row_job(ground, row, preset=preset, seed=seed, changes=changes, device=device)
            log.info("%s, seed %d: %s", row, seed, job.name)
            found.append(_evaluated(ground.layout, job))
        results["models"][row] = [name for name, _, _ in found]
        results["rows"][row] = {
            level: {f: [own[level][f] for _, own, _ in found] for f in FIGURES} for level in LEVELS
        }
        results["reference"] = found[0][2]
    return results


def _evaluated(layout: Layout, job: TrainJob) -> tuple[str, dict[str, Any], dict[str, Any]]:
    """Return a trained model's name, its figures, and those of the rows without training."""
    train(job)
    evaluation = EvaluateJob.beside(
        layout,
        job.record,
        what="parsing",
        version=EVALUATION_VERSION,
        models=[job.name],
        device=job.device,
    )
    evaluate(evaluation)
    results = read_evaluation(layout, evaluation.name)
    if not results["rows"]:
        raise RecipeError(f"{job.name}: no figures: {results['note']}")
    (own,) = results["models"]
    others = {name: row for name, row in results["rows"].items() if name != own}
    return job.name, results["rows"][own], others


def table(results: Mapping[str, Any]) -> str:
    """Return the text of both tables: what `run` measured, then what is printed."""
    seeds = len(results["seeds"])
    parts = [
        f"{results['dataset']}, snapshot {results['snapshot'][:12]}, preset {results['preset']}, "
        f"{seeds} seed{'s' * (seeds > 1)}"
    ]
    for level in LEVELS:
        rows: list[tuple[str, ...]] = [HEADINGS]
        for name, found in results["rows"].items():
            rows.append((name, *(_spread(found[level][f]) for f in FIGURES)))
        for name, one in results["reference"].items():
            rows.append((name, *(f"{one[level][f]:.1f}" for f in FIGURES)))
        rows.append((f"printed ({SOURCE}), not measured here:", *[""] * len(FIGURES)))
        for name, printed in PUBLISHED_ROWS.items():
            rows.append((f"  {name}", *(f"{value:.1f}" for value in printed.level(level))))
        parts.append("\n".join([f"{level} level, percent", *aligned(rows)]))
    return "\n\n".join(parts) + "\n"


def _spread(values: Sequence[float]) -> str:
    if len(values) == 1:
        return f"{values[0]:.1f}"
    return f"{mean(values):.1f} ± {stdev(values):.1f}"


def main(arguments: Sequence[str] | None = None) -> int:
    """Train and print the tables; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m model.avvp.table", description=__doc__)
    parser.add_argument("store", type=Path, help="directory of the feature store")
    parser.add_argument("--dataset", default="", help="where the store has several")
    parser.add_argument("--snapshot", default="", help="digest; default: the items as they are now")
    parser.add_argument("--preset", choices=sorted(presets), default="paper")
    parser.add_argument(
        "--rows", nargs="+", default=list(networks), choices=[*networks, *ablations]
    )
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--set", default="{}", help="settings of every row, as JSON")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--json", action="store_true", help="print one line of JSON, no table")
    options = parser.parse_args(arguments)
    torch.set_flush_denormal(True)  # as the trainer's own process does
    try:
        ground = find_ground(options.store, options.dataset, options.snapshot)
        results = run(
            ground,
            options.rows,
            options.seeds,
            preset=options.preset,
            changes=settings_of_text(options.set),
            device=options.device,
        )
    except (TrainingError, StoreError) as error:
        log.error("the table stops: %s", error)
        return 1
    print(json.dumps(results) if options.json else table(results), end="\n" * options.json)
    return 0


if __name__ == "__main__":
    speak()
    sys.exit(main())
