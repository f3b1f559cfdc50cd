"""A range and a generator in, notes out: random melodies with phrases and rests.

The same notes drive the sound (`timbre.py`) and the player's hands (`players_*.py`).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

KICK, SNARE, HAT = 36, 38, 42
"""Pitches of the drum's parts, General MIDI's numbers."""

_SCALE = np.array([0, 2, 4, 7, 9])
_BEATS = np.array([0.5, 1.0, 1.5])


@dataclass(frozen=True, slots=True, kw_only=True)
class Note:
    """One note: seconds from the clip's start, MIDI pitch, strength 0-1.

    `height` is where the pitch lies in the player's range, 0 (lowest) to 1; hands follow it.
    """

    onset_s: float
    duration_s: float
    pitch: int
    strength: float
    height: float


Score = tuple[Note, ...]


def melody(
    rng: np.random.Generator, *, duration_s: float, lowest: int, highest: int, beat_s: float
) -> Score:
    """Return a random walk over a pentatonic scale, in phrases with rests between them.

    No note sounds past `duration_s`; notes do not overlap.
    """
    key = int(rng.integers(12))
    pitches = np.array([p for p in range(lowest, highest + 1) if (p - key) % 12 in _SCALE])
    step = int(rng.integers(len(pitches)))
    notes: list[Note] = []
    now_s, left = float(rng.uniform(0.1, 0.5)), int(rng.integers(5, 10))
    while True:
        length_s = beat_s * float(rng.choice(_BEATS, p=[0.35, 0.5, 0.15]))
        if now_s + length_s > duration_s - 0.05:
            return tuple(notes)
        step = _walk(rng, step, len(pitches))
        notes.append(
            Note(
                onset_s=now_s,
                duration_s=0.92 * length_s,
                pitch=int(pitches[step]),
                strength=float(rng.uniform(0.7, 1.0)),
                height=step / (len(pitches) - 1),
            )
        )
        now_s, left = now_s + length_s, left - 1
        if left == 0:
            now_s, left = now_s + float(rng.uniform(0.5, 1.1)), int(rng.integers(5, 10))


def _walk(rng: np.random.Generator, step: int, count: int) -> int:
    """Return another of `count` steps, at most three away; a walk turns round at the ends."""
    stride = int(rng.choice([-3, -2, -1, 1, 2, 3]))
    return step + stride if 0 <= step + stride < count else step - stride


def groove(rng: np.random.Generator, *, duration_s: float, beat_s: float) -> Score:
    """Return a drum pattern of one bar, varied from bar to bar, with a rest now and then.

    Parts may sound together; `height` is 0 for the kick, 0.5 for the snare, 1 for the hat.
    """
    step_s = beat_s / 2
    kick = rng.random(8) < [0.95, 0.1, 0.3, 0.2, 0.7, 0.1, 0.3, 0.2]
    snare = rng.random(8) < [0.05, 0.1, 0.9, 0.1, 0.05, 0.2, 0.9, 0.3]
    hat = rng.random(8) < 0.75
    parts = ((KICK, 0.0, kick), (SNARE, 0.5, snare), (HAT, 1.0, hat))
    notes: list[Note] = []
    now_s, left = float(rng.uniform(0.1, 0.5)), int(rng.integers(14, 26))
    step = 0
    while now_s + step_s < duration_s - 0.1:
        notes += [
            Note(
                onset_s=now_s,
                duration_s=0.2,
                pitch=pitch,
                strength=float(rng.uniform(0.7, 1.0)),
                height=height,
            )
            for pitch, height, pattern in parts
            if pattern[step % 8] != (rng.random() < 0.08)
        ]
        now_s, step, left = now_s + step_s, step + 1, left - 1
        if left == 0:
            now_s, left = now_s + float(rng.uniform(0.5, 1.0)), int(rng.integers(14, 26))
    return tuple(notes)
