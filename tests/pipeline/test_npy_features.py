"""Published features into the store and back, byte for byte; what cannot be used is said."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipeline.datasets.base import DatasetError, SourceItem
from pipeline.datasets.youtube import source_item
from pipeline.extractors.r2plus1d import SCHEMA
from pipeline.npy_export import export_features
from pipeline.npy_features import FOLDERS, import_features, imported_stage, npy_bytes
from pipeline.stages import default_configs, resolve
from storage.layout import Layout, open_store
from storage.plan import extend_plan, read_plan
from storage.records import TimeBase
from storage.shard_writer import write_shard
from storage.staging import ItemWriter
from storage.store import FeatureStore
from storage.verify import verify_store

NAMES = ("AP0061o0Nvk_101.8_111.8", "BjCEufrlXm4_20_30", "-9WBkdJq104_30_40", "zzzzzzzzzzz_0_10")


def entry(name: str) -> SourceItem:
    video_id, start, end = name.rsplit("_", 2)
    window_ms = (round(float(start) * 1000), round(float(end) * 1000))
    return source_item(video_id, window_ms=window_ms, clip_name=name)


ENTRIES = [entry(name) for name in NAMES]
IDS = [e.item.item_id for e in ENTRIES]


def rows_of(stage: str, seed: int, rows: int | None = None) -> np.ndarray:
    folder = FOLDERS[stage]
    rng = np.random.default_rng(seed)
    values = rng.normal(size=(rows or folder.rows, folder.width)).astype(np.float32)
    return np.maximum(values, 0)


@pytest.fixture
def published(tmp_path: Path) -> Path:
    """The three folders with the features of all clips but the last."""
    root = tmp_path / "published"
    for stage, folder in FOLDERS.items():
        (root / folder.folder).mkdir(parents=True)
        for seed, name in enumerate(NAMES[:3]):
            np.save(root / folder.folder / f"{name}.npy", rows_of(stage, seed))
    return root


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    return open_store(tmp_path / "store", create=True)


def test_rows_times_and_the_layout_that_comes_back(
    published: Path, layout: Layout, tmp_path: Path
) -> None:
    sets = {found.stage: found for found in import_features(layout, ENTRIES, published)}
    assert sets.keys() == FOLDERS.keys()
    store = FeatureStore(layout.root)
    for stage, found in sets.items():
        assert (found.counts, found.absent, found.unlisted) == ({"ok": 3}, 0, 0)
        assert found.other_header == 0
        assert store.items(found.name) == IDS[:3]
        for seed, item_id in enumerate(IDS[:3]):
            feature = store.read(found.name, item_id)
            np.testing.assert_array_equal(feature.values, rows_of(stage, seed))
            assert feature.values.dtype == np.float32
            assert feature.times_s[0] == 0
            assert feature.times_s[-1] == 10 - FOLDERS[stage].hop_s
    assert verify_store(layout) == []
    stages = {stage: found.name for stage, found in sets.items()}
    counts = export_features(store, stages, ENTRIES, tmp_path / "back")
    assert counts == {f.folder: {"written": 3, "no_rows": 1} for f in FOLDERS.values()}
    files = sorted(p.relative_to(published) for p in published.rglob("*.npy"))
    assert files == sorted(p.relative_to(tmp_path / "back") for p in tmp_path.rglob("back/*/*"))
    for file in files:
        assert (tmp_path / "back" / file).read_bytes() == (published / file).read_bytes()


def test_the_fingerprint_is_that_of_the_files(published: Path, layout: Layout) -> None:
    first = {s.stage: s for s in import_features(layout, ENTRIES, published)}
    again = {s.stage: s for s in import_features(layout, list(reversed(ENTRIES)), published)}
    assert {s: f.name for s, f in again.items()} == {s: f.name for s, f in first.items()}
    computed = resolve(default_configs())
    assert all(first[stage].name != computed[stage].record.name for stage in FOLDERS)
    stage = imported_stage("vggish", first["vggish"].setting.partition(":")[2])
    assert (stage.record.name, stage.imported) == (first["vggish"].name, True)
    assert not stage.upstream
    np.save(published / "vggish" / f"{NAMES[0]}.npy", rows_of("vggish", 9))
    changed = {s.stage: s for s in import_features(layout, ENTRIES, published)}
    assert changed["vggish"].name != first["vggish"].name
    assert changed["resnet152"].name == first["resnet152"].name


class _Fails:
    """What must not be unpickled."""

    def __reduce__(self) -> tuple[Any, ...]:
        return (pytest.fail, ("an object was unpickled",))


@pytest.mark.parametrize(
    "content, said",
    [
        (np.zeros((10, 127), np.float32), r"\(10, 127\); expected float32 \(10, 128\)"),
        (np.zeros((9, 128), np.float32), r"\(9, 128\)"),
        (np.zeros((1, 10, 128), np.float32), r"\(1, 10, 128\)"),
        (np.zeros((10, 128)), r"float64 \(10, 128\); expected float32"),
        (np.zeros((10, 128), ">f4"), ">f4"),
        (np.full((10, 128), np.nan, np.float32), "not all values are finite"),
        (np.array([_Fails()], dtype=object), "allow_pickle=False"),
        (b"", "expected float32"),
        (b"no array", "expected float32"),
        (npy_bytes(np.zeros((10, 128), np.float32))[:-4], "expected float32"),
    ],
)
def test_a_file_that_cannot_be_used_is_an_outcome_of_its_clip(
    published: Path, layout: Layout, content: Any, said: str
) -> None:
    path = published / "vggish" / f"{NAMES[1]}.npy"
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        np.save(path, content)
    found = next(s for s in import_features(layout, ENTRIES, published) if s.stage == "vggish")
    assert found.counts == {"ok": 2, "invalid_feature_file": 1}
    outcome = FeatureStore(layout.root).outcomes(found.name)[IDS[1]]
    assert outcome.reason == "invalid_feature_file"
    with pytest.raises(AssertionError, match=said):
        raise AssertionError(outcome.detail)
    assert found.examples == (outcome.detail,)


@pytest.mark.parametrize("rows, good", [(71, False), (72, True), (79, True), (82, True)])
def test_pictures_may_be_a_few_more_or_less(
    published: Path, layout: Layout, tmp_path: Path, rows: int, good: bool
) -> None:
    path = published / "res152" / f"{NAMES[0]}.npy"
    np.save(path, rows_of("resnet152", 0, rows))
    found = next(s for s in import_features(layout, ENTRIES, published) if s.stage == "resnet152")
    assert found.counts.get("invalid_feature_file", 0) == (not good)
    store = FeatureStore(layout.root)
    counts = export_features(store, {"resnet152": found.name}, ENTRIES, tmp_path / "back")
    assert counts["res152"].get("other_shape", 0) == good
    if good:
        assert store.length(found.name, IDS[0]) == rows
        assert (tmp_path / "back" / "res152" / path.name).read_bytes() == path.read_bytes()


def test_a_clip_without_a_file_in_one_folder_and_files_that_no_list_names(
    published: Path, layout: Layout
) -> None:
    (published / "r2plus1d_18" / f"{NAMES[2]}.npy").unlink()
    np.save(published / "r2plus1d_18" / "other_0_10.npy", rows_of("r2plus1d", 0))
    found = {s.stage: s for s in import_features(layout, ENTRIES, published)}
    assert (found["r2plus1d"].absent, found["r2plus1d"].unlisted) == (1, 1)
    outcomes = FeatureStore(layout.root).outcomes(found["r2plus1d"].name)
    assert outcomes[IDS[2]].reason == "no_feature_file"
    assert IDS[3] not in outcomes


def test_an_unusual_header_is_counted(published: Path, layout: Layout) -> None:
    rows = np.asfortranarray(rows_of("vggish", 0))
    np.save(published / "vggish" / f"{NAMES[0]}.npy", rows)
    found = next(s for s in import_features(layout, ENTRIES, published) if s.stage == "vggish")
    assert (found.other_header, found.counts) == (1, {"ok": 3})
    values = FeatureStore(layout.root).read(found.name, IDS[0]).values
    np.testing.assert_array_equal(values, rows)


def test_folders_may_lie_in_feats_and_some_may_be_absent(published: Path, layout: Layout) -> None:
    (published / "feats").mkdir()
    (published / "vggish").rename(published / "feats" / "vggish")
    for other in ("res152", "r2plus1d_18"):
        (published / other).rename(published / f"not-{other}")
    (found,) = import_features(layout, ENTRIES, published)
    assert (found.stage, found.counts) == ("vggish", {"ok": 3})
    with pytest.raises(DatasetError, match=r"expected files such as vggish/zzzzzzzzzzz_0_10\.npy"):
        import_features(layout, ENTRIES[3:], published)


def test_shards_hold_the_whole_plan_and_what_a_killed_import_left_is_taken(
    published: Path, layout: Layout
) -> None:
    other = "youtube/BBBBBBBBBBB/whole"
    extend_plan(layout, "youtube", [(other, 1e6), (IDS[1], 1e6)])
    (found, *_) = import_features(layout, ENTRIES, published)
    assert [s.item_ids for s in read_plan(layout, "youtube")] == [(other, IDS[1]), (IDS[0], IDS[2])]
    assert FeatureStore(layout.root).outcomes(found.name)[other].reason == "no_feature_file"
    layout.shard(found.name, "youtube", 1).unlink()
    stage = imported_stage("vggish", found.setting.partition(":")[2])
    staged = layout.staged_item(found.name, "youtube", 1, IDS[0])
    staged.parent.mkdir(parents=True)
    staged.write_bytes(b"torn")
    (again, *_) = import_features(layout, ENTRIES, published)
    assert again == found
    store = FeatureStore(layout.root)
    assert store.items(stage.record.name) == [IDS[1], IDS[0], IDS[2]]
    assert not staged.parent.exists()
    assert verify_store(layout) == []


def test_computed_rows_are_exported_and_other_files_are_kept(
    layout: Layout, tmp_path: Path
) -> None:
    stage = resolve(default_configs())["r2plus1d"]
    extend_plan(layout, "youtube", [(IDS[0], 1e6)])
    staged = layout.staged_item(stage.record.name, "youtube", 0, IDS[0])
    with ItemWriter(staged, SCHEMA, TimeBase(0.0, 1.0), "m", item_id=IDS[0]) as writer:
        writer.append({"feature": rows_of("r2plus1d", 0).astype(np.float16)})
    write_shard(layout, stage.record, "youtube", 0, [IDS[0]], provenance={}, schema=SCHEMA)
    store, stages = FeatureStore(layout.root), {"r2plus1d": stage.record.name}
    out = tmp_path / "out"
    assert export_features(store, stages, ENTRIES[:1], out) == {"r2plus1d_18": {"written": 1}}
    path = out / "r2plus1d_18" / f"{NAMES[0]}.npy"
    saved = np.load(path)
    assert (saved.dtype, saved.shape) == (np.float32, (10, 512))
    np.testing.assert_array_equal(saved, rows_of("r2plus1d", 0).astype(np.float16))
    assert export_features(store, stages, ENTRIES[:1], out) == {"r2plus1d_18": {"kept": 1}}
    path.write_bytes(b"mine")
    assert export_features(store, stages, ENTRIES[:1], out) == {"r2plus1d_18": {"differs": 1}}
    assert path.read_bytes() == b"mine"
    done = export_features(store, stages, ENTRIES[:1], out, overwrite=True)
    assert done == {"r2plus1d_18": {"written": 1}}
    np.testing.assert_array_equal(np.load(path), saved)
