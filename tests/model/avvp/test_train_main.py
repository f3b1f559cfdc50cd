"""The trainer and the evaluator as programs: what they publish, and what they refuse."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from model.avvp.config import presets
from model.evaluate_main import evaluate
from model.jobs import EvaluateJob, TrainJob
from model.train.errors import RecipeError
from model.train.main import train
from storage.errors import ItemNotFound
from storage.fingerprint import sha256_file
from storage.layout import open_store
from storage.models import list_evaluations, read_evaluation, read_model
from storage.records import DatasetItem, Event

QUICK = replace(presets["tiny"], width=16, dropout=0.0, epochs=4, val_every_epochs=2)
SIZES = {"vggish": 128, "resnet152": 2048, "r2plus1d": 512}


@pytest.fixture
def store(make_store, tmp_path: Path):
    """Ten training, three validation and three test clips of noise; one of them mute."""
    event = Event(modality="audio", label="Dog", onset_s=0, offset_s=2)
    items = [
        DatasetItem(
            item_id=f"made/v{number:02d}/0-3000",
            labels=("Dog",) if number % 2 else ("Cat",),
            split="train" if number < 10 else "val" if number < 13 else "test",
            events=None if number < 10 else (event,),
        )
        for number in range(16)
    ]

    def rows(number: int, item: DatasetItem) -> dict[str, np.ndarray]:
        rng = np.random.default_rng(number)
        seconds = {"vggish": 3, "resnet152": 24, "r2plus1d": 3}
        found = {s: rng.normal(size=(n, SIZES[s])) for s, n in seconds.items()}
        return {s: r for s, r in found.items() if not (number == 3 and s == "vggish")}

    return make_store(tmp_path / "store", items, rows)


def job_for(store, **changes) -> TrainJob:
    job = store.job(store.layout.root, config=QUICK)
    job = replace(job, run_dir=store.layout.run(job.name))
    return replace(job, **changes)


def test_a_published_model_says_what_it_was_made_of(store) -> None:
    job = job_for(store)
    train(job)
    described = read_model(store.layout, job.name)
    assert described["record"] == job.record.as_json()
    assert described["classes"] == ["Dog", "Cat"]
    weights = store.layout.model(job.name) / "weights.safetensors"
    assert described["weights_sha256"] == sha256_file(weights)
    assert len(described["ids_used"]["train"]) == 9
    assert "no_audio" in described["ids_missing"]["made/v03/0-3000"]
    assert described["metrics"]["monitor"] == "val/segment_type_at_av"
    assert described["versions"]["torch"]
    assert described["steps"] == 8
    train(job)
    assert read_model(store.layout, job.name) == described


def test_an_evaluation_is_published_once(store) -> None:
    job = job_for(store)
    train(job)
    evaluation = EvaluateJob(
        what="parsing",
        version=1,
        model=job.name,
        dataset="made",
        snapshot=store.snapshot,
        stages=store.stages,
        store_root=store.layout.root,
        out_dir=store.layout.run("evaluation"),
    )
    evaluate(evaluation)
    results = read_evaluation(store.layout, evaluation.name)
    assert results["models"] == {"HAN": job.name}
    assert len(results["items"]) == 3
    evaluate(evaluation)
    assert list_evaluations(store.layout) == [evaluation.name]
    with pytest.raises(RecipeError, match="evaluation 'seeing'"):
        evaluate(replace(evaluation, what="seeing"))
    with pytest.raises(ItemNotFound, match="avvp-000000000000"):
        evaluate(replace(evaluation, model="avvp-000000000000"))


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"recipe": "gan"}, "there is no model.gan"),
        ({"recipe_version": 99}, "the job is for version 99 of avvp"),
    ],
)
def test_jobs_for_other_software_are_refused(store, changes: dict, message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        train(job_for(store, **changes))


@pytest.mark.slow
def test_two_processes_train_what_one_does(store, make_store, tmp_path: Path) -> None:
    both, one = job_for(store), job_for(store)
    alone = tmp_path / "alone"
    subprocess.run(["cp", "-r", str(store.layout.root), str(alone)], check=True)
    one = replace(one, store_root=alone, run_dir=open_store(alone).run(one.name))
    both = replace(both, device="cpu:2", loader_workers=1)
    done = subprocess.run(
        [sys.executable, "-m", "model.train.main", str(both.to_json(both.run_dir / "job.json"))],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    train(one)
    weights = [
        load_file(open_store(job.store_root).model(job.name) / "weights.safetensors")
        for job in (both, one)
    ]
    # Adam makes whole steps of rounding in gradients that are 0, so not every weight agrees.
    apart = [np.abs(weights[0][name] - values).ravel() for name, values in weights[1].items()]
    assert np.quantile(np.concatenate(apart), 0.9) < 1e-5
    rows = [read_model(open_store(j.store_root), j.name)["metrics"]["last"] for j in (both, one)]
    assert rows[0]["val/loss"] == pytest.approx(rows[1]["val/loss"], abs=1e-4)
