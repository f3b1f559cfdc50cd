"""Players of percussion that the demo lacks: congas under bare hands, and the kit with a crash."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from pipeline.demo import motion
from pipeline.demo.drawing import Pen, Vector, vector
from pipeline.demo.figure import Posture
from pipeline.demo.players_struck import DrumKit, Struck
from pipeline.demo.score import HAT, Note
from pipeline.synthmusic.score import CRASH, LOW

_PALM = 0.075
"""From the wrist to the middle of the palm and fingers, body units."""


class Kit(DrumKit):
    """The demo's kit: the hand of the hat strikes the crash, too."""

    def prepare(self) -> None:
        """Make the paths of the sticks and the rings of the parts."""
        self.score = tuple(
            replace(note, pitch=HAT) if note.pitch == CRASH else note for note in self.score
        )
        super().prepare()


class Congas(Struck):
    """Standing between two tall barrels; palms fall on their skins, the hands in turn."""

    LOW_AT, HIGH_AT = vector(0.135, -0.02), vector(-0.135, -0.02)

    def prepare(self) -> None:
        """Make the paths of both palms and the rings of both skins."""
        self.right = self._palm(self.score[0::2], -1)
        self.left = self._palm(self.score[1::2], 1)
        self.low_ring = self._ring([n for n in self.score if n.pitch == LOW])
        self.high_ring = self._ring([n for n in self.score if n.pitch != LOW])

    def _palm(self, notes: tuple[Note, ...], side: int) -> np.ndarray:
        """Return the path of one palm; `side` is +1 for the left hand."""
        aside = vector(0.035 * side, 0.005)
        targets = [(self.LOW_AT if n.pitch == LOW else self.HIGH_AT) + aside for n in notes]
        rest = vector(0.135 * side, -0.06)
        return self._path(list(notes), targets, rest)

    def _ring(self, notes: list[Note]) -> np.ndarray:
        if not notes:
            return np.zeros(len(self.times_s))
        return np.exp(-motion.since_onset_s(tuple(notes), self.times_s) / 0.12)

    def _hand(self, tip: Vector, side: int) -> tuple[Vector, float]:
        """Return the wrist behind a palm, and the hand's angle."""
        angle = np.pi / 2 + 0.35 * side
        return tip - _PALM * vector(np.cos(angle), np.sin(angle)), angle

    def posture(self, frame: int) -> Posture:
        """Return the posture of a frame."""
        left, left_angle = self._hand(self.left[frame], 1)
        right, right_angle = self._hand(self.right[frame], -1)
        return Posture(
            left_wrist=left,
            right_wrist=right,
            left_hand_angle=left_angle,
            right_hand_angle=right_angle,
            left_fingers=0.05,
            right_fingers=0.05,
            lean=float(1.5 * self.sway[frame]),
            head_tilt=0.08 * self.pulse(frame),
        )

    def draw_front(self, pen: Pen, frame: int) -> None:
        """Draw both barrels; a struck skin widens."""
        rings = ((self.LOW_AT, self.low_ring, 1.0), (self.HIGH_AT, self.high_ring, 0.88))
        for at, ring, size in rings:
            wide = np.array([0.115, 0.13, 0.125, 0.10, 0.075]) * size
            depth = np.linspace(0.0, 0.47, 5)
            left = at + np.stack([-wide, depth], axis=1)
            right = at + np.stack([wide, depth], axis=1)
            pen.area([*left, *right[::-1]], self.finish[0])
            for stave in (-0.5, 0.0, 0.5):
                pen.lines(at + np.stack([stave * wide, depth], axis=1), 0.006, self.finish[2])
            for hoop in (0, 3):
                pen.lines([left[hoop], right[hoop]], 0.022, self.finish[2])
            grow = 1 + 0.10 * float(ring[frame])
            pen.oval(at, (wide[0] * grow, 0.036 * grow), 0.0, self.finish[2])
            pen.oval(at, (0.86 * wide[0] * grow, 0.028 * grow), 0.0, self.finish[1])

    def draw_tools(self, pen: Pen, frame: int) -> None:
        """Draw nothing: bare hands play."""
