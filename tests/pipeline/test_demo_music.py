"""Synthetic performers: what can be heard is what is played, and colours give nothing away."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path

import cv2
import mir_eval
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import signal

from pipeline.demo.figure import FORE_ARM, UPPER_ARM, Posture, mirrored, skeleton
from pipeline.demo.music_clip import MusicClip, stage
from pipeline.demo.plan import INSTRUMENTS, MusicPlan, plan_demo
from pipeline.demo.score import groove, melody
from pipeline.demo.timbre import RATE_HZ
from pipeline.demo.writer import write_alphapose

FPS = 16
SIDE_PX = 128
PLANS = plan_demo("demo", 0).music
SOLOS = [plan for plan in PLANS if len(plan.instruments) == 1]


@cache
def staged(plan: MusicPlan) -> MusicClip:
    return stage(plan, side_px=SIDE_PX, fps=FPS)


@given(st.integers(0, 1000))
def test_a_melody_keeps_to_its_range_and_has_rests(seed):
    score = melody(np.random.default_rng(seed), duration_s=11.0, lowest=60, highest=74, beat_s=0.4)
    ends = [note.onset_s + note.duration_s for note in score]
    gaps = [later.onset_s - end for later, end in zip(score[1:], ends, strict=False)]
    assert all(60 <= note.pitch <= 74 and 0 <= note.height <= 1 for note in score)
    assert min(gaps) >= 0
    assert max(gaps) > 0.4
    assert ends[-1] <= 11.0


@given(st.integers(0, 200))
def test_a_groove_stays_in_the_clip(seed):
    score = groove(np.random.default_rng(seed), duration_s=6.3, beat_s=0.5)
    assert score
    assert all(note.onset_s + note.duration_s <= 6.4 for note in score)


@given(*[st.floats(-0.3, 0.3) for _ in range(4)], st.floats(-0.1, 0.1))
def test_arms_have_one_length_wherever_the_hand_is(x, y, far_x, far_y, lean):
    posture = Posture(
        left_wrist=np.array([x + 0.1, y - 0.2]), right_wrist=np.array([far_x, far_y]), lean=lean
    )
    joints = skeleton(posture)
    for shoulder, elbow, wrist in ((5, 7, 9), (6, 8, 10)):
        assert np.hypot(*(joints[elbow] - joints[shoulder])) == pytest.approx(UPPER_ARM)
        reach = np.hypot(*(joints[wrist] - joints[shoulder]))
        if UPPER_ARM - FORE_ARM + 1e-3 < reach < UPPER_ARM + FORE_ARM - 1e-3:
            assert np.hypot(*(joints[wrist] - joints[elbow])) == pytest.approx(FORE_ARM, abs=1e-6)


def test_a_mirror_image_of_a_mirror_image_is_the_figure():
    joints = skeleton(Posture(left_wrist=np.array([0.2, -0.2]), right_wrist=np.array([-0.1, 0.0])))
    assert np.allclose(mirrored(mirrored(joints)), joints)
    assert np.allclose(mirrored(joints)[9], joints[10] * (-1, 1))


@pytest.mark.parametrize("instrument", INSTRUMENTS)
def test_hands_move_with_the_notes(instrument):
    speeds = {True: [], False: []}
    for plan in [plan for plan in SOLOS if plan.instruments == (instrument,)][:4]:
        clip = staged(plan)
        joints = clip.performers[0].body_joints
        parts = np.array_split(clip.sound, len(joints))
        sounding = np.array([np.sqrt(np.mean(part**2)) for part in parts]) > 0.005
        near = np.convolve(sounding, np.ones(15), mode="same") > 0
        speed = np.abs(np.diff(joints[:, 94:], axis=0)).sum(axis=2).mean(axis=1)
        speeds[True] += list(speed[sounding[1:]])
        speeds[False] += list(speed[~near[1:]])
    assert np.mean(speeds[True]) > 0.003
    assert np.mean(speeds[True]) > 2 * np.mean(speeds[False] or [0.0])


@pytest.mark.parametrize("name", ["violin_00", "tuba_03", "drum+violin"])
def test_joints_lie_on_the_picture_of_the_performer(name):
    clip = staged(next(plan for plan in PLANS if plan.name == name))
    frames = [clip.picture(index) for index in range(0, 60, 6)]
    for performer in clip.performers:
        nose = performer.joints_px()[:60:6, 0]
        seen = [frame[round(y), round(x)] for frame, (x, y) in zip(frames, nose, strict=True)]
        error = np.abs(np.array(seen, float) - performer.look.skin).max(axis=1)
        assert np.median(error) < 12


def test_poses_are_written_as_alphapose_writes_them(tmp_path: Path):
    performer = staged(PLANS[0]).performers[0]
    joints_px = performer.joints_px()[None]
    write_alphapose(tmp_path / "a.json", joints_px, np.random.default_rng(0))
    entries = json.loads((tmp_path / "a.json").read_text())
    numbers = [int(entry["image_id"].removesuffix(".jpg")) for entry in entries]
    assert numbers == sorted(set(numbers))
    assert 0.9 * joints_px.shape[1] < len(numbers) <= joints_px.shape[1]
    for number, entry in zip(numbers, entries, strict=True):
        keypoints = np.array(entry["keypoints"]).reshape(136, 3)
        x, y, width, height = entry["box"]
        assert entry["category_id"] == 1
        assert np.abs(keypoints[:, :2] - joints_px[0, number]).max() < 0.05 * height
        assert (keypoints[:, 2] > 0.5).all()
        assert x <= joints_px[0, number, :, 0].min()
        assert y + height >= joints_px[0, number, :, 1].max()
        assert width > 0


def _accuracy(features: np.ndarray, classes: np.ndarray) -> float:
    """Return the better of leave-one-out 1-NN and leave-one-out ridge regression."""
    scaled = (features - features.mean(0)) / (features.std(0) + 1e-9)
    distance = ((scaled[:, None] - scaled[None]) ** 2).sum(-1)
    np.fill_diagonal(distance, np.inf)
    nearest = np.mean(classes[distance.argmin(1)] == classes)
    names = np.unique(classes)
    targets = (classes[:, None] == names) * 1.0
    design = np.hstack([scaled, np.ones((len(scaled), 1))])
    hat = design @ np.linalg.solve(design.T @ design + 30 * np.eye(design.shape[1]), design.T)
    own = np.diag(hat)[:, None]
    left_out = (hat @ targets - own * targets) / (1 - own)
    return max(nearest, np.mean(names[left_out.argmax(1)] == classes))


def _histogram(picture: np.ndarray) -> np.ndarray:
    hsv = cv2.cvtColor(picture, cv2.COLOR_BGR2HSV)
    planes = [*np.moveaxis(picture, 2, 0), *np.moveaxis(hsv, 2, 0)]
    return np.concatenate([np.histogram(plane, 8, (0, 256))[0] for plane in planes])


def test_colours_do_not_give_the_class_away_but_poses_do():
    frame = 20
    pictures = [staged(plan).picture(frame) for plan in SOLOS]
    classes = np.array([plan.instruments[0] for plan in SOLOS])
    chance = 1 / len(INSTRUMENTS)
    mean_colours = np.stack([picture.reshape(-1, 3).mean(0) for picture in pictures])
    assert _accuracy(mean_colours, classes) < chance + 0.16
    assert _accuracy(np.stack([_histogram(p) for p in pictures]), classes) < chance + 0.16
    backdrops = np.stack([_histogram(staged(plan).backdrop) for plan in SOLOS])
    assert _accuracy(backdrops, classes) < chance + 0.16
    joints = np.stack([staged(plan).performers[0].joints_px()[frame, :26] for plan in SOLOS])
    joints = (joints - joints[:, 19:20]) / np.ptp(joints[..., 1], axis=1)[:, None, None]
    assert _accuracy(joints.reshape(len(SOLOS), -1), classes) > 0.75


def _spectrum(sound: np.ndarray) -> np.ndarray:
    return signal.stft(sound, nperseg=1022, noverlap=766, window="hann")[2]


@pytest.mark.filterwarnings("ignore:mir_eval.separation:FutureWarning")
@pytest.mark.filterwarnings("ignore:mir_eval.separation:DeprecationWarning")
def test_mixtures_can_be_separated_by_a_coarse_mask():
    tests = [plan for plan in SOLOS if plan.split == "test"][::2]
    sounds = {}
    for plan in tests:
        clip = signal.resample_poly(staged(plan).sound[: 6 * RATE_HZ].astype(float), 1, 2)
        sounds[plan.instruments[0]] = clip
    gains = []
    for one, other in (("violin", "flute"), ("tuba", "drum"), ("drum", "violin")):
        sources = np.stack([sounds[one], sounds[other]])
        first, second = (abs(_spectrum(sound)) for sound in sources)
        blocks = [cv2.resize(m, (64, 64), interpolation=cv2.INTER_AREA) for m in (first, second)]
        mask = cv2.resize(
            (blocks[0] > blocks[1]) * 1.0, first.shape[::-1], interpolation=cv2.INTER_NEAREST
        )
        mixture = _spectrum(sources.sum(0))
        estimates = [
            signal.istft(mixture * m, nperseg=1022, noverlap=766)[1] for m in (mask, 1 - mask)
        ]
        length = sources.shape[1]
        sdr, *_ = mir_eval.separation.bss_eval_sources(
            sources, np.stack([e[:length] for e in estimates]), compute_permutation=False
        )
        gains.append(sdr.mean())
    assert np.mean(gains) > 8
