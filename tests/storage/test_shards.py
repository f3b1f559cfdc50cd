import hashlib
import logging

import h5py
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as nps

from storage import (
    ArraySpec,
    ItemWriter,
    Outcome,
    ShardFile,
    StageRecord,
    StageSchema,
    TimeBase,
    open_store,
    stage_failure,
    write_shard,
)
from storage.errors import StoreDamaged, StoreError
from storage.schema import MAX_CHUNK_BYTES, chunk_rows

RECORD = StageRecord(stage="any", stage_version=1)
DTYPES = ["float16", "float32", "float64", "int16", "int64", "uint8", "bool", "complex64"]


def digest(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


def split(draw, count):
    """Cut `count` rows into blocks at random places."""
    cuts = sorted(draw(st.lists(st.integers(0, count), max_size=4)))
    return list(zip([0, *cuts], [*cuts, count], strict=True))


@st.composite
def shards(draw):
    dtypes = draw(st.lists(st.sampled_from([*DTYPES, "bytes"]), min_size=1, max_size=3))
    specs = tuple(
        ArraySpec(
            name=f"a{i}",
            dtype=dtype,
            row_shape=() if dtype == "bytes" else draw(st.sampled_from([(), (3,), (2, 5)])),
            chunk_rows=draw(st.sampled_from([1, 3, 1000])),
        )
        for i, dtype in enumerate(dtypes)
    )
    items = []
    for _ in range(draw(st.integers(0, 4))):
        if draw(st.integers(0, 4)) == 0:
            items.append("corrupt")
            continue
        count = draw(st.integers(0, 9))
        items.append({spec.name: draw(rows(spec, count)) for spec in specs} | {"count": count})
    return StageSchema(arrays=specs), items


def rows(spec, count):
    if spec.is_bytes:
        return st.lists(st.binary(max_size=20), min_size=count, max_size=count)
    finite = {"allow_nan": False, "allow_infinity": False} if spec.dtype == "float16" else None
    return nps.arrays(spec.dtype, (count, *spec.row_shape), elements=finite)


def stage_all(layout, schema, items, draw):
    ids = [f"demo/v{i}/whole" for i in range(len(items))]
    for item_id, item in zip(ids, items, strict=True):
        path = layout.staged_item(RECORD.name, "demo", 0, item_id)
        if item == "corrupt":
            stage_failure(path, Outcome(item_id=item_id, reason="corrupt", detail="d\0é"), "m")
            continue
        with ItemWriter(path, schema, TimeBase(0.5, 0.25), "m", item_id=item_id) as writer:
            for start, stop in split(draw, item["count"]):
                writer.append({s.name: item[s.name][start:stop] for s in schema.arrays})
    return ids


@settings(deadline=None, max_examples=30)
@given(shard=shards(), data=st.data())
def test_shards_hold_what_was_appended_however_it_was_cut(tmp_path_factory, shard, data):
    schema, items = shard
    paths = []
    for _ in range(2):  # the cuts differ, the bytes do not
        layout = open_store(tmp_path_factory.mktemp("s"), create=True)
        ids = stage_all(layout, schema, items, data.draw)
        paths.append(
            write_shard(layout, RECORD, "demo", 0, ids, provenance={"t": "1"}, schema=schema)
        )
    assert digest(paths[0]) == digest(paths[1])
    with ShardFile(paths[0]) as file:
        assert file.item_ids == tuple(ids)
        assert (file.record, file.schema, file.provenance) == (RECORD, schema, {"t": "1"})
        for item_id, item in zip(ids, items, strict=True):
            entry = file.entry(item_id)
            if item == "corrupt":
                assert file.outcomes[item_id].reason == "corrupt"
                assert file.outcomes[item_id].detail == "d\ufffdé"
                assert entry.length == 0
                continue
            assert file.outcomes[item_id].ok
            assert entry.time_base == TimeBase(0.5, 0.25)
            for spec in schema.arrays:
                check_rows(file, spec, entry, item[spec.name])


def check_rows(file, spec, entry, wanted):
    for a, b in [(0, entry.length), (1, 3), (entry.length, entry.length)]:
        a, b = min(a, entry.length), min(b, entry.length)
        found = file.rows(spec.name, entry.start + a, entry.start + b)
        if spec.is_bytes:
            assert found == wanted[a:b]
        else:
            assert found.dtype == wanted.dtype
            assert found.shape == wanted[a:b].shape
            assert found.tobytes() == wanted[a:b].tobytes()


def test_every_dataset_is_checksummed_and_chunked_within_bounds(builder, ids):
    path = builder.make(ids(3))
    datasets = {}
    with h5py.File(path, "r", locking=False) as file:
        for group in ("data", "index", "outcomes"):
            datasets |= {f"{group}/{name}": dataset for name, dataset in file[group].items()}
        assert {"data/value", "data/jpeg", "data/jpeg__end", "index/item_id"} <= set(datasets)
        assert {"outcomes/item_id", "outcomes/reason", "outcomes/detail"} <= set(datasets)
        for dataset in datasets.values():
            assert dataset.fletcher32
            assert dataset.chunks is not None
            assert dataset.size == 0 or dataset.chunks[0] <= dataset.shape[0]
        assert file.attrs["fingerprint"].decode() == builder.record.fingerprint


@given(
    st.sampled_from([(), (128,), (2, 256, 68), (512, 2), (10**6,)]),
    st.integers(1, 10**6),
    st.sampled_from(["float16", "float32", "bytes"]),
)
def test_chunks_are_bounded_and_hold_whole_reading_units(shape, unit, dtype):
    shape = () if dtype == "bytes" else shape
    spec = ArraySpec(name="a", dtype=dtype, row_shape=shape, chunk_rows=unit)
    size = 1 if dtype == "bytes" else int(np.prod(shape, dtype=int)) * np.dtype(dtype).itemsize
    found = chunk_rows(spec)
    assert found == 1 or found * size <= MAX_CHUNK_BYTES
    if dtype != "bytes" and unit * size <= MAX_CHUNK_BYTES:
        assert found % unit == 0


def test_a_shard_without_a_good_item_is_published_empty(builder, ids):
    for item_id in ids(2):
        builder.stage(item_id, failure="no_audio")
    with ShardFile(builder.publish(ids(2))) as shard:
        assert {o.reason for o in shard.outcomes.values()} == {"no_audio"}
        assert shard.rows("value", 0, 0).shape == (0, 3)
        assert shard.rows("jpeg", 0, 0) == []


def test_publishing_removes_the_staged_items_and_writes_the_record(builder, layout, ids):
    builder.make(ids(2))
    assert not layout.staging(builder.name, "demo", 0).exists()
    assert layout.stage_meta(builder.name).exists()


def test_an_item_that_is_not_staged_is_named(builder, ids):
    builder.stage(ids(2)[0])
    with pytest.raises(StoreError, match=r"video1\.whole"):
        builder.publish(ids(2))


def test_the_lost_race_compares_and_keeps_the_first(builder, ids, caplog):
    caplog.set_level(logging.INFO)
    first = digest(builder.make(ids(2)))
    path = builder.make(ids(2))
    assert digest(path) == first
    assert "equal results" in caplog.text
    caplog.clear()
    builder.provenance = {"tool": "2"}
    builder.stage(ids(2)[0])
    builder.stage(ids(2)[1], shift=50.0)
    assert digest(builder.publish(ids(2))) == first
    assert "demo/video1/whole: array value" in caplog.text
    assert '"tool":"1"' in caplog.text
    assert '"tool":"2"' in caplog.text
    assert "video0/whole:" not in caplog.text


def test_differences_below_the_tolerance_are_not_reported(builder, ids, caplog):
    builder.make(ids(1))
    builder.stage(ids(1)[0], shift=1e-3)
    builder.publish(ids(1))
    assert caplog.text == ""


def test_another_outcome_or_length_is_reported(builder, ids, caplog):
    builder.make(ids(2))
    builder.stage(ids(2)[0], failure="timeout")
    builder.stage(ids(2)[1], count=3)
    builder.publish(ids(2))
    assert "'timeout' and 'ok'" in caplog.text
    assert "3 and 5 rows" in caplog.text


def test_a_writer_whose_staged_items_the_winner_removed_is_content(builder, ids):
    path = builder.make(ids(2))
    assert builder.publish(ids(2)) == path


def test_a_shard_of_other_items_is_damage(builder, ids):
    builder.make(ids(2))
    builder.stage(ids(3)[2])
    with pytest.raises(StoreDamaged, match="plan"):
        builder.publish(ids(3)[2:])


def test_a_supplement_number_taken_for_other_items_is_left(builder, layout, ids):
    builder.make(ids(3))
    builder.stage(ids(3)[0])
    builder.publish(ids(3)[:1], supplement=1)
    builder.stage(ids(3)[1])
    path = builder.publish(ids(3)[1:2], supplement=1)
    assert path == layout.shard(builder.name, "demo", 0, 2)


def test_staged_items_of_another_run_are_left_alone(builder, layout, ids):
    builder.make(ids(3))
    other = builder.stage(ids(3)[1])
    builder.stage(ids(3)[0])
    builder.publish(ids(3)[:1], supplement=1)
    assert other.exists()


def test_staged_rows_under_another_schema_are_refused(builder, ids):
    builder.stage(ids(1)[0])
    builder.schema = StageSchema(arrays=builder.schema.arrays[:1])
    with pytest.raises(StoreError, match="stage_version"):
        builder.publish(ids(1))
