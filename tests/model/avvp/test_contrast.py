"""The contrastive term by hand, its bounds, its padding; HAN without cross attention; dropout."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from model.avvp.config import Config, presets
from model.avvp.contrast import contrast
from model.avvp.han import HAN
from model.avvp.recipe import build
from model.settings import ConfigError
from model.train.fit import fit
from storage.store import FeatureStore

KINDS = ("cross_entropy", "expected")


def features(seed: int, clips: int = 3, seconds: int = 10) -> tuple[torch.Tensor, torch.Tensor]:
    torch.manual_seed(seed)
    return torch.randn(clips, seconds, 6), torch.randn(clips, seconds, 6)


def by_hand(audio: np.ndarray, visual: np.ndarray, kind: str) -> float:
    """One clip, ten seconds, second by second."""
    found = []
    for t, a in enumerate(audio):
        cosines = [a @ v / np.linalg.norm(a) / np.linalg.norm(v) for v in visual]
        e = np.exp(np.array(cosines) / 0.2)
        p, q = e / e.sum(), np.full(len(visual), 0.1 / 9)
        q[t] = 0.9
        found.append(
            -(q * np.log(p)).sum() if kind == "cross_entropy" else -math.log((q * p).sum())
        )
    return float(np.mean(found))


@pytest.mark.parametrize("kind", KINDS)
def test_it_is_what_the_papers_say(kind: str) -> None:
    audio, visual = features(0)
    pairs = zip(audio.numpy(), visual.numpy(), strict=True)
    expected = np.mean([by_hand(a, v, kind) for a, v in pairs])
    assert float(contrast(audio, visual, None, kind=kind)) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_matching_seconds_have_a_lower_loss(kind: str) -> None:
    audio, visual = features(1)
    apart = contrast(audio, visual, None, kind=kind)
    assert contrast(audio, audio + 0.01 * visual, None, kind=kind) < apart - 0.5


def test_the_expected_form_is_bounded_by_the_smoothing() -> None:
    """Where each second looks like the next one, cross entropy goes on, the other does not."""
    audio = torch.eye(10)[None]
    opposite = torch.roll(audio, 1, dims=1)
    cold = {"temperature": 0.01, "smoothing": 0.1}
    assert float(contrast(audio, opposite, None, kind="expected", **cold)) < math.log(9 / 0.1) + 0.1
    assert float(contrast(audio, opposite, None, kind="cross_entropy", **cold)) > 50


@pytest.mark.parametrize("kind", KINDS)
def test_padded_seconds_change_neither_loss_nor_gradient(kind: str) -> None:
    short = [x.requires_grad_() for x in features(2, seconds=4)]
    alone = contrast(*short, None, kind=kind)
    alone.backward()
    padded = [torch.cat([x.detach(), 7 * torch.ones(3, 3, 6)], 1).requires_grad_() for x in short]
    absent = torch.arange(7).expand(3, 7) >= 4
    together = contrast(*padded, absent, kind=kind)
    together.backward()
    torch.testing.assert_close(alone, together)
    for x, y in zip(short, padded, strict=True):
        torch.testing.assert_close(x.grad, y.grad[:, :4])
        assert float(y.grad[:, 4:].abs().max()) == 0.0


@pytest.mark.parametrize("kind", KINDS)
def test_a_clip_of_one_second_beside_a_longer_one_has_a_gradient(kind: str) -> None:
    audio, visual = (x.requires_grad_() for x in features(4, clips=2, seconds=3))
    absent = torch.tensor([[False, False, False], [False, True, True]])
    contrast(audio, visual, absent, kind=kind).backward()
    for x in (audio, visual):
        assert bool(torch.isfinite(x.grad).all())


@pytest.mark.parametrize("kind", KINDS)
def test_a_clip_of_one_second_has_has_nothing_to_find(kind: str) -> None:
    audio, visual = features(3, seconds=1)
    assert float(contrast(audio, visual, None, kind=kind)) == pytest.approx(0.0, abs=1e-6)


def han(**settings) -> HAN:
    torch.manual_seed(5)
    return HAN(width=16, classes=5, dropout=0.1, **settings)


def inputs(seed: int = 0) -> list[torch.Tensor]:
    torch.manual_seed(seed)
    return [torch.rand(3, 10, size) for size in (128, 2048, 512)]


@pytest.mark.parametrize("together", [False, True])
def test_without_cross_attention_sound_says_nothing_of_pictures(together: bool) -> None:
    network = han(together=together).eval()
    audio, picture, motion = inputs()
    changed = torch.rand_like(audio)
    with torch.no_grad():
        alone = [network(a, picture, motion, alone=True) for a in (audio, changed)]
        attending = [network(a, picture, motion) for a in (audio, changed)]
        always = han(together=together, cross_attention=False).eval()(audio, picture, motion)
    torch.testing.assert_close(alone[0].visual_BC, alone[1].visual_BC, rtol=0, atol=0)
    assert not torch.equal(alone[0].audio_BC, alone[1].audio_BC)
    assert not torch.equal(attending[0].visual_BC, attending[1].visual_BC)
    torch.testing.assert_close(always.visual_BC, alone[0].visual_BC)


def test_visual_dropout_is_of_vision_in_training() -> None:
    network = han(visual_dropout=0.5)
    network.attention.eval()
    given = inputs()
    first, second = network(*given), network(*given)
    torch.testing.assert_close(first.audio_BC, second.audio_BC)
    torch.testing.assert_close(first.joint_BTMD, second.joint_BTMD)
    assert not torch.equal(first.visual_BC, second.visual_BC)
    network.eval()
    torch.testing.assert_close(network(*inputs()).visual_BC, network(*inputs()).visual_BC)


def test_features_of_equal_seconds_come_to_match_in_training(parsing_store, tmp_path: Path) -> None:
    config = replace(presets["tiny"], width=16, batch_size=16, epochs=6, val_every_epochs=6)
    found = {}
    for kind in KINDS:
        job = parsing_store.job(tmp_path, config=replace(config, nce=kind, nce_weight=4.0))
        parts = build(job, FeatureStore(parsing_store.layout.root), list(parsing_store.items))
        history = fit(parts, tmp_path / kind, seed=0, device="cpu").history
        found[kind] = [r["train/loss_contrast"] for r in history if "train/loss_contrast" in r]
    for steps in found.values():
        assert len(steps) == 24
        assert np.mean(steps[-4:]) < np.mean(steps[:4]) - 0.02


@pytest.mark.parametrize(
    "changes",
    [
        {"nce": "both"},
        {"nce_temperature": 0.0},
        {"nce_smoothing": 1.0},
        {"visual_dropout": -0.1},
        {"network": "base", "nce": "cross_entropy"},
        {"network": "base", "cross_attention": False},
    ],
)
def test_a_setting_that_cannot_work_is_refused(changes) -> None:
    with pytest.raises(ConfigError, match="avvp"):
        Config(**changes)
