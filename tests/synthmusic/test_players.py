"""Notes in range, performers within reach: they move with the notes, their postures differ."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.datasets.classes import MUSIC21
from pipeline.demo.figure import FORE_ARM, UPPER_ARM
from pipeline.demo.music_clip import Band, MusicClip, stage
from pipeline.demo.plan import MusicPlan
from pipeline.demo.score import HAT, KICK, SNARE, Score
from pipeline.demo.timbre import RATE_HZ
from pipeline.synthmusic.instruments import INSTRUMENTS
from pipeline.synthmusic.plan import plan_synthmusic
from pipeline.synthmusic.players import PLAYERS
from pipeline.synthmusic.score import CRASH, LOW, MUTED, OPEN, is_melody, play

FPS = 8
SIDE_PX = 96
PLANS = plan_synthmusic("synthmusic", "small", 0, soundfont="any.sf2").clips


def silence(_: str, __: Score, duration_s: float, ___: np.random.Generator) -> np.ndarray:
    return np.zeros(round(duration_s * RATE_HZ), np.float32)


BAND = Band(players=PLAYERS, score=play, sound=silence)


@cache
def staged(plan: MusicPlan) -> MusicClip:
    return stage(plan, side_px=SIDE_PX, fps=FPS, band=BAND)


def solos(name: str) -> list[MusicPlan]:
    return [plan for plan in PLANS if plan.instruments == (name,)]


@settings(max_examples=40)
@given(st.sampled_from(MUSIC21), st.integers(0, 500))
def test_notes_stay_in_the_clip_and_in_the_range(name: str, seed: int) -> None:
    score, instrument = play(name, 6.3, np.random.default_rng(seed)), INSTRUMENTS[name]
    onsets = [note.onset_s for note in score]
    assert onsets == sorted(onsets)
    assert onsets[0] >= 0
    assert all(note.onset_s + note.duration_s <= 6.4 for note in score)
    assert all(0 <= note.height <= 1 and 0 < note.strength <= 1 for note in score)
    pitches = {note.pitch for note in score}
    if name == "drum":
        assert pitches <= {KICK, SNARE, HAT, CRASH}
    elif name == "congas":
        assert pitches <= {MUTED, OPEN, LOW}
    else:
        assert min(pitches) >= instrument.lowest - 26
        assert max(pitches) <= instrument.highest + 7
        assert any(is_melody(note, instrument) for note in score)


def test_styles_are_played_differently() -> None:
    """How many notes sound at once, and how many begin in a second."""
    density, chords = {}, {}
    for name in MUSIC21:
        scores = [play(name, 10.0, np.random.default_rng(seed)) for seed in range(6)]
        density[name] = np.mean([len(score) for score in scores]) / 10
        times_s = np.arange(0, 10, 0.05)
        chords[name] = max(
            sum(note.onset_s <= t < note.onset_s + note.duration_s for note in score)
            for score in scores
            for t in times_s
        )
    assert {name for name, count in chords.items() if count >= 3} >= {"piano", "accordion"}
    assert chords["bagpipe"] == 2
    assert all(chords[n] == 1 for n in ("flute", "cello", "trumpet", "banjo", "electric_bass"))
    assert density["banjo"] > 1.5 * density["cello"]
    assert density["pipa"] > 1.5 * density["guzheng"]


@pytest.mark.parametrize("name", MUSIC21)
def test_hands_move_with_the_notes_and_within_reach(name: str) -> None:
    moved = {True: [0.0], False: [0.0]}
    for plan in solos(name)[:4]:
        joints = staged(plan).performers[0].body_joints
        for shoulder, wrist in ((5, 9), (6, 10)):
            reach = np.hypot(*(joints[:, wrist] - joints[:, shoulder]).T)
            assert reach.max() < UPPER_ARM + FORE_ARM + 0.03
        speed = np.abs(np.diff(joints[:, 94:], axis=0)).sum(axis=2).mean(axis=1)
        player = staged(plan).performers[0].player
        busy = player.effort[1:] > 0.9  # type: ignore[attr-defined]
        quiet = player.effort[1:] < 0.05  # type: ignore[attr-defined]
        moved[True] += list(speed[busy])
        moved[False] += list(speed[quiet])
    assert np.mean(moved[True]) > 0.003
    assert np.mean(moved[True]) > 1.5 * np.mean(moved[False])


def _accuracy(train: np.ndarray, test: np.ndarray, classes: list[np.ndarray]) -> float:
    """Return the share of test rows whose nearest training row is of their class."""
    mean, deviation = train.mean(0), train.std(0) + 1e-6
    train, test = (train - mean) / deviation, (test - mean) / deviation
    distance = ((test[:, None] - train[None]) ** 2).sum(-1)
    return float(np.mean(classes[0][distance.argmin(1)] == classes[1]))


def test_postures_tell_classes_apart_and_colours_do_not() -> None:
    poses, colours, names = [], [], []
    for split in ("train", "test"):
        plans = [p for p in PLANS if p.split == split and len(p.instruments) == 1]
        clips = [staged(plan) for plan in plans]
        joints = np.stack([c.performers[0].joints_px()[16:40:4, :26] for c in clips])
        joints = (joints - joints[:, :, 19:20]) / (np.ptp(joints[..., 1], axis=2)[..., None, None])
        poses.append(joints.reshape(len(clips), -1))
        colours.append(np.stack([c.picture(20).reshape(-1, 3).mean(0) for c in clips]))
        names.append(np.array([plan.instruments[0] for plan in plans]))
    assert _accuracy(*poses, names) > 0.6
    assert _accuracy(*colours, names) < 1 / 21 + 0.12


@pytest.mark.parametrize("name", ["piano", "bassoon", "pipa"])
def test_the_instrument_is_in_the_picture_with_the_joints_on_the_performer(name: str) -> None:
    clip = staged(solos(name)[1])
    (performer,) = clip.performers
    nose = performer.joints_px()[:, 0]
    seen = [clip.picture(i)[round(nose[i, 1]), round(nose[i, 0])] for i in range(0, 40, 5)]
    assert np.median(np.abs(np.array(seen, float) - performer.look.skin).max(axis=1)) < 14
    changed = np.abs(clip.picture(20).astype(int) - clip.backdrop).max(axis=2) > 40
    assert changed.mean() > 0.08


def test_two_play_side_by_side() -> None:
    plan = next(plan for plan in PLANS if len(plan.instruments) == 2)
    left, right = (p.joints_px()[:, 19, 0].mean() for p in staged(plan).performers)
    assert right - left > 0.3 * SIDE_PX
