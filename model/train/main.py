"""`python -m model.train.main JOB.json`: train one model and publish it.

In: a `TrainJob`. Out: `models/<name>/` in the store, and exit code 0; also when the model was
published before or another process finished it meanwhile. A killed run goes on where it was.
"""

from __future__ import annotations

import argparse
import importlib
import logging
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer

from model.jobs import TrainJob
from model.train.errors import RecipeError, TrainingError
from model.train.fit import FitResult, fit, process_rank
from model.train.lease import Lease, hold
from model.train.parent import die_with_parent
from model.train.parts import TrainParts
from model.train.publish import publish_trained
from model.train.resume import seed_everything
from storage.errors import StoreError
from storage.layout import Layout, open_store
from storage.models import model_complete, read_snapshot
from storage.store import FeatureStore

log = logging.getLogger("model.train.main")


class LeaseGuard(Callback):
    """Ends a training whose run another trainer took over."""

    def __init__(self, lease: Lease) -> None:
        self.lease = lease

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Look again, and raise LeaseLost, once a heartbeat noticed."""
        if self.lease.lost:
            self.lease.check()


def train(job: TrainJob) -> None:
    """Train the job's model, unless it is published, and publish it.

    Waits while another process trains it. Raises TrainingError or StoreError.
    """
    layout = open_store(job.store_root)
    if model_complete(layout, job.name):
        log.info("%s is published already", job.name)
        return
    if process_rank() > 0:
        _fit(job, build_parts(job, layout))
        return
    with hold(job.run_dir, finished=lambda: model_complete(layout, job.name)) as lease:
        if lease is None:
            log.info("%s was published by another process", job.name)
            return
        parts = build_parts(job, layout)
        log.info("training %s: %d items, %d steps", job.name, len(parts.train), parts.max_steps)
        result = _fit(job, parts, LeaseGuard(lease))
        lease.check()
        publish_trained(layout, job, parts, result)
        log.info("published %s after %.0f s of training", job.name, result.wall_s)


def build_parts(job: TrainJob, layout: Layout) -> TrainParts:
    """Return what the job's recipe builds from the snapshot, all generators seeded.

    Raises RecipeError when there is no such recipe, or it has another version than the job.
    """
    try:
        config = importlib.import_module(f"model.{job.recipe}.config")
        recipe = importlib.import_module(f"model.{job.recipe}.recipe")
    except ModuleNotFoundError as error:
        if not (error.name or "").startswith(f"model.{job.recipe}"):
            raise
        raise RecipeError(f"recipe {job.recipe!r}: there is no model.{job.recipe}") from error
    if job.recipe_version != config.RECIPE_VERSION:
        raise RecipeError(
            f"{job.name}: the job is for version {job.recipe_version} of {job.recipe}, this "
            f"software has {config.RECIPE_VERSION}; start the pipeline again"
        )
    items = read_snapshot(layout, job.dataset, job.snapshot)
    seed_everything(job.seed)
    return recipe.build(job, FeatureStore(job.store_root), items)


def _fit(job: TrainJob, parts: TrainParts, *callbacks: Callback) -> FitResult:
    return fit(
        parts,
        job.run_dir,
        seed=job.seed,
        loader_workers=job.loader_workers,
        device=job.device,
        checkpoint_every_s=job.checkpoint_every_s,
        callbacks=callbacks,
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a job file; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m model.train.main", description=__doc__)
    parser.add_argument("job", type=Path, help="a TrainJob as JSON")
    options = parser.parse_args(arguments)
    die_with_parent(os.getppid())
    # moments of weights that hardly move become subnormal numbers, 20 times slower on a CPU
    torch.set_flush_denormal(True)
    speak()
    try:
        train(TrainJob.from_json(options.job))
    except (TrainingError, StoreError) as error:
        log.error("training failed: %s", error)
        return 1
    return 0


def speak() -> None:
    """Have what this package reports printed on stderr, one line each."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("%(asctime)s %(message)s", "%H:%M:%S"))
    logger = logging.getLogger("model")
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    logger.propagate = False


if __name__ == "__main__":
    sys.exit(main())
