"""Kill -9 at any instant leaves nothing or complete files; two writers leave one of them."""

import hashlib
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from storage import FeatureStore, StageRecord, extend_plan, open_store, read_plan, verify_store
from storage.verify import ERROR

WORKER = """
import os, sys
import numpy as np
import storage
from storage import models

root, shift = sys.argv[1], float(sys.argv[2])
layout = storage.open_store(root, create=True)
schema = storage.StageSchema(arrays=(
    storage.ArraySpec(name="value", dtype="float32", row_shape=(64,), chunk_rows=50),
    storage.ArraySpec(name="jpeg", dtype="bytes"),
))
record = storage.StageRecord(stage="frames", stage_version=1)
ids = [f"demo/v{i}/whole" for i in range(24)]
def step():
    # Says that something is about to be written and waits for leave; without a killer, goes on.
    if os.environ.get("STEP"):
        print("step", flush=True)
        sys.stdin.readline()
with storage.FetchLog(layout, "demo") as log:
    for item_id in ids:
        log.append(storage.FetchEvent(item_id=item_id, reason="ok", utc="2026-01-01"))
storage.extend_plan(layout, "demo", [(i, 1.0) for i in ids], max_items=4)
for shard in storage.read_plan(layout, "demo"):
    if layout.shard(record.name, "demo", shard.number).exists():
        continue
    for item_id in shard.item_ids:
        path = layout.staged_item(record.name, "demo", shard.number, item_id)
        if storage.is_staged(path, "m"):
            continue
        step()
        seed = sum(item_id.encode())
        rng = np.random.default_rng(seed)
        with storage.ItemWriter(path, schema, storage.TimeBase(0, 0.1), "m") as writer:
            for _ in range(4):
                rows = rng.normal(size=(50, 64)).astype(np.float32) + np.float32(shift)
                writer.append({"value": rows, "jpeg": [rng.bytes(500) for _ in range(50)]})
    step()
    storage.write_shard(layout, record, "demo", shard.number, shard.item_ids,
                        provenance={"shift": str(shift)}, schema=schema)
step()
models.write_snapshot(layout, "d", [storage.DatasetItem(item_id=i) for i in ids])
models.pin(layout, "d", "frames:0", "model")
prepared = layout.run(f"r{os.getpid()}")
prepared.mkdir(parents=True, exist_ok=True)
(prepared / "weights.safetensors").write_bytes(b"w" * 100_000)
step()
models.publish_model(
    layout, storage.ModelRecord(recipe="han", recipe_version=1), prepared,
    {"weights_sha256": storage.sha256_file(prepared / "weights.safetensors")})
print("done", flush=True)
"""
RECORD = StageRecord(stage="frames", stage_version=1)


def start(root, shift=0.0, *, stepwise=False):
    return subprocess.Popen(
        [sys.executable, "-c", WORKER, str(root), str(shift)],
        cwd=Path(__file__).parents[2],
        env={**os.environ, "OMP_NUM_THREADS": "1", "STEP": "1" if stepwise else ""},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def let_step(worker):
    """Give leave for one step; return what the worker said before it."""
    said = worker.stdout.readline()
    if said == "step\n":
        worker.stdin.write("\n")
        worker.stdin.flush()
    return said


def finish(worker):
    out, errors = worker.communicate(timeout=120)
    assert worker.returncode == 0, errors
    assert out.endswith("done\n")
    return errors


def errors_in(layout):
    return [str(problem) for problem in verify_store(layout) if problem.severity == ERROR]


def digests(layout):
    folder = layout.shard_dir(RECORD.name, "demo")
    return {p.name: hashlib.sha256(p.read_bytes()).hexdigest() for p in folder.glob("shard-*")}


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    root = tmp_path_factory.mktemp("undisturbed")
    finish(start(root))
    return digests(open_store(root))


def test_a_writer_killed_again_and_again_leaves_only_complete_files(tmp_path, undisturbed):
    rng = random.Random(0)
    layout = open_store(tmp_path / "s", create=True)
    kills = 0
    while True:
        worker = start(layout.root, stepwise=True)
        lines = [let_step(worker) for _ in range(rng.randint(1, 6))]
        if "done\n" in lines:
            break
        time.sleep(rng.uniform(0.0, 0.01))  # in the middle of the step, or just after it
        worker.kill()
        worker.communicate()
        kills += worker.returncode == -signal.SIGKILL
        assert errors_in(layout) == []
        found = digests(layout)
        assert found == {name: undisturbed[name] for name in found}
        for path in layout.shard_dir(RECORD.name, "demo").glob("shard-*"):
            assert path.stat().st_mode & 0o777 == 0o444
    worker.communicate()
    assert worker.returncode == 0
    assert kills >= 5  # 24 items, 6 shards, a snapshot and a model, at most 6 at a time
    assert errors_in(layout) == []
    assert digests(layout) == undisturbed


def test_writers_racing_on_the_same_shards_leave_one_of_them(tmp_path, undisturbed):
    layout = open_store(tmp_path / "s", create=True)
    workers = [start(layout.root) for _ in range(3)]
    store = FeatureStore(layout.root)
    while any(worker.poll() is None for worker in workers):  # a reader in between
        if layout.stage_dir(RECORD.name).is_dir():
            for item_id in store.items(RECORD.name):
                assert len(store.rows(RECORD.name, item_id)) == 200
        time.sleep(0.02)
    logs = [finish(worker) for worker in workers]
    assert "different results" not in "".join(logs)
    assert digests(layout) == undisturbed
    assert errors_in(layout) == []
    held = [item_id for shard in read_plan(layout, "demo") for item_id in shard.item_ids]
    assert len(held) == len(set(held)) == 24


def test_writers_with_different_results_keep_whole_shards_of_either(tmp_path):
    layout = open_store(tmp_path / "s", create=True)
    extend_plan(layout, "demo", [(f"demo/v{i}/whole", 1.0) for i in range(24)], max_items=4)
    for worker in [start(layout.root, shift) for shift in (0.0, 100.0)]:
        finish(worker)
    assert errors_in(layout) == []
    store = FeatureStore(layout.root)
    for shard in read_plan(layout, "demo"):
        for item_id in shard.item_ids:
            means = store.rows(RECORD.name, item_id).mean(axis=1)
            assert np.all(np.abs(means) < 50) or np.all(np.abs(means - 100) < 50)
