"""What a player is: notes and frame times in; a posture and a drawn instrument for each frame out.

Each instrument has a class of its own in `players_held.py` and `players_struck.py`.
"""

from __future__ import annotations

from typing import Protocol

import numpy as np

from pipeline.demo import motion
from pipeline.demo.drawing import Colour, Pen, Vector
from pipeline.demo.figure import Posture
from pipeline.demo.score import Score


class Player(Protocol):
    """Draws one instrument and moves its performer; positions in body units (`figure.py`)."""

    def posture(self, frame: int) -> Posture:
        """Return where the performer's parts are in a frame."""
        ...

    def draw_behind(self, pen: Pen, frame: int) -> None:
        """Draw what the trunk or the arms hide."""
        ...

    def draw_front(self, pen: Pen, frame: int) -> None:
        """Draw what is in front of trunk and legs; the arms come after it."""
        ...

    def draw_tools(self, pen: Pen, frame: int) -> None:
        """Draw what the hands hold: bow, sticks."""
        ...


class Tracks:
    """What every player reads: tracks over the frames, made from the notes once.

    Attributes
    ----------
    effort, height, since_s : (frames,)
        As `motion.py` describes them.
    sway : (frames,)
        A slow swing of the trunk, radians, larger while playing.
    finish : three colours of the instrument, of the palette that all share.
    """

    SEATED = False

    def __init__(
        self, score: Score, times_s: np.ndarray, finish: list[Colour], rng: np.random.Generator
    ) -> None:
        self.score = score
        self.times_s = times_s
        self.finish = finish
        self.effort = motion.effort(score, times_s)
        self.height = motion.heights(score, times_s)
        self.since_s = motion.since_onset_s(score, times_s)
        swing = np.sin(2 * np.pi * rng.uniform(0.2, 0.45) * times_s + rng.uniform(0, 6))
        self.sway = rng.uniform(0.02, 0.05) * swing * (0.3 + 0.7 * self.effort)
        self.prepare()

    def prepare(self) -> None:
        """Make the instrument's own tracks; called once all the others are there."""

    def pulse(self, frame: int, fade_s: float = 0.15) -> float:
        """Return 1 at an onset, falling to 0 in about `fade_s`."""
        return float(np.exp(-self.since_s[frame] / fade_s))


def blend(rest: Vector, play: Vector, effort: float) -> Vector:
    """Return the point between `rest` (effort 0) and `play` (effort 1)."""
    return rest + (play - rest) * effort


def heading(direction: Vector) -> float:
    """Return the angle of a direction, radians, clockwise from +x."""
    return float(np.arctan2(direction[1], direction[0]))


def draw_stool(pen: Pen, colour: Colour) -> None:
    """Draw what a seated player sits on."""
    pen.lines([(-0.1, 0.04), (0.1, 0.04)], 0.04, colour)
    for side in (-1, 1):
        pen.lines([(0.07 * side, 0.05), (0.11 * side, 0.44)], 0.02, colour)
