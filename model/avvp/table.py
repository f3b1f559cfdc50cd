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
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from model.avvp.config import ablations, networks, presets, stages_needed
from model.avvp.modern import modern_rows
from model.avvp.rows import Ground, TableSpec, gather, row_evaluation, row_jobs, table
from model.evaluate_main import evaluate
from model.ground import chosen_dataset, stages_of
from model.settings import settings_of_text
from model.train.errors import TrainingError
from model.train.main import speak, train
from storage.errors import StoreError
from storage.layout import open_store
from storage.models import read_snapshot, write_snapshot
from storage.store import FeatureStore
from storage.views import read_dataset_view

log = logging.getLogger("model.avvp.table")


def find_ground(
    root: Path, dataset: str = "", snapshot: str = "", *, stages: Sequence[str] = stages_needed
) -> Ground:
    """Return the ground of a table: the named dataset, or the only one; its items as they are now.

    Parameters
    ----------
    root
        Directory of the store.
    dataset : str
    snapshot : str
        Digest of an older list of items; empty for today's, which is written down.
    stages
        Names of the stages that are read.

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
    read = stages_of(FeatureStore(root), items, stages)
    return Ground(layout=layout, dataset=dataset, snapshot=snapshot, stages=read)


def run(ground: Ground, spec: TableSpec, *, device: str = "auto") -> dict[str, Any]:
    """Train, evaluate and publish every row with every seed; return `gather`'s figures.

    Raises
    ------
    TrainingError
        A training or an evaluation failed.
    StoreError
        The store cannot be read or written.
    """
    for row in spec.rows:
        for seed in spec.seeds:
            jobs = row_jobs(ground, spec, row, seed, device=device)
            for job in jobs:
                log.info("%s, seed %d: %s", row, seed, job.name)
                train(job)
            evaluate(row_evaluation(ground.layout, jobs[-1]))
    return gather(ground, spec)


def main(arguments: Sequence[str] | None = None) -> int:
    """Train and print the tables; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m model.avvp.table", description=__doc__)
    parser.add_argument("store", type=Path, help="directory of the feature store")
    parser.add_argument("--dataset", default="", help="where the store has several")
    parser.add_argument("--snapshot", default="", help="digest; default: the items as they are now")
    parser.add_argument("--preset", choices=sorted(presets), default="paper")
    parser.add_argument(
        "--rows", nargs="+", default=list(networks), choices=[*networks, *ablations, *modern_rows]
    )
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--set", default="{}", help="settings of every row, as JSON")
    parser.add_argument("--set-pretraining", default="{}", help="the same of what rows start from")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--json", action="store_true", help="print one line of JSON, no table")
    options = parser.parse_args(arguments)
    try:
        spec = TableSpec(
            rows=tuple(options.rows),
            seeds=tuple(options.seeds),
            preset=options.preset,
            settings=json.dumps(settings_of_text(options.set)),
            pretraining=json.dumps(settings_of_text(options.set_pretraining)),
        )
        ground = find_ground(options.store, options.dataset, options.snapshot)
        results = run(ground, spec, device=options.device)
    except (TrainingError, StoreError) as error:
        log.error("the table stops: %s", error)
        return 1
    print(json.dumps(results) if options.json else table(results), end="\n" * options.json)
    return 0


if __name__ == "__main__":
    speak()
    torch.set_flush_denormal(True)  # as the trainer's own process does
    sys.exit(main())
