"""Baselines from a snapshot to a published model, on a small store with two instruments."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from model.jobs import EvaluateJob, TrainJob
from model.separation.config import Config, of_system
from model.separation.recipe import build
from model.train.main import train
from model.train.publish import read_weights
from model.tribert.clips import find_clips, spectrogram_config, stages_read
from model.tribert.data import MixDataset
from model.tribert.errors import SeparationError
from model.tribert.evaluate import evaluate
from storage.models import read_model, write_snapshot
from storage.store import FeatureStore

SYSTEMS = ("sound_of_pixels", "unet_pit")
OTHERS = ("music_gesture", "co_separation", "mask_coefficients")


def config_of(system: str) -> Config:
    tiny = of_system("tiny", system)
    return replace(
        tiny,
        data=replace(tiny.data, picture_px=32, spec_frames=32, spec_rows=64, epoch_mixes=8),
        network=replace(tiny.network, widths=(8, 8, 16), maps=4, small_widths=(4, 8)),
        vision=replace(tiny.vision, feature_width=16, small_widths=(4, 8)),
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


@pytest.fixture(scope="module", params=SYSTEMS + OTHERS)
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


@pytest.fixture(scope="module")
def both(tone_store, snapshot, tmp_path_factory) -> list[TrainJob]:
    jobs = [
        train_job(tone_store, snapshot, tmp_path_factory.mktemp("both"), each) for each in SYSTEMS
    ]
    for job in jobs:
        train(job)
    return jobs


def evaluation(tone_store, snapshot, out_dir, models, **settings) -> EvaluateJob:
    return EvaluateJob(
        what="separation",
        version=2,
        model=models,
        dataset="tones",
        snapshot=snapshot,
        stages={name: tone_store.stages[name] for name in ("frames", "stft", "pose_embed")},
        configuration={"pairs": 2, "examples": 1, "span_frames": 64, **settings},
        store_root=tone_store.layout.root,
        out_dir=out_dir,
        device="cpu",
    )


def test_models_of_one_table_are_judged_on_the_same_mixes(
    both, tone_store, snapshot, tmp_path
) -> None:
    names = [job.name for job in both]
    results = evaluate(evaluation(tone_store, snapshot, tmp_path, [*names, names[0]]))
    again = f"Sound-of-Pixels ({names[0]})"
    assert tuple(results["summary"]) == (
        "Sound-of-Pixels",
        "mixture",
        "oracle mask",
        "swapped pictures and poses",
        "audio-only U-Net",
        again,
        f"{again}, swapped pictures and poses",
    )
    assert results["summary"]["audio-only U-Net"]["permutation"] == "best"
    assert results["summary"][again]["permutation"] == "named"
    assert results["summary"][again]["sdr"] == results["summary"]["Sound-of-Pixels"]["sdr"]
    assert results["differences"][again] == {"sdr": 0.0, "interval_95": [0.0, 0.0]}
    assert results["models"]["audio-only U-Net"] == names[1]
    assert (tmp_path / results["examples"][0]["arrays"]).is_file()


def test_a_model_with_other_pictures_reads_its_own(both, tone_store, snapshot, tmp_path) -> None:
    config = config_of("sound_of_pixels")
    wide = replace(config, data=replace(config.data, picture_px=48, picture_stride=2))
    job = replace(both[0], configuration=wide.as_json(), run_dir=tmp_path / "run")
    train(job)
    results = evaluate(
        evaluation(tone_store, snapshot, tmp_path / "out", [both[1].name, job.name], examples=0)
    )
    assert results["summary"]["Sound-of-Pixels"]["pairs"] == 2
    assert "swapped pictures and poses" not in results["summary"], "the first model sees nothing"


def test_models_of_other_mixes_are_refused(both, tone_store, snapshot, tmp_path) -> None:
    config = config_of("unet_pit")
    longer = replace(config, data=replace(config.data, spec_frames=64))
    job = replace(both[1], configuration=longer.as_json(), run_dir=tmp_path / "run")
    train(job)
    with pytest.raises(SeparationError, match=r"data\.spec_frames differs.*one by one"):
        evaluate(evaluation(tone_store, snapshot, tmp_path / "out", [both[0].name, job.name]))


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
    for name, value in one.tensors().items():
        assert torch.equal(value, other.tensors()[name]), name


def test_one_class_is_refused(tone_store, snapshot, tmp_path) -> None:
    job = train_job(tone_store, snapshot, tmp_path, "sound_of_pixels")
    flutes = [item for item in tone_store.items if item.labels == ("flute",)]
    with pytest.raises(SeparationError, match="at least two classes"):
        build(job, FeatureStore(tone_store.layout.root), flutes)
