"""A trainer that is killed, with its loader workers, goes on as if nothing had happened."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from model.avvp.config import RECIPE_VERSION, Config
from model.jobs import TrainJob
from model.train.history import HISTORY, read_history
from storage.fingerprint import StageRecord, sha256_file
from storage.layout import open_store
from storage.models import model_complete, read_model, write_snapshot
from storage.records import ArraySpec, DatasetItem, Event, StageSchema, TimeBase
from storage.shard_writer import write_shard
from storage.staging import ItemWriter

SIZES = {"vggish": 128, "resnet152": 2048, "r2plus1d": 512}
PARENT = "import subprocess, sys; subprocess.run(sys.argv[1:])"
CONFIG = Config(width=16, batch_size=4, epochs=60, val_every_epochs=15, standardise=True)
"""22 items in batches of 4: 60 epochs are 360 steps, validated every 90."""


def make_job(root: Path) -> TrainJob:
    """A store of random features, the same wherever it is made, and a job to train on it."""
    layout = open_store(root, create=True)
    splits = ["train"] * 22 + ["val"] * 4
    items = [
        DatasetItem(
            item_id=f"made/v{number:02d}/0-4000",
            labels=("Dog",) if number % 2 else ("Cat", "Speech"),
            split=split,
            events=(Event(modality="audio", label="Dog", onset_s=0, offset_s=2),)
            if split == "val"
            else None,
        )
        for number, split in enumerate(splits)
    ]
    stages = {}
    for stage, size in SIZES.items():
        record = StageRecord(stage=stage, stage_version=1)
        schema = StageSchema(
            arrays=(ArraySpec(name="feature", dtype="float32", row_shape=(size,)),)
        )
        for number, item in enumerate(items):
            rows = np.random.default_rng([number, size]).normal(size=(4, size))
            path = layout.staged_item(record.name, "made", 0, item.item_id)
            path.parent.mkdir(parents=True, exist_ok=True)
            with ItemWriter(path, schema, TimeBase(0.0, 1.0), "0" * 64) as writer:
                writer.append({"feature": rows.astype(np.float32)})
        ids = [item.item_id for item in items]
        write_shard(layout, record, "made", 0, ids, provenance={}, schema=schema)
        stages[stage] = record.name
    job = TrainJob(
        recipe="avvp",
        recipe_version=RECIPE_VERSION,
        configuration=CONFIG.as_json(),
        seed=5,
        stages=stages,
        snapshot=write_snapshot(layout, "made", items),
        dataset="made",
        store_root=layout.root,
        run_dir=layout.root,
        device="cpu",
        loader_workers=2,
        checkpoint_every_s=0.05,
    )
    return replace(job, run_dir=layout.run(job.name))


def command(job: TrainJob) -> list[str]:
    path = job.to_json(job.run_dir / "job.json")
    return [sys.executable, "-m", "model.train.main", str(path)]


def start(argv: list[str]) -> subprocess.Popen:
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        argv, stderr=subprocess.PIPE, text=True, env=environment, start_new_session=True
    )


def processes(job: TrainJob) -> list[int]:
    """Every live process of the job: the trainer and the workers it forked."""
    found = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            arguments = (entry / "cmdline").read_bytes().split(b"\0")
        except OSError:
            continue
        if b"model.train.main" in arguments and str(job.run_dir / "job.json").encode() in arguments:
            found.append(int(entry.name))
    return found


def wait_until(condition: Callable[[], bool], what: str, timeout_s: float = 120) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, f"waited {timeout_s} s until {what}"
        time.sleep(0.002)


def steps_done(job: TrainJob) -> int:
    rows = read_history(job.run_dir / HISTORY)
    return rows[-1]["step"] if rows else 0


def checkpoint_steps(job: TrainJob) -> list[int]:
    return [int(p.stem[5:]) for p in (job.run_dir / "checkpoints").glob("step-*.ckpt")]


@pytest.mark.slow
def test_a_killed_training_ends_with_the_same_weights(tmp_path: Path) -> None:
    job, undisturbed = make_job(tmp_path / "killed"), make_job(tmp_path / "undisturbed")
    assert job.name == undisturbed.name
    whole = start(command(undisturbed))

    parent = start([sys.executable, "-c", PARENT, *command(job)])
    wait_until(lambda: steps_done(job) >= 40, "the first start has done 40 steps")
    assert len(processes(job)) >= 4, "the parent, the trainer and two workers"
    os.kill(parent.pid, signal.SIGKILL)
    wait_until(lambda: not processes(job), "trainer and workers ended with their parent", 10)
    parent.communicate()
    assert checkpoint_steps(job), "a checkpoint before the first validation"
    assert checkpoint_steps(job)[0] < 90

    trainer = start(command(job))
    wait_until(lambda: steps_done(job) >= 150, "the second start has done 150 steps")
    os.kill(trainer.pid, signal.SIGKILL)
    wait_until(lambda: set(processes(job)) <= {trainer.pid}, "the workers ended", 10)
    trainer.communicate()
    layout = open_store(job.store_root)
    assert not model_complete(layout, job.name)

    last, other = start(command(job)), start(command(job))
    for process in (last, other, whole):
        _, said = process.communicate(timeout=120)
        assert process.returncode == 0, said
    models = [open_store(j.store_root).model(job.name) for j in (job, undisturbed)]
    weights = [(model / "weights.safetensors").read_bytes() for model in models]
    assert weights[0] == weights[1]
    described = read_model(layout, job.name)
    assert described["weights_sha256"] == sha256_file(models[0] / "weights.safetensors")
    histories = [read_history(model / HISTORY) for model in models]
    for row in (row for history in histories for row in history):
        row.pop("wall_s")
    assert histories[0] == histories[1]
    assert list(job.run_dir.glob("checkpoints/*")) == []


@pytest.mark.slow
def test_a_polite_stop_keeps_the_step(tmp_path: Path) -> None:
    job = replace(make_job(tmp_path / "store"), checkpoint_every_s=600.0, loader_workers=0)
    trainer = start(command(job))
    wait_until(lambda: steps_done(job) >= 20, "20 steps are done")
    trainer.terminate()
    trainer.communicate(timeout=60)
    assert trainer.returncode == 143
    assert checkpoint_steps(job)[0] >= 20


def test_a_job_that_cannot_run_says_so_in_one_line(tmp_path: Path) -> None:
    job = replace(make_job(tmp_path / "store"), snapshot="0" * 12)
    done = subprocess.run(command(job), capture_output=True, text=True, check=False)
    assert done.returncode == 1
    lines = done.stderr.strip().splitlines()
    assert len(lines) == 1
    assert "snapshot 000000000000" in lines[0]
    assert json.loads((job.run_dir / "job.json").read_text())["snapshot"] == "0" * 12
