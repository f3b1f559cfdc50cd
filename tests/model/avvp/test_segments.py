"""Targets of seconds, their weights, mixtures, and clips that exchange their pictures."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from quick_refinement import QUICK

from model.avvp.config import Config
from model.avvp.data import Batch, collate
from model.avvp.recipe import build
from model.avvp.segments import mixed_seconds, recombined, second_loss, segment_labels
from model.avvp.targets import Targets
from model.settings import ConfigError
from model.train.fit import fit
from storage.store import FeatureStore


def logits(seed: int, clips: int = 30) -> tuple[np.ndarray, np.ndarray]:
    """Logits (N, M, C, T), the last clip 4 seconds short, and which labels are kept."""
    rng = np.random.default_rng(seed)
    logit = rng.normal(size=(clips, 2, 3, 10)).astype(np.float32)
    logit[-1, ..., 6:] = np.nan
    return logit, rng.random((clips, 2, 3)) < 0.5


@given(seed=st.integers(0, 2**31))
@settings(max_examples=20, deadline=None)
def test_kept_labels_are_somewhere_and_others_nowhere(seed: int) -> None:
    logit, kept = logits(seed)
    for soft in (False, True):
        labels = segment_labels(logit, kept, soft=soft)
        assert labels.dtype == np.float32
        assert not labels[~kept].any()
        assert not labels[-1, ..., 6:].any()
        assert (labels[kept].max(-1) >= 0.5 - 1e-6).all()
        assert (labels[kept].max(-1) <= 1).all()


def test_a_share_of_the_seconds_is_on_and_both_forms_agree_on_them() -> None:
    logit, _ = logits(0, clips=400)
    kept = np.ones((400, 2, 3), bool)
    hard = segment_labels(logit, kept, soft=False)
    soft = segment_labels(logit, kept, soft=True)
    for m, share in ((0, 0.7), (1, 0.8)):
        assert hard[:-1, m].mean() == pytest.approx(share, abs=0.02)
        moved = np.abs(soft[:-1, m] - 0.5) > 1e-4
        assert np.array_equal((soft[:-1, m] > 0.5)[moved], (hard[:-1, m] > 0.5)[moved])


def test_without_a_kept_label_a_class_has_no_targets() -> None:
    logit, kept = logits(1)
    assert not segment_labels(logit, np.zeros_like(kept), soft=True).any()


def made_targets(seed: int, clips: int = 4, classes: int = 3) -> Targets:
    torch.manual_seed(seed)
    video = (torch.rand(clips, classes) < 0.5).float()
    second = torch.rand(clips, 10, 2, classes) * video[:, None, None]
    return Targets(video_BC=video, audio_BC=video, visual_BC=video, second_BTMC=second)


def test_the_loss_of_seconds_is_the_sum_of_both_modalities_means() -> None:
    targets, p = made_targets(0), torch.rand(4, 10, 2, 3)
    q = targets.second_BTMC
    by_hand = -(q * p.log() + (1 - q) * (1 - p).log()).mean((0, 1, 3)).sum()
    loss = second_loss(p, targets, None, positive_weight=0.0)
    torch.testing.assert_close(loss, by_hand)


def test_weights_balance_classes_that_a_clip_has_and_others() -> None:
    """By hand for vision alone: W mean(1 - l) where the clip has the class, mean(l) elsewhere."""
    targets, p = made_targets(1), torch.rand(4, 10, 2, 3)
    q, found = targets.second_BTMC, torch.zeros(())
    for m in (0, 1):
        on = (q[:, :, m] >= 0.5).float().mean()
        weight = torch.where(targets.video_BC > 0, 0.5 * (1 - on), on)[:, None]
        bce = -(q[:, :, m] * p[:, :, m].log() + (1 - q[:, :, m]) * (1 - p[:, :, m]).log())
        found = found + (weight * bce).mean()
    torch.testing.assert_close(second_loss(p, targets, None, positive_weight=0.5), found)


@pytest.mark.parametrize("weight", [0.0, 0.5])
def test_padded_seconds_change_no_loss(weight: float) -> None:
    targets, p = made_targets(2), torch.rand(4, 10, 2, 3)
    absent = torch.arange(10).expand(4, 10) >= 6
    short = replace(targets, second_BTMC=targets.second_BTMC[:, :6])
    alone = second_loss(p[:, :6], short, None, positive_weight=weight)
    torch.testing.assert_close(second_loss(p, targets, absent, positive_weight=weight), alone)


def test_mixtures_lie_between_two_seconds_of_a_modality() -> None:
    targets = made_targets(3)
    joint = torch.cat([torch.rand(4, 10, 1, 5), 10 + torch.rand(4, 10, 1, 5)], dim=2)
    torch.manual_seed(0)
    x, q = mixed_seconds(joint, targets, None)
    assert x.shape == (40, 2, 5)
    assert q.shape == (40, 2, 3)
    assert float(x[:, 0].max()) < 1 < 10 < float(x[:, 1].min())
    assert float(q.max()) <= float(targets.second_BTMC.max())
    same = targets.second_BTMC.reshape(40, 2, 3)
    assert not torch.equal(q, same)
    torch.manual_seed(0)
    again, _ = mixed_seconds(joint, targets, None)
    assert torch.equal(x, again)


def test_features_and_targets_are_mixed_alike() -> None:
    targets = made_targets(4)
    x, q = mixed_seconds(targets.second_BTMC, targets, None)
    torch.testing.assert_close(x, q)


def test_padded_seconds_are_not_mixed_in() -> None:
    targets = made_targets(5)
    joint = torch.rand(4, 10, 2, 5)
    absent = torch.arange(10).expand(4, 10) >= 6
    joint[:, 6:] = torch.nan
    x, _ = mixed_seconds(joint, targets, absent)
    assert len(x) == 24
    assert bool(torch.isfinite(x).all())


def made_batch(lengths: tuple[int, ...]) -> Batch:
    """Clip i holds i in all its features."""
    clips = len(lengths)
    value = torch.arange(clips).float()[:, None, None]
    absent = torch.arange(10).expand(clips, 10) >= torch.tensor(lengths)[:, None]
    return Batch(
        audio_BTE=value.expand(clips, 10, 2),
        picture_BTE=value.expand(clips, 10, 3),
        motion_BTE=value.expand(clips, 10, 4),
        tags_BC=torch.eye(clips),
        absent_BT=absent if bool(absent.any()) else None,
    )


def test_recombined_clips_have_anothers_pictures_and_their_targets() -> None:
    batch, tags = made_batch((10,) * 12), torch.eye(12)
    second = torch.stack([tags, 2 * tags], dim=1)[:, None].expand(12, 10, 2, 12)
    targets = Targets(video_BC=tags, audio_BC=tags, visual_BC=0.05 + 0.9 * tags, second_BTMC=second)
    torch.manual_seed(0)
    changed, aimed, moved = recombined(batch, targets, 0.5)
    assert 2 < int(moved.sum()) < 12
    assert torch.equal(changed.audio_BTE, batch.audio_BTE)
    for i in range(12):
        j = int(changed.picture_BTE[i, 0, 0])
        assert (i != j) == bool(moved[i])
        assert int(changed.motion_BTE[i, 0, 0]) == j
        assert torch.equal(aimed.visual_BC[i], targets.visual_BC[j])
        assert torch.equal(aimed.audio_BC[i], tags[i])
        assert torch.equal(aimed.video_BC[i], ((tags[i] + tags[j]) > 0).float())
        assert torch.equal(aimed.second_BTMC[i, :, 0], second[i, :, 0])
        assert torch.equal(aimed.second_BTMC[i, :, 1], second[j, :, 1])
    assert float(targets.second_BTMC[0, 0, 1, 0]) == 2


def test_clips_of_unequal_length_keep_their_pictures() -> None:
    batch = made_batch((10, 9, 8, 7))
    tags = torch.eye(4)
    targets = Targets(video_BC=tags, audio_BC=tags, visual_BC=tags)
    changed, _, moved = recombined(batch, targets, 1.0)
    assert not bool(moved.any())
    assert torch.equal(changed.picture_BTE, batch.picture_BTE)


def test_no_clip_is_changed_at_a_share_of_zero() -> None:
    tags = torch.eye(6)
    targets = Targets(video_BC=tags, audio_BC=tags, visual_BC=tags)
    _, aimed, moved = recombined(made_batch((10,) * 6), targets, 0.0)
    assert not bool(moved.any())
    assert torch.equal(aimed.video_BC, tags)


def test_all_steps_together_train_to_the_same_result_twice(parsing_store, tmp_path: Path) -> None:
    config = replace(
        QUICK,
        denoise="rank",
        segments="soft",
        positive_weight=0.5,
        mix=1.0,
        recombine=0.5,
        nce="expected",
        visual_dropout=0.5,
        segment_ramp_epochs=1,
    )
    found = []
    for name in ("once", "again"):
        job = parsing_store.job(tmp_path / "labels", config=config)
        torch.manual_seed(0)
        parts = build(job, FeatureStore(parsing_store.layout.root), list(parsing_store.items))
        batch = collate([parts.train[0, i] for i in range(4)])
        assert batch.targets.second_BTMC.shape == (4, 10, 2, len(parts.classes))
        rows = fit(parts, tmp_path / name, seed=0, device="cpu").history
        terms = {"train/loss_contrast", "train/loss_seconds", "train/loss_mixed"}
        assert terms < set(rows[0])
        found.append([row["train/loss"] for row in rows if "train/loss" in row])
    assert found[0] == found[1]
    assert parts.module._segment_weight() == 1.0


def test_the_weight_of_seconds_grows(parsing_store, tmp_path: Path) -> None:
    config = replace(QUICK, segments="hard", segment_weight=2.0, segment_ramp_epochs=2)
    job = parsing_store.job(tmp_path, config=config)
    parts = build(job, FeatureStore(parsing_store.layout.root), list(parsing_store.items))
    assert parts.module._segment_weight() == 0.0
    assert "labels" in parts.summary


@pytest.mark.parametrize(
    "changes, said",
    [
        ({"segments": "both"}, "avvp.segments='both'"),
        ({"mix": 1.0}, "set segments to 'soft' or 'hard'"),
        ({"positive_weight": 0.5}, "set segments to 'soft' or 'hard'"),
        ({"recombine": 1.5}, "avvp.recombine=1.5"),
        ({"recombine": 0.5, "denoise": "jomold"}, "use denoise='rank'"),
    ],
)
def test_a_setting_that_cannot_work_is_refused(changes, said: str) -> None:
    with pytest.raises(ConfigError) as raised:
        Config(**changes)
    assert said in str(raised.value)


def test_seconds_without_targets_are_an_error() -> None:
    tags = torch.ones(2, 3)
    targets = Targets(video_BC=tags, audio_BC=tags, visual_BC=tags)
    with pytest.raises(ValueError, match="set segments='soft' or 'hard'"):
        second_loss(torch.rand(2, 10, 2, 3), targets, None, positive_weight=0.0)
