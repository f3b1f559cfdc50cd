import hashlib
import json
import os
import socket
import subprocess
import sys
import uuid

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from storage import (
    DatasetItem,
    FetchEvent,
    FetchLog,
    ModelRecord,
    ShardFile,
    StageRecord,
    extend_plan,
    models,
    verify_store,
)
from storage.catalog import ShardRef
from storage.verify import NOTE, verify_shard
from storage.views import write_dataset_view


@pytest.fixture
def shard(builder, layout, ids):
    extend_plan(layout, "demo", [(item_id, 1.0) for item_id in ids(3)])
    for item_id in ids(3)[:2]:
        builder.stage(item_id, count=40)
    builder.stage(ids(3)[2], failure="no_audio")
    return builder.publish(ids(3))


def change(path, at):
    data = bytearray(path.read_bytes())
    data[at] ^= 1
    path.chmod(0o644)
    path.write_bytes(data)


def messages(layout):
    return [str(problem) for problem in verify_store(layout)]


def test_a_good_store_has_no_problems(layout, shard, builder, ids):
    builder.stage(ids(3)[0])
    builder.publish(ids(3)[:1], supplement=1)
    assert verify_store(layout) == []


def test_one_flipped_byte_names_file_and_dataset(layout, shard, ids):
    with ShardFile(shard) as file:
        row = file.rows("value", 41, 42)
    change(shard, shard.read_bytes().index(row.tobytes()))
    (problem,) = verify_store(layout)
    assert (problem.path, problem.where) == (shard, "data/value")


@settings(
    deadline=None,
    max_examples=150,
    suppress_health_check=[HealthCheck.function_scoped_fixture],  # it is never changed
)
@given(data=st.data())
def test_any_flipped_byte_is_found_or_harmless(tmp_path_factory, data, flip_base):
    whole, contents, name_fp, planned = flip_base
    at = data.draw(st.integers(0, len(whole) - 1))
    path = tmp_path_factory.mktemp("flip") / "shard-00000.h5"
    path.write_bytes(
        whole[:at] + bytes([whole[at] ^ data.draw(st.integers(1, 255))]) + whole[at + 1 :]
    )
    if not verify_shard(ShardRef(0, 0, path), name_fp, {0: planned}):
        assert everything(path) == contents


def everything(path):
    with ShardFile(path) as shard:
        rows = [
            shard.rows(spec.name, 0, sum(e.length for e in shard.index.entries.values()))
            for spec in shard.schema.arrays
        ]
        index = shard.index
        return (
            [r.tobytes() if isinstance(r, np.ndarray) else r for r in rows],
            (dict(index.entries), index.record, index.schema, dict(index.provenance)),
        )


@pytest.fixture
def flip_base(shard, builder, ids):
    return shard.read_bytes(), everything(shard), builder.name, tuple(ids(3))


def test_a_truncated_file_is_named(layout, shard):
    whole = shard.read_bytes()
    shard.chmod(0o644)
    for size in (0, 100, len(whole) // 2, len(whole) - 1):
        shard.write_bytes(whole[:size])
        (problem,) = verify_store(layout)
        assert problem.path == shard


def test_a_shard_in_another_stages_folder(layout, shard, builder, ids):
    other = StageRecord(stage="frames", stage_version=2)
    wrong = layout.shard(other.name, "demo", 0)
    wrong.parent.mkdir(parents=True)
    wrong.write_bytes(shard.read_bytes())
    layout.stage_meta(other.name).write_text(json.dumps(builder.record.as_json()))
    found = messages(layout)
    assert len(found) == 2
    assert "describes" in found[0]
    assert builder.name in found[1]


def test_items_that_are_not_the_plans(layout, shard, builder, ids):
    builder.make(ids(5)[3:], number=1)
    assert any("plan" in m and "shard-00001" in m for m in messages(layout))
    path = layout.plan_shard("demo", 0)
    path.chmod(0o644)
    plan = json.loads(path.read_text())
    path.write_text(json.dumps(plan | {"item_ids": plan["item_ids"][::-1]}))
    assert any("shard-00000" in m and "index/item_id" in m for m in messages(layout))


def test_an_item_in_two_shards_of_the_plan(layout, shard, ids):
    path = layout.plan_shard("demo", 1)
    path.write_text(json.dumps({"item_ids": [ids(3)[1]]}))
    assert [m for m in messages(layout) if "also planned in shard 0" in m]


def test_damaged_json_is_named(layout, shard, builder, ids):
    digest = models.write_snapshot(layout, "d", [DatasetItem(item_id=ids(1)[0])])
    write_dataset_view(layout, "d", [DatasetItem(item_id=ids(1)[0])])
    with FetchLog(layout, "demo") as log:
        log.append(FetchEvent(item_id=ids(1)[0], reason="ok", utc="2026-01-01"))
    assert verify_store(layout) == []
    for path in (
        layout.plan_shard("demo", 0),
        layout.stage_meta(builder.name),
        layout.snapshot("d", digest),
        layout.dataset("d") / "items-00001.jsonl",
        next(layout.fetch_log("demo").iterdir()),
    ):
        before = path.read_bytes()
        path.chmod(0o644)
        path.write_bytes(b"{\n")
        assert any(str(path) in m for m in messages(layout)), path
        path.write_bytes(before)


def test_weights_are_checked_against_their_digest(layout, tmp_path):
    record = ModelRecord(recipe="han", recipe_version=1)
    folder = tmp_path / "p"
    folder.mkdir()
    (folder / "weights.safetensors").write_bytes(b"weights")
    digest = hashlib.sha256(b"weights").hexdigest()
    models.publish_model(layout, record, folder, {"weights_sha256": digest})
    assert verify_store(layout) == []
    weights = layout.model(record.name) / "weights.safetensors"
    change(weights, 0)
    (problem,) = verify_store(layout)
    assert problem.path == weights
    assert digest in problem.message
    weights.unlink()
    assert "missing" in verify_store(layout)[0].message


def test_leftovers_are_notes(layout, shard, builder, ids):
    dead = subprocess.check_output([sys.executable, "-c", "import os; print(os.getpid())"])
    left = shard.parent / f".tmp-{socket.gethostname()}-{int(dead)}-{uuid.uuid4().hex}"
    left.write_text("x")
    (shard.parent / f".tmp-{socket.gethostname()}-{os.getpid()}-{uuid.uuid4().hex}").write_text("")
    builder.stage(ids(1)[0])
    problems = verify_store(layout)
    assert {problem.severity for problem in problems} == {NOTE}
    assert [problem.path for problem in problems] == [left, layout.staging(builder.name, "demo", 0)]
