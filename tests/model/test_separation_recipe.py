"""Baselines from a snapshot to a published model, on a small store with two instruments."""

from __future__ import annotations

from dataclasses import fields, replace

import pytest
import torch

from model.jobs import TrainJob
from model.separation.config import Config, of_system
from model.separation.recipe import build
from model.train.main import train
from model.train.publish import read_weights
from model.tribert.clips import find_clips, spectrogram_config, stages_read
from model.tribert.data import MixDataset
from model.tribert.errors import SeparationError
from storage.models import read_model, write_snapshot
from storage.store import FeatureStore

SYSTEMS = ("sound_of_pixels", "unet_pit")


def config_of(system: str) -> Config:
    tiny = of_system("tiny", system)
    return replace(
        tiny,
        data=replace(tiny.data, picture_px=32, spec_frames=32, spec_rows=64, epoch_mixes=8),
        network=replace(tiny.network, widths=(8, 8, 16), maps=4, small_widths=(4, 8)),
        optim=replace(tiny.optim, batch_size=4, max_steps=2, val_every_steps=2),
    )


@pytest.fixture(scope="module")
def snapshot(tone_store) -> str:
    return write_snapshot(tone_store.layout, "tones", tone_store.items)


def train_job(tone_store, snapshot, run_dir, system: str) -> TrainJob:
    return TrainJob(
        recipe="separation",
        recipe_version=1,
        configuration=config_of(system).as_json(),
        seed=1,
        stages={name: tone_store.stages[name] for name in ("frames", "stft", "pose_embed")},
        snapshot=snapshot,
        dataset="tones",
        store_root=tone_store.layout.root,
        run_dir=run_dir,
        device="cpu",
    )


@pytest.fixture(scope="module", params=SYSTEMS)
def trained(request, tone_store, snapshot, tmp_path_factory) -> TrainJob:
    """The job of a baseline that was trained for two steps and published."""
    job = train_job(tone_store, snapshot, tmp_path_factory.mktemp("run"), request.param)
    train(job)
    return job


def test_a_baseline_is_trained_and_published(trained, tone_store) -> None:
    described = read_model(tone_store.layout, trained.name)
    config = Config.from_json(described["record"]["configuration"])
    assert described["summary"]["system"] == config.system
    assert described["metrics"]["monitor"] == "val/mask_loss"
    assert described["steps"] == 2
    assert len(described["ids_used"]["train"]) == 10
    start = build(trained, FeatureStore(tone_store.layout.root), tone_store.items).export()
    weights = read_weights(tone_store.layout, trained.name)
    assert set(weights) == set(start)
    moved = [name for name in weights if not torch.equal(weights[name], start[name])]
    assert any("down" in name for name in moved)


def test_mixes_are_those_of_a_tribert_with_these_settings(tone_store, snapshot, tmp_path) -> None:
    store = FeatureStore(tone_store.layout.root)
    job = train_job(tone_store, snapshot, tmp_path, "sound_of_pixels")
    data = config_of("sound_of_pixels").data
    stages = stages_read(store, job.stages)
    expected = MixDataset(
        store=store,
        stages=stages,
        clips=find_clips(store, stages, tone_store.split("train"), data).clips,
        classes=("flute", "tuba"),
        data=data,
        sizes=spectrogram_config(store, stages, data),
        seed=job.seed,
        augment=True,
        mixes=data.epoch_mixes,
    )
    got = build(job, store, tone_store.items).train
    one, other = got[3, 5], expected[3, 5]
    for field in fields(one):
        assert torch.equal(getattr(one, field.name), getattr(other, field.name)), field.name


def test_one_class_is_refused(tone_store, snapshot, tmp_path) -> None:
    job = train_job(tone_store, snapshot, tmp_path, "sound_of_pixels")
    flutes = [item for item in tone_store.items if item.labels == ("flute",)]
    with pytest.raises(SeparationError, match="at least two classes"):
        build(job, FeatureStore(tone_store.layout.root), flutes)
