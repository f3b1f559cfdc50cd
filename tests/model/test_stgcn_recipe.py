"""ST-GCN learns from a store of poses and sees no test clip; samples follow from their keys."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from model.jobs import TrainJob
from model.stgcn.config import Config, presets, steps_override
from model.stgcn.data import PoseWindows, Window, collate, find_clips
from model.stgcn.module import StgcnModule, mean_average_precision
from model.stgcn.recipe import build
from model.train.errors import RecipeError
from model.train.main import train
from model.train.publish import read_weights
from pipeline.extractors.pose import pose_schema
from pipeline.networks.stgcn_config import NetworkConfig
from pipeline.pose.joints68 import N_JOINTS
from storage.fingerprint import StageRecord
from storage.layout import Layout, open_store
from storage.models import read_model, write_snapshot
from storage.records import DatasetItem, Outcome, TimeBase
from storage.shard_writer import write_shard
from storage.staging import ItemWriter, stage_failure
from storage.store import FeatureStore

RECORD = StageRecord(stage="pose", stage_version=1, backend="synthetic")
MOVING = {"flute": [7, 8, 9, 10, *range(26, 68)], "tuba": [13, 14, 15, 16], "drum": []}
"""Joints that swing. No two classes mirror each other: samples are mirrored at random."""
SIZE_PX = np.array([640, 360], np.int16)


def items_of(counts: dict[str, int]) -> list[DatasetItem]:
    return [
        DatasetItem(item_id=f"stage/{split}-{label}-{k}/whole", labels=(label,), split=split)
        for split, count in counts.items()
        for label in MOVING
        for k in range(count)
    ]


def poses(item: DatasetItem, rows: int, seed: int) -> dict[str, np.ndarray]:
    """A person who stands still but for some joints that swing; absent in the first 4 rows."""
    rng = np.random.default_rng(seed)
    keypoints = np.zeros((rows, 2, N_JOINTS, 3), np.float32)
    figure = np.random.default_rng(0).uniform([200, 60], [400, 300], (N_JOINTS, 2))
    still = figure * rng.uniform(0.9, 1.1) + rng.uniform(-30, 30, 2)
    keypoints[:, 0, :, :2] = still + rng.normal(0, 1, (rows, N_JOINTS, 2))
    keypoints[:, 0, :, 2] = 0.9
    for label in item.labels:
        swing = 60 * np.sin(np.arange(rows) * 1.1 + rng.uniform(0, 6))
        keypoints[:, 0, MOVING[label], 1] += swing[:, None]
    keypoints[:4, 0] = 0
    present = np.zeros((rows, 2), np.uint8)
    present[4:, 0] = 1
    return {
        "keypoints": keypoints,
        "box": np.zeros((rows, 2, 4), np.float32),
        "track_id": np.where(present > 0, 0, -1).astype(np.int32),
        "present": present,
        "frame_size": np.tile(SIZE_PX, (rows, 1)),
    }


def write_poses(layout: Layout, items: list[DatasetItem]) -> None:
    schema = pose_schema(2)
    for number, item in enumerate(items):
        path = layout.staged_item(RECORD.name, "stage", 0, item.item_id)
        path.parent.mkdir(parents=True, exist_ok=True)
        if "failed" in item.item_id:
            stage_failure(path, Outcome(item_id=item.item_id, reason="corrupt"), "0" * 64)
            continue
        rows = 6 if "brief" in item.item_id else 56 + 8 * (number % 6)
        with ItemWriter(path, schema, TimeBase(0.0, 0.125), "0" * 64, item_id=item.item_id) as out:
            out.append(poses(item, rows, number))
    ids = [item.item_id for item in items]
    write_shard(layout, RECORD, "stage", 0, ids, provenance={}, schema=schema)


@pytest.fixture(scope="module")
def items() -> list[DatasetItem]:
    odd = [
        DatasetItem(item_id=f"stage/{name}/whole", labels=labels, split="train", tasks=tasks)
        for name, labels, tasks in (
            ("failed", ("flute",), ()),
            ("brief", ("flute",), ()),
            ("unlabelled", (), ()),
            ("other", ("flute",), ("avvp",)),
        )
    ]
    return items_of({"train": 6, "val": 3, "test": 1}) + odd


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory, items: list[DatasetItem]) -> FeatureStore:
    layout = open_store(tmp_path_factory.mktemp("store"), create=True)
    write_poses(layout, items)
    return FeatureStore(layout.root)


def job_for(store: FeatureStore, items: list[DatasetItem], config: Config, run: Path) -> TrainJob:
    return TrainJob(
        recipe="stgcn",
        recipe_version=1,
        configuration=config.as_json(),
        seed=3,
        stages={"pose": RECORD.name},
        snapshot=write_snapshot(store.layout, "demo", items),
        dataset="demo",
        store_root=store.layout.root,
        run_dir=run,
        device="cpu",
    )


TINY = replace(
    presets["tiny"],
    network=NetworkConfig(channels=(16, 24), strides=(2, 2)),
    window_rows=32,
    max_steps=40,
    validations=2,
)


def test_trained_model_tells_movements_apart(
    store: FeatureStore, items: list[DatasetItem], tmp_path: Path
) -> None:
    job = job_for(store, items, TINY, tmp_path / "run")
    train(job)
    model = read_model(store.layout, job.name)
    assert model["metrics"]["best_value"] > 0.7, "three balanced classes: chance is near 0.45"
    assert set(model["classes"]) == set(MOVING)
    assert Config.from_json(model["record"]["configuration"]) == TINY
    used = [item_id for ids in model["ids_used"].values() for item_id in ids]
    assert not [item_id for item_id in used if "test" in item_id or "other" in item_id]
    reasons = model["ids_missing"]
    assert reasons["stage/failed/whole"] == "pose: corrupt"
    assert reasons["stage/brief/whole"].startswith("a person in 2 of 6 rows")
    assert reasons["stage/unlabelled/whole"] == "no label"
    weights = read_weights(store.layout, job.name)
    assert weights["classifier.weight"].shape == (3, 24)


def windows_of(store: FeatureStore, items: list[DatasetItem], *, augment: bool) -> PoseWindows:
    train_items = [item for item in items if item.split == "train"]
    clips, _ = find_clips(store, RECORD.name, train_items, min_present_rows=8)
    return PoseWindows(
        store=store,
        pose=RECORD.name,
        clips=clips,
        classes=sorted(MOVING),
        config=TINY,
        seed=3,
        augment=augment,
    )


def test_samples_are_a_function_of_seed_epoch_and_index(
    store: FeatureStore, items: list[DatasetItem]
) -> None:
    first, again = (windows_of(store, items, augment=True) for _ in range(2))
    for key in ((0, 0), (1, 0), (0, 5)):
        torch.testing.assert_close(first[key], again[key])
    assert not torch.equal(first[0, 0].x_CTVM, first[1, 0].x_CTVM)
    fixed = windows_of(store, items, augment=False)
    torch.testing.assert_close(fixed[0, 0], fixed[7, 0])


def test_windows_hold_somebody_and_absent_joints_stay_zero(
    store: FeatureStore, items: list[DatasetItem]
) -> None:
    windows = windows_of(store, items, augment=True)
    for epoch in range(8):
        window = windows[epoch, epoch]
        assert window.x_CTVM.shape[1] <= TINY.window_rows
        assert window.present_TM.any()
        absent = window.present_TM == 0
        assert not window.x_CTVM.permute(1, 3, 0, 2)[absent].any()
        assert window.x_CTVM[:2].abs().max() < 0.7
        assert window.label_L.sum() == 1


def test_mirrored_sample_has_left_and_right_exchanged(
    store: FeatureStore, items: list[DatasetItem]
) -> None:
    plain = windows_of(store, items, augment=True)
    plain.config = replace(TINY, flip=0.0)
    flipped = windows_of(store, items, augment=True)
    flipped.config = replace(TINY, flip=1.0)
    a, b = plain[0, 0].x_CTVM, flipped[0, 0].x_CTVM
    torch.testing.assert_close(b[0, :, 10], -a[0, :, 9])
    torch.testing.assert_close(b[1, :, 10], a[1, :, 9])


def test_padding_a_batch_changes_no_score(store: FeatureStore, items: list[DatasetItem]) -> None:
    torch.manual_seed(0)
    module = StgcnModule(TINY, 3).eval()
    fixed = windows_of(store, items, augment=False)
    windows = [fixed[0, k] for k in range(4)]
    assert len({window.x_CTVM.shape[1] for window in windows}) > 1
    batch = collate(windows)
    with torch.no_grad():
        together = module.network(batch.x_CTVM, batch.present_TM)
        alone = [module.network(w.x_CTVM[None], w.present_TM[None]) for w in windows]
    torch.testing.assert_close(together, torch.cat(alone))
    assert isinstance(batch, Window)


def test_average_precision_equals_a_hand_computed_one() -> None:
    score = torch.tensor([[0.9, 0.1], [0.8, 0.2], [0.1, 0.3], [0.2, 0.0]])
    label = torch.tensor([[1.0, 0.0], [0.0, 0.0], [1.0, 0.0], [0.0, 0.0]])
    expected = (1 / 1 + 2 / 4) / 2
    assert float(mean_average_precision(score, label)) == pytest.approx(expected)


def test_recipe_refuses_what_it_cannot_serve(
    store: FeatureStore, items: list[DatasetItem], tmp_path: Path
) -> None:
    one = [item for item in items if item.labels == ("flute",)]
    with pytest.raises(RecipeError, match="needs two"):
        build(job_for(store, one, TINY, tmp_path), store, one)
    three = replace(TINY, persons=3)
    with pytest.raises(RecipeError, match="2 persons a row"):
        build(job_for(store, items, three, tmp_path), store, items)
    with pytest.raises(RecipeError, match="ST-GCN reads pose"):
        build(replace(job_for(store, items, TINY, tmp_path), stages={}), store, items)


def test_training_without_validation_clips_monitors_nothing(
    store: FeatureStore, items: list[DatasetItem], tmp_path: Path
) -> None:
    chosen = [item for item in items if item.split == "train"]
    parts = build(job_for(store, chosen, TINY, tmp_path), store, chosen)
    assert parts.val is None
    assert parts.monitor is None
    assert parts.max_steps % parts.val_every_steps == 0


@pytest.mark.parametrize("name", sorted(presets))
def test_presets_survive_json(name: str) -> None:
    config = presets[name]
    assert Config.from_json(json.loads(json.dumps(config.as_json()))) == config
    shorter = Config.from_json({**config.as_json(), **steps_override(30)})
    assert shorter.max_steps == 30
    assert 30 % shorter.val_every_steps == 0


@pytest.mark.parametrize(
    "values, message",
    [
        ({"window": 3}, "no setting"),
        ({"window_rows": "3"}, "expected int"),
        ({"window_rows": 0}, "at least 1"),
        ({"optimiser": "lion"}, "expected one of"),
        ({"network": {"channels": [3], "strides": []}}, "one of each"),
        ({"network": {"depth": 3}}, "depth"),
    ],
)
def test_configuration_refuses(values: dict[str, object], message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        Config.from_json(values)
