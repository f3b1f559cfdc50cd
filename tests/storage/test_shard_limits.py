"""Writing shards: what is refused, a full disk, and how much memory it takes."""

import resource
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from storage import (
    ArraySpec,
    FeatureStore,
    ItemWriter,
    Outcome,
    ShardFile,
    StageRecord,
    StageSchema,
    TimeBase,
    is_staged,
    read_staged,
    stage_failure,
    write_shard,
)
from storage.errors import CorruptShard, InvalidRecord, ItemNotFound, StoreError

RECORD = StageRecord(stage="any", stage_version=1)
DTYPES = ["float16", "float32", "float64", "int16", "int64", "uint8", "bool", "complex64"]


def test_an_exception_in_the_with_block_leaves_nothing(builder, layout, ids):
    path = layout.staged_item(builder.name, "demo", 0, ids(1)[0])
    writer = ItemWriter(path, builder.schema, TimeBase(0, 1), "m")
    with pytest.raises(ZeroDivisionError), writer:
        writer.append({"value": np.full((2, 3), 1 // len(ids(0)), np.float32), "jpeg": [b"a"] * 2})
    assert list(path.parent.iterdir()) == []
    with pytest.raises(StoreError, match="outside"):
        writer.append({"value": np.zeros((2, 3), np.float32), "jpeg": [b"a", b"b"]})


GOOD = {"value": np.zeros((2, 3), np.float32), "jpeg": [b"a", b"b"]}


@pytest.mark.parametrize(
    "change, message",
    [
        ({"value": np.zeros((2, 3), np.float64)}, "float64"),
        ({"value": np.zeros((2, 4), np.float32)}, r"\(2, 4\)"),
        ({"value": np.zeros((3, 3), np.float32)}, "differ in length"),
        ({"value": [[0, 0, 0]] * 2}, "list"),
        ({"jpeg": [b"a", "b"]}, "str"),
        ({"jpeg": np.zeros(2, np.uint8)}, "bytes"),
        ({"more": GOOD["value"]}, "more"),
    ],
)
def test_blocks_that_break_the_contract_are_refused(builder, tmp_path, change, message):
    with (
        pytest.raises(InvalidRecord, match=message),
        ItemWriter(tmp_path / "x.h5", builder.schema, TimeBase(0, 1), "m") as writer,
    ):
        writer.append({**GOOD, **change})
    assert not (tmp_path / "x.h5").exists()


@pytest.mark.parametrize("value", [1e9, np.nan])
def test_what_float16_cannot_hold_names_item_and_array(tmp_path, value):
    schema = StageSchema(arrays=(ArraySpec(name="pooled", dtype="float16"),))
    with np.errstate(over="ignore"):
        rows = np.array([value], np.float64).astype(np.float16)
    with (
        pytest.raises(OverflowError, match=r"demo/v/whole: array 'pooled'"),
        ItemWriter(
            tmp_path / "x.h5", schema, TimeBase(0, 1), "m", item_id="demo/v/whole"
        ) as writer,
    ):
        writer.append({"pooled": rows})


@pytest.mark.parametrize(
    "spec",
    [
        ArraySpec(name="Bad", dtype="float32"),
        ArraySpec(name="a__end", dtype="float32"),
        ArraySpec(name="a", dtype="object"),
        ArraySpec(name="a", dtype="bytes", row_shape=(2,)),
        ArraySpec(name="a", dtype="float32", row_shape=(0,)),
        ArraySpec(name="a", dtype="float32", chunk_rows=0),
    ],
)
def test_schemas_that_cannot_be_stored_are_refused(tmp_path, spec):
    with pytest.raises(InvalidRecord):
        ItemWriter(tmp_path / "x", StageSchema(arrays=(spec,)), TimeBase(0, 1), "m")


def test_the_caller_may_reuse_its_buffer(tmp_path, layout):
    schema = StageSchema(arrays=(ArraySpec(name="a", dtype="int64"),))
    path = layout.staged_item(RECORD.name, "demo", 0, "demo/v/whole")
    buffer = np.zeros(2, np.int64)
    with ItemWriter(path, schema, TimeBase(0, 1), "m") as writer:
        for i in range(3):
            buffer[:] = i
            writer.append({"a": buffer})
    write_shard(layout, RECORD, "demo", 0, ["demo/v/whole"], provenance={}, schema=schema)
    found = FeatureStore(layout.root).rows("any", "demo/v/whole")
    assert found.tolist() == [0, 0, 1, 1, 2, 2]


def test_what_stands_in_staging(builder, ids):
    good = builder.stage(ids(1)[0])
    assert is_staged(good, "m1")
    assert not is_staged(good, "m2")
    assert read_staged(good).outcome == Outcome(item_id=ids(1)[0])
    assert read_staged(good).length == 5
    builder.stage(ids(1)[0], failure="corrupt")
    assert is_staged(good, "m1")
    builder.stage(ids(1)[0], failure="timeout")
    assert not is_staged(good, "m1")
    good.write_bytes(b"not HDF5")
    assert not is_staged(good, "m1")
    with pytest.raises(CorruptShard, match=r"video0\.whole"):
        read_staged(good)
    good.unlink()
    assert not is_staged(good, "m1")


def test_a_long_detail_is_cut_in_the_middle(tmp_path):
    detail = "first " + "x" * 100_000 + " last"
    stage_failure(tmp_path / "x.h5", Outcome(item_id="i", reason="crash", detail=detail), "m")
    kept = read_staged(tmp_path / "x.h5").outcome.detail
    assert len(kept) < 3000
    assert kept.startswith("first")
    assert kept.endswith("last")


def test_not_a_shard_and_unknown_names(builder, ids, tmp_path):
    path = builder.make(ids(1))
    with ShardFile(path) as shard:
        with pytest.raises(ItemNotFound, match="nobody"):
            shard.entry("demo/nobody/whole")
        with pytest.raises(InvalidRecord, match="value"):
            shard.rows("nothing", 0, 1)
    with pytest.raises(FileNotFoundError):
        ShardFile(tmp_path / "absent.h5")
    (tmp_path / "x.h5").write_bytes(b"x" * 5000)
    with pytest.raises(CorruptShard, match=r"x\.h5"):
        ShardFile(tmp_path / "x.h5")


FULL_DISK = """
import resource, signal, sys
from pathlib import Path
import numpy as np
from storage import ArraySpec, ItemWriter, StageSchema, TimeBase, read_staged
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
schema = StageSchema(arrays=(
    ArraySpec(name="x", dtype="float32", row_shape=(100,), chunk_rows=8),
    ArraySpec(name="j", dtype="bytes"),
))
folder, failed = Path(sys.argv[1]), 0
for limit in range(1024, 1000 * 1024, 24 * 1024):
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
    path = folder / f"{limit}.h5"
    try:
        with ItemWriter(path, schema, TimeBase(0, 1), "m") as writer:
            for i in range(20):
                rows = np.full((50, 100), i, np.float32)
                writer.append({"x": rows, "j": [b"z" * 200] * 50})
        assert read_staged(path).length == 1000
    except OSError:
        failed += 1
    assert not any(p.name.startswith(".") for p in folder.iterdir())
print(failed, len(list(folder.iterdir())), len(list(Path("/proc/self/fd").iterdir())))
"""


def test_a_full_disk_is_an_oserror_at_any_byte_and_leaves_nothing(tmp_path):
    folder = tmp_path / "staging"
    folder.mkdir()
    done = subprocess.run(
        [sys.executable, "-c", FULL_DISK, str(folder)],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    failed, kept, descriptors = map(int, done.stdout.split())
    assert failed > 20
    assert kept >= 2
    assert descriptors < 10


def test_assembling_needs_memory_for_a_block_not_for_an_item(layout):
    schema = StageSchema(
        arrays=(ArraySpec(name="a", dtype="float32", row_shape=(256,), chunk_rows=100),)
    )
    path = layout.staged_item(RECORD.name, "demo", 0, "demo/v/whole")
    block = {"a": np.ones((1024, 256), np.float32)}  # 1 MiB
    with ItemWriter(path, schema, TimeBase(0, 1), "m") as writer:
        writer.append(block)
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        for _ in range(120):
            writer.append(block)
    write_shard(layout, RECORD, "demo", 0, ["demo/v/whole"], provenance={}, schema=schema)
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert grown < 60 * 1024  # KiB, of 121 MiB written
