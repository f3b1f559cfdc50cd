"""Labels refined before training: teachers that never saw the clip, seeds, restarts, records."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from quick_refinement import QUICK

from model.avvp.config import Config
from model.avvp.data import collate
from model.avvp.diagnosis import removal_scores
from model.avvp.recipe import build
from model.avvp.swaps import drawn_partners, swap_test
from model.avvp.teachers import Teacher, folds_of, partial_clips
from model.settings import ConfigError
from model.train.fit import fit
from model.train.main import train
from model.train.parts import TrainParts
from storage.models import read_model
from storage.store import FeatureStore


def built(store, config: Config, run_dir: Path, seed: int = 0) -> TrainParts:
    job = store.job(run_dir, config=config, seed=seed)
    return build(job, FeatureStore(store.layout.root), list(store.items))


def targets(parts: TrainParts):
    return collate([parts.train[0, i] for i in range(len(parts.train))])


def test_folds_are_seeded_equal_and_by_video() -> None:
    ids = [f"llp/v{i % 11:02d}/{start}-{start + 10}" for i in range(22) for start in (0,)]
    folds = folds_of(ids, 3, seed=1)
    assert np.array_equal(folds, folds_of(ids, 3, seed=1))
    assert not np.array_equal(folds, folds_of(ids, 3, seed=2))
    assert np.array_equal(folds[:11], folds[11:])
    assert sorted(np.bincount(folds[:11])) == [3, 4, 4]


@pytest.mark.parametrize("modality, changed", [("audio", "picture_TE"), ("visual", "audio_TE")])
def test_a_teacher_knows_one_modality(parsing_store, tmp_path: Path, modality, changed) -> None:
    clips = [built(parsing_store, QUICK, tmp_path).train[0, i] for i in range(3)]
    others = [replace(c, **{changed: torch.rand_like(getattr(c, changed))}) for c in clips]
    torch.manual_seed(0)
    teacher = Teacher(modality, width=16, classes=6, dropout=0.1, scale=None).eval()
    with torch.no_grad():
        pooled, logit = teacher(collate(clips))
        again, _ = teacher(collate(others))
        partial, _ = teacher(collate(partial_clips(modality, clips)))
        padded, _ = teacher(collate([*clips, replace(clips[0], **shortened(clips[0]))]))
    assert pooled.shape == (3, 6)
    assert logit.shape == (3, 10, 6)
    assert torch.equal(pooled, again)
    assert torch.equal(pooled, partial)
    torch.testing.assert_close(pooled, padded[:3])


def shortened(clip) -> dict[str, torch.Tensor]:
    return {name: getattr(clip, name)[:4] for name in ("audio_TE", "picture_TE", "motion_TE")}


@pytest.mark.parametrize(
    "changes",
    [
        {"denoise": "rank"},
        {"denoise": "rank", "rates": "ratio"},
        {"denoise": "rank", "swap_vote": "or"},
        {"denoise": "swap"},
        {"denoise": "swap", "swap_alias": True},
    ],
)
def test_refined_targets_remove_tags_from_modalities_only(
    parsing_store, tmp_path: Path, changes
) -> None:
    config = replace(QUICK, **changes)
    parts = built(parsing_store, config, tmp_path)
    batch = targets(parts)
    tags, found = batch.tags_BC, batch.targets
    no_audio, no_visual = (tags > 0) & (found.audio_BC == 0), (tags > 0) & (found.visual_BC == 0)
    torch.testing.assert_close(found.audio_BC, torch.where(no_audio, 0.0, tags))
    torch.testing.assert_close(
        found.visual_BC, torch.where(no_visual, 0.0, torch.where(tags > 0, 0.95, 0.05))
    )
    if config.swap_alias:
        assert torch.equal(found.video_BC, torch.where(no_audio, 0.0, tags))
    else:
        assert torch.equal(found.video_BC, tags)
        assert not bool((no_audio & no_visual).any())
    if config.denoise == "rank":
        assert int(no_audio.sum() + no_visual.sum()) > 0
    labels = parts.summary["labels"]
    assert set(labels["removed"]) == set(parts.classes)
    assert set(labels["validation"]["type_at_av"]) == {"weak", "refined", "true"}
    json.dumps(labels, allow_nan=False)


def test_refinement_follows_from_the_seed_and_draws_nothing_from_the_training(
    parsing_store, tmp_path: Path
) -> None:
    config = replace(QUICK, denoise="rank")
    found, drawn, weights = [], [], []
    for place, seed in (("a", 0), ("b", 0), ("c", 1), ("a", 0)):
        torch.manual_seed(7)
        parts = built(parsing_store, config, tmp_path / place, seed=seed)
        found.append(targets(parts).targets.visual_BC)
        drawn.append(torch.rand(3))
        weights.append(parts.module.parser.network.pooling.probability.weight)
    assert torch.equal(found[0], found[1])
    assert not torch.equal(found[0], found[2])
    assert torch.equal(found[0], found[3])
    for i in (1, 2, 3):
        assert torch.equal(drawn[0], drawn[i])
        assert torch.equal(weights[0], weights[i])


def test_what_was_finished_before_a_kill_is_not_done_again(
    parsing_store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = replace(QUICK, denoise="rank")
    whole = targets(built(parsing_store, config, tmp_path / "whole"))
    trained = counting(monkeypatch, stop_after=2)
    with pytest.raises(KeyboardInterrupt):
        built(parsing_store, config, tmp_path / "killed")
    assert len(trained) == 3
    kept = sorted(path.name for path in (tmp_path / "killed").rglob("*.npz"))
    assert kept == ["audio-0.npz", "audio-1.npz"]
    trained = counting(monkeypatch)
    again = targets(built(parsing_store, config, tmp_path / "killed"))
    assert [Path(folder).name for folder in trained] == ["visual-0", "visual-1"]
    assert torch.equal(again.targets.visual_BC, whole.targets.visual_BC)
    assert not list((tmp_path / "killed").rglob("*.ckpt"))


def counting(monkeypatch: pytest.MonkeyPatch, stop_after: int | None = None) -> list[str]:
    """Have trainings of teachers counted, and the one after some interrupted."""
    started: list[str] = []

    def counted(parts: TrainParts, folder: Path, **options) -> object:
        started.append(str(folder))
        if stop_after is not None and len(started) > stop_after:
            raise KeyboardInterrupt
        return fit(parts, folder, **options)

    monkeypatch.setattr("model.avvp.teachers.fit", counted)
    return started


def test_jomold_keeps_every_label_in_the_first_epoch_and_trains(
    parsing_store, tmp_path: Path
) -> None:
    config = replace(QUICK, denoise="jomold", nce="expected", visual_dropout=0.5, audio_factor=2.0)
    parts = built(parsing_store, config, tmp_path)
    module, batch = parts.module, targets(parts)
    rates = module.rates_MC
    assert rates.shape == (2, len(parts.classes))
    assert set(parts.summary["labels"]["rates"]) == set(parts.classes)
    denoised = module._denoised(batch, batch.targets)
    assert torch.equal(denoised.visual_BC, batch.targets.visual_BC)
    result = fit(parts, tmp_path / "run", seed=0, device="cpu")
    assert result.steps == 8
    assert np.isfinite([row["train/loss"] for row in result.history if "train/loss" in row]).all()


def test_in_later_epochs_jomold_takes_labels_out_of_modalities(
    parsing_store, tmp_path: Path
) -> None:
    parts = built(parsing_store, replace(QUICK, denoise="jomold"), tmp_path)
    module, batch = parts.module, targets(parts)
    module.steps_per_epoch = 0
    module.rates_MC = torch.full_like(module.rates_MC, 0.5)
    tags, found = batch.tags_BC, module._denoised(batch, batch.targets)
    no_audio, no_visual = (tags > 0) & (found.audio_BC == 0), (tags > 0) & (found.visual_BC == 0)
    assert int(no_audio.sum()) > 0
    assert int(no_visual.sum()) > 0
    assert not bool((no_audio & no_visual).any())
    assert torch.equal(found.video_BC, tags)
    module.rates_MC = torch.zeros_like(module.rates_MC)
    unchanged = module._denoised(batch, batch.targets)
    assert torch.equal(unchanged.audio_BC, batch.targets.audio_BC)


def test_swapped_tracks_are_those_of_the_partners(parsing_store, tmp_path: Path) -> None:
    parts = built(parsing_store, QUICK, tmp_path)
    clips = [parts.train[0, i] for i in range(12)]
    parser = parts.module.parser.eval()
    one = drawn_partners(clips, 1, seed=3)
    assert torch.equal(drawn_partners(clips, 2, seed=3), drawn_partners(clips, 2, seed=3))
    found = swap_test(parser, clips, one)
    for i, (j,) in enumerate(one.tolist()):
        if j < 0:
            assert np.isnan(found["foreign_audio"][i]).all()
            continue
        with torch.no_grad():
            alone = parser(collate([replace(clips[i], audio_TE=clips[j].audio_TE)]))
        for m, pooled in enumerate((alone.audio_BC, alone.visual_BC)):
            np.testing.assert_allclose(found["foreign_audio"][i, m], pooled[0], rtol=1e-5)
    repeated = swap_test(parser, clips, one.expand(-1, 3))
    np.testing.assert_allclose(repeated["foreign_visual"], found["foreign_visual"], rtol=1e-5)


def test_removal_is_scored_against_dense_events() -> None:
    truth = np.zeros((2, 2, 2, 10), np.uint8)
    truth[0, 0, 0] = 1
    truth[1, :, 0] = 1
    tags = np.array([[1.0, 0.0], [1.0, 1.0]])
    flags = np.zeros((2, 2, 2), bool)
    flags[0, 1, 0] = True
    flags[1, 1, 0] = True
    scores = removal_scores(flags, tags, truth, ("Speech", "Dog"))
    assert scores["visual"]["removed"] == pytest.approx(66.67)
    assert (scores["visual"]["precision"], scores["visual"]["recall"]) == (50.0, 50.0)
    assert scores["audio"]["precision"] is None
    assert scores["visual"]["classes"] == {"Speech": [100.0, 50.0], "Dog": [0.0, 100.0]}
    assert scores["type_at_av"]["true"] == 100.0
    assert scores["type_at_av"]["refined"] < 100.0


def test_a_published_model_records_what_was_removed(parsing_store, tmp_path: Path) -> None:
    job = parsing_store.job(tmp_path, config=replace(QUICK, denoise="rank"))
    train(job)
    described = read_model(parsing_store.layout, job.name)
    assert set(described["summary"]["labels"]) == {"rates", "removed", "validation"}


@pytest.mark.parametrize(
    "changes, said",
    [
        ({"denoise": "both"}, "avvp.denoise='both'"),
        ({"swap_vote": "and"}, "only denoise='rank' has it"),
        ({"denoise": "rank", "swap_alias": True}, "only denoise='swap' has it"),
        ({"network": "base", "denoise": "jomold"}, "only 'han' has denoise='jomold'"),
        ({"teacher_folds": 1}, "avvp.teacher_folds=1"),
    ],
)
def test_a_setting_that_cannot_work_is_refused(changes, said: str) -> None:
    with pytest.raises(ConfigError) as raised:
        Config(**changes)
    assert said in str(raised.value)
