"""Players of cello and erhu: upright before a seated player, a level bow, the hand on the neck."""

from __future__ import annotations

import numpy as np

from pipeline.demo.drawing import Pen, Vector, rotation, vector
from pipeline.demo.figure import Posture
from pipeline.demo.player import heading
from pipeline.demo.players_held import Bowed, fingering


class Upright(Bowed):
    """What both share: `axis` is the direction up the neck, `NUT` where the lowest note is held."""

    SEATED = True
    LEAN_ANGLE = -np.pi / 2
    NUT, SHIFT = 0.40, 0.20
    HEAD_TILT = 0.0

    def axis(self, frame: int) -> Vector:
        """Return the direction up the neck."""
        return rotation(self.LEAN_ANGLE + 0.6 * self.sway[frame]) @ vector(1, 0)

    def posture(self, frame: int) -> Posture:
        """Return the posture of a frame."""
        frog, along = self.bow_at(frame)
        left = self.BRIDGE + self.axis(frame) * (self.NUT - self.SHIFT * self.height[frame])
        shake = 0.008 * np.sin(2 * np.pi * 5 * self.times_s[frame]) * self.effort[frame]
        return Posture(
            left_wrist=left + vector(0.055, 0.02 + shake),
            right_wrist=frog - along * 0.05,
            left_hand_angle=-2.5,
            right_hand_angle=heading(along),
            left_fingers=fingering(self.height[frame], self.pulse(frame)),
            right_fingers=0.7,
            lean=float(self.sway[frame]),
            head_tilt=self.HEAD_TILT,
            seated=self.SEATED,
        )


class Cello(Upright):
    """Between the knees, as large as the trunk; the neck passes the left ear."""

    BRIDGE = vector(0.04, -0.02)
    BOW_ANGLE, BOW_NEAR, BOW_TRAVEL = 0.04, 0.165, 0.075
    BOW_REST = vector(-0.22, 0.0)
    LEAN_ANGLE = -1.40
    NUT, SHIFT = 0.40, 0.22
    HEAD_TILT = -0.10

    def draw_front(self, pen: Pen, frame: int) -> None:
        """Draw the cello."""
        axis = self.axis(frame)
        across, angle = vector(-axis[1], axis[0]), heading(axis)
        base = self.BRIDGE - axis * 0.10
        pen.lines([base - axis * 0.15, base - axis * 0.36], 0.014, self.finish[2])
        for shift, length, wide in ((-0.05, 0.15, 0.165), (0.17, 0.11, 0.125), (0.06, 0.13, 0.10)):
            pen.oval(base + axis * shift, (length, wide), angle, self.finish[0])
        pen.lines([base + axis * 0.10, base + axis * 0.56], 0.03, self.finish[1])
        pen.disc(base + axis * 0.59, 0.026, self.finish[0])
        for side in (-1, 1):
            hole = base + across * (0.065 * side)
            pen.lines([hole + axis * 0.02, hole + axis * 0.12], 0.014, self.finish[1])
        pen.lines([base - axis * 0.14, base - axis * 0.02], 0.035, self.finish[1])
        bridge = self.BRIDGE - axis * 0.03
        pen.lines([bridge - across * 0.04, bridge + across * 0.04], 0.016, self.finish[2])
        for offset in (-0.012, 0.0, 0.012):
            string = across * offset
            pen.lines([base - axis * 0.04 + string, base + axis * 0.55 + string], 0.004,
                      self.finish[2])  # fmt: skip


class Erhu(Upright):
    """A small drum on the left thigh, a thin bare stick with two long pegs; the bow lies low."""

    BRIDGE = vector(0.11, -0.035)
    BOW_ANGLE, BOW_NEAR, BOW_TRAVEL = -0.10, 0.155, 0.085
    BOW_REST = vector(-0.10, 0.06)
    LEAN_ANGLE = -1.50
    NUT, SHIFT = 0.36, 0.20
    HEAD_TILT = 0.06

    def draw_front(self, pen: Pen, frame: int) -> None:
        """Draw the erhu."""
        axis = self.axis(frame)
        across = vector(-axis[1], axis[0])
        box = self.BRIDGE - axis * 0.055
        pen.lines([box - axis * 0.06, box + axis * 0.60], 0.018, self.finish[1])
        for step, length in ((0.50, 0.10), (0.56, 0.10)):
            peg = box + axis * step
            pen.lines([peg, peg - across * length], 0.02, self.finish[1])
            pen.disc(peg - across * length, 0.015, self.finish[2])
        pen.lines([box + axis * 0.60, box + axis * 0.62 + across * 0.03], 0.022, self.finish[1])
        turn = np.arange(6) * np.pi / 3
        ring = np.stack([np.cos(turn), np.sin(turn)], axis=1)
        pen.area(box + 0.068 * ring, self.finish[0])
        pen.area(box + 0.046 * ring, self.finish[2])
        pen.lines([box + axis * 0.33 - across * 0.03, box + axis * 0.33], 0.01, self.finish[2])
        for side in (-0.03, -0.018):
            pen.lines([box + across * side / 3, box + axis * 0.5 + across * side], 0.004,
                      self.finish[2])  # fmt: skip
