"""The steps of `bench.synthmusic`: a folder and sizes flow in, models and figures flow out.

Everything goes through the project's own commands into one store below the folder, so what is
published there is not made again. Trainings that do not need each other run side by side, one
thread each.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from bench.modern_row import MODEL, find_place, separated
from model.jobs import TrainJob
from model.retrieval.config import Config as RetrievalConfig
from model.retrieval.config import presets as retrieval_presets
from model.retrieval.jobs import job_for, train_jobs
from model.separation.config import System
from model.separation.jobs import baseline_jobs, table_job
from model.separation.output import per_pair
from model.train.fit import Device
from model.tribert.config import InitialConfig, steps_override
from model.tribert.evaluation_config import ORACLES, evaluation_presets
from model.tribert.published import load_published
from storage.layout import Layout, open_store
from storage.models import (
    ModelRecord,
    evaluation_complete,
    list_models,
    model_complete,
    read_evaluation,
    read_model,
)
from tasks.models import merged

RECIPE = "tribert"


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where a benchmark lies and how large it is."""

    folder: Path
    size: str
    preset: str
    steps: int
    device: str
    processes: int

    @property
    def layout(self) -> Layout:
        """The store."""
        return open_store(self.folder / "store", create=True)

    def log(self, name: str) -> Path:
        """Return where a command's output goes."""
        path = self.folder / "logs" / f"{name}.txt"
        path.parent.mkdir(parents=True, exist_ok=True)
        return path


def call(place: Place, name: str, *command: object, alone: bool = True) -> str:
    """Run a Python module with the folder's settings; return its output."""
    environment = os.environ | {"LUIGI_CONFIG_PATH": str(place.folder / "luigi.cfg")}
    if not alone:
        environment["OMP_NUM_THREADS"] = "1"
    with place.log(name).open("a", encoding="utf-8") as log:
        done = subprocess.run(
            [sys.executable, "-m", *map(str, command)],
            cwd=place.folder,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
            check=False,
        )
        log.write(done.stdout)
    if done.returncode:
        raise SystemExit(f"{name}: exit code {done.returncode}; see {place.log(name)}")
    return done.stdout


def configure(place: Place, **tribert: object) -> None:
    """Write the folder's luigi.cfg, with more settings of TriBERT."""
    values = {"preset": place.preset, "max_steps": place.steps, **tribert}
    lines = [
        "[soundstage]",
        f"root = {place.folder / 'store'}",
        f"demo_dir = {place.folder / 'clips'}",
        f"device = {place.device}",
        "[tribert]",
        *(f"{key} = {value}" for key, value in values.items()),
    ]
    place.folder.mkdir(parents=True, exist_ok=True)
    (place.folder / "luigi.cfg").write_text("\n".join(lines) + "\n", encoding="utf-8")


def run_dataset(place: Place, dataset: str, **tribert: object) -> str:
    """Run FullPipeline on a dataset; return the name of its TriBERT."""
    configure(place, **tribert)
    spec = f"{dataset}:{place.size}"
    call(
        place,
        f"pipeline-{dataset}",
        "luigi",
        "--module",
        "tasks",
        "FullPipeline",
        "--dataset",
        spec,
    )
    initial = str(tribert.get("initial", ""))
    for name in list_models(place.layout):
        record = ModelRecord.from_json(read_model(place.layout, name)["record"])
        same = record.recipe == RECIPE and record.dataset == spec.replace(":", "-")
        if same and _settings(record) == (place.steps, initial):
            return name
    raise SystemExit(f"{spec}: no TriBERT of {place.steps} steps in {place.layout.root}")


def _settings(record: ModelRecord) -> tuple[int, str]:
    configuration = record.configuration
    return configuration["optim"]["max_steps"], configuration["initial"]["model"]


def train_all(place: Place, jobs: Sequence[TrainJob]) -> dict[str, float]:
    """Train the jobs' models side by side; return the seconds of those that were not there."""

    def train(job: TrainJob) -> tuple[str, float]:
        began = time.monotonic()
        if not model_complete(place.layout, job.name):
            file = job.to_json(job.run_dir / "job.json")
            call(place, job.name, "model.train.main", file, alone=False)
        return job.name, time.monotonic() - began

    with ThreadPoolExecutor(place.processes) as pool:
        return dict(pool.map(train, jobs))


def separation(
    place: Place, tribert: str, systems: Sequence[System], pairs: int
) -> tuple[dict[str, Any], dict[str, float]]:
    """Return the evaluation of a TriBERT and its baselines, and the seconds of each training."""
    jobs = baseline_jobs(place.layout, tribert, systems, device=place.device)
    took = train_all(place, jobs)
    settings = replace(evaluation_presets["tiny"], pairs=pairs, oracles=ORACLES, nmf=True)
    names = [job.name for job in jobs]
    job = table_job(place.layout, tribert, names, settings, device=place.device)
    seconds = {system: took[job.name] for system, job in zip(systems, jobs, strict=True)}
    return evaluated(place, job), seconds


def evaluated(place: Place, job: Any) -> dict[str, Any]:
    """Return the results of an evaluation, which is made unless it is published."""
    if not evaluation_complete(place.layout, job.name):
        call(place, job.name, "model.evaluate_main", job.to_json(job.out_dir / "job.json"))
    return read_evaluation(place.layout, job.name)


def retrieval(place: Place, tribert: str) -> dict[str, Any]:
    """Return the evaluation of a TriBERT's retrieval."""
    config: RetrievalConfig = retrieval_presets["tiny" if place.preset == "tiny" else "paper"]
    jobs = train_jobs(place.layout, tribert, config, device=place.device)
    train_all(place, jobs)
    return evaluated(place, job_for(place.layout, [job.name for job in jobs], device=place.device))


def fine_tuning(
    place: Place, source: str, budgets: Sequence[int], pairs: int
) -> dict[str, dict[int, float]]:
    """Return validation SDR after each budget of steps, from the source's weights and from none.

    Each budget is a training of its own, whose learning rates end at zero.
    """
    shrunk = replace(place, steps=budgets[0])
    first = run_dataset(shrunk, "synthmusic11", initial=source)
    record = ModelRecord.from_json(read_model(place.layout, first)["record"])
    ways = {"fine-tuned": InitialConfig(model=source), "from scratch": InitialConfig()}
    jobs = {
        (way, steps): tuned_job(place, record, steps, initial)
        for way, initial in ways.items()
        for steps in budgets
    }
    train_all(place, list(jobs.values()))
    found: dict[str, dict[int, float]] = {way: {} for way in ways}
    for (way, steps), job in jobs.items():
        found[way][steps] = validation_sdr(shrunk, job.name, pairs)
    return found


def tuned_job(place: Place, record: ModelRecord, steps: int, initial: InitialConfig) -> TrainJob:
    """Return the job of one budget, on the snapshot and the stages of the first one."""
    changed: Mapping[str, Any] = {
        **steps_override(steps),
        "initial": {"model": initial.model, "maps": initial.maps, "overlap": initial.overlap},
    }
    return TrainJob.beside(
        place.layout,
        record,
        recipe=RECIPE,
        recipe_version=record.recipe_version,
        configuration=merged(record.configuration, changed),
        seed=record.seed,
        device=place.device,
    )


def validation_sdr(place: Place, model: str, pairs: int) -> float:
    """Return a model's SDR on mixes of the validation clips."""
    found = load_published(place.layout, model)
    dataset = find_place(place.layout.root, f"synthmusic11-{place.size}")
    device = torch.device(Device.parse(place.device).kind)
    found.network.to(device)
    settings = replace(evaluation_presets["tiny"], pairs=pairs)
    judged = separated(replace(dataset, stages=found.stages), found, settings, device)
    return statistics.fmean(per_pair(judged, MODEL, "sdr"))
