"""Notes and frame times in, smooth tracks over the frames out: who plays when, and where hands are.

Every track has one row a frame; the players turn tracks into postures.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from pipeline.demo.score import Score


def effort(score: Score, times_s: np.ndarray) -> np.ndarray:
    """Return 0 where the player rests to 1 where they play, smooth, shape (frames,).

    A short rest only begins to lower the hands.
    """
    onsets = np.array([note.onset_s for note in score])
    ends = np.array([note.onset_s + note.duration_s for note in score])
    since = times_s[:, None] - onsets[None]
    playing = ((since > -0.25) & (times_s[:, None] < ends[None] + 0.2)).any(axis=1)
    return smooth(playing.astype(float), times_s, width_s=0.7)


def smooth(track: np.ndarray, times_s: np.ndarray, *, width_s: float) -> np.ndarray:
    """Return `track` averaged over a window of `width_s`, edges repeated."""
    hop_s = times_s[1] - times_s[0]
    reach = max(1, round(width_s / hop_s / 2))
    kernel = np.hanning(2 * reach + 3)[1:-1]
    padded = np.pad(track, (reach, reach), mode="edge")
    return np.convolve(padded, kernel / kernel.sum(), mode="valid")


def note_at(score: Score, times_s: np.ndarray) -> np.ndarray:
    """Return the index of the last note that has begun, or of the first note, shape (frames,)."""
    onsets = np.array([note.onset_s for note in score])
    return np.clip(np.searchsorted(onsets, times_s, side="right") - 1, 0, len(score) - 1)


def heights(score: Score, times_s: np.ndarray) -> np.ndarray:
    """Return where the note played lies in the range, 0-1, gliding from note to note."""
    height = np.array([note.height for note in score])[note_at(score, times_s)]
    return smooth(height, times_s, width_s=0.15)


def since_onset_s(score: Score, times_s: np.ndarray) -> np.ndarray:
    """Return the seconds since the last onset (large before the first), shape (frames,)."""
    onset_s = np.array([note.onset_s for note in score])[note_at(score, times_s)]
    since = times_s - onset_s
    return np.where(since < 0, 99.0, since)


def strokes(score: Score, times_s: np.ndarray) -> np.ndarray:
    """Return -1 to 1: a bow that runs one way for the length of a note, then back for the next."""
    index = note_at(score, times_s)
    onset_s = np.array([note.onset_s for note in score])[index]
    duration_s = np.array([note.duration_s for note in score])[index]
    phase = np.clip((times_s - onset_s) / duration_s, 0, 1)
    travel = -np.cos(np.pi * phase) * np.clip(duration_s / 0.7, 0.55, 1.0)
    return np.where(index % 2 == 0, travel, -travel)


def hits(
    strike_s: Sequence[float],
    targets: np.ndarray,
    rest: np.ndarray,
    times_s: np.ndarray,
    *,
    lift: float,
) -> np.ndarray:
    """Return the path of a stick's tip, (frames, 2): on target at each strike, else lifted.

    Parameters
    ----------
    strike_s : (n,) increasing seconds.
    targets : (n, 2) where each strike lands.
    rest : (2,) where the tip waits when no strike is near.
    lift : how high it rises between two strikes (up is negative y).
    """
    knots_s, knots, high = [-1.0], [rest], []
    for moment_s, target in zip(strike_s, targets, strict=True):
        if moment_s - knots_s[-1] > 0.9:
            knots_s += [max(knots_s[-1] + 0.35, moment_s - 0.5)]
            knots += [rest]
            high += [0.3]
        knots_s.append(moment_s)
        knots.append(target)
        high.append(1.0)
    knots_s += [knots_s[-1] + 0.4, times_s[-1] + 99.0]
    knots += [rest, rest]
    high += [0.3, 0.0]
    after = np.clip(np.searchsorted(knots_s, times_s, side="right"), 1, len(knots_s) - 1)
    start_s, end_s = np.array(knots_s)[after - 1], np.array(knots_s)[after]
    phase = np.clip((times_s - start_s) / (end_s - start_s), 0, 1)
    ease = phase * phase * (3 - 2 * phase)
    place = np.array(knots)
    path = place[after - 1] + (place[after] - place[after - 1]) * ease[:, None]
    path[:, 1] -= lift * np.array(high)[after - 1] * np.sin(np.pi * phase**1.3)
    return path
