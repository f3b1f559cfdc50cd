"""Players of banjo, ukulele, electric bass and pipa: shapes and postures of their own on one way of
playing, the left hand on the neck and the right hand at the strings.
"""

from __future__ import annotations

import numpy as np

from pipeline.demo import motion
from pipeline.demo.drawing import Pen, Vector, oval_points, rotation, vector
from pipeline.demo.figure import Posture
from pipeline.demo.player import heading
from pipeline.demo.players_held import Necked


class Banjo(Necked):
    """Seated; a round drum with a rim on the lap, a long thin neck raised; the fingers roll."""

    SEATED = True
    HOLE = vector(-0.07, -0.06)
    ANGLE, STRUM = -0.62, 0.022
    NECK_FAR, NECK_SHIFT = 0.42, 0.18
    HEAD_TILT = 0.2

    def right_fingers(self, frame: int) -> Vector | float:
        """Return a hand of which another finger is bent at each note."""
        fingers = np.full(5, 0.35)
        fingers[int(motion.note_at(self.score, self.times_s[frame : frame + 1])[0]) % 4] = 0.95
        return fingers

    def draw_front(self, pen: Pen, frame: int) -> None:
        """Draw the banjo."""
        axis = self.neck(frame)
        pen.lines([self.HOLE, self.HOLE + axis * 0.50], 0.026, self.finish[1])
        pen.lines([self.HOLE + axis * 0.50, self.HOLE + axis * 0.57], 0.042, self.finish[1])
        pen.disc(self.HOLE + axis * 0.35 - vector(-axis[1], axis[0]) * 0.03, 0.012, self.finish[2])
        shake = 0.006 * self.pulse(frame, 0.1)
        pen.disc(self.HOLE, 0.125, self.finish[1])
        pen.disc(self.HOLE, 0.10 + shake, self.finish[0])
        for turn in np.linspace(0, 2 * np.pi, 12, endpoint=False):
            pen.disc(self.HOLE + rotation(turn) @ vector(0.113, 0.0), 0.009, self.finish[2])
        self.draw_strings(pen, frame, -0.07, 0.54)


class Ukulele(Necked):
    """Standing; a little guitar held high against the chest; the whole hand strums, wide."""

    HOLE = vector(-0.05, -0.19)
    ANGLE, STRUM = -0.22, 0.075
    NECK_FAR, NECK_SHIFT = 0.27, 0.09
    HAND_OFFSET, HAND_REST = vector(-0.07, -0.01), vector(-0.16, -0.10)
    HEAD_TILT = 0.18

    def right_fingers(self, frame: int) -> Vector | float:
        """Return an open hand, of which the forefinger strums."""
        return np.array([0.2, 0.1, 0.7, 0.8, 0.8])

    def draw_front(self, pen: Pen, frame: int) -> None:
        """Draw the ukulele."""
        axis = self.neck(frame)
        angle = heading(axis)
        pen.lines([self.HOLE, self.HOLE + axis * 0.25], 0.026, self.finish[1])
        pen.lines([self.HOLE + axis * 0.25, self.HOLE + axis * 0.31], 0.042, self.finish[0])
        pen.oval(self.HOLE - axis * 0.055, (0.07, 0.078), angle, self.finish[0])
        pen.oval(self.HOLE + axis * 0.04, (0.055, 0.062), angle, self.finish[0])
        pen.disc(self.HOLE, 0.024, self.finish[2])
        self.draw_strings(pen, frame, -0.08, 0.28)


class ElectricBass(Necked):
    """Standing; a slim horned body at the hip on a strap, a very long neck; two fingers pluck."""

    HOLE = vector(-0.07, 0.0)
    ANGLE, STRUM = -0.30, 0.014
    NECK_FAR, NECK_SHIFT = 0.38, 0.20
    HAND_OFFSET, HAND_REST = vector(-0.03, -0.045), vector(-0.17, -0.02)
    HEAD_TILT = 0.0
    _BODY = (
        (-0.19, -0.07), (-0.10, -0.085), (-0.02, -0.06), (0.07, -0.10), (0.12, -0.095),
        (0.075, -0.035), (0.07, 0.03), (0.10, 0.075), (0.05, 0.085), (-0.03, 0.06),
        (-0.11, 0.09), (-0.19, 0.075), (-0.215, 0.0),
    )  # fmt: skip

    def posture(self, frame: int) -> Posture:
        """Return the posture of a frame: the head nods with each note."""
        held = super().posture(frame)
        nod = 0.12 * self.pulse(frame, 0.2) * float(self.effort[frame])
        return Posture(
            left_wrist=held.left_wrist,
            right_wrist=held.right_wrist,
            left_hand_angle=held.left_hand_angle,
            right_hand_angle=0.9,
            left_fingers=held.left_fingers,
            right_fingers=self.right_fingers(frame),
            lean=held.lean,
            head_tilt=-0.05 + nod,
        )

    def right_fingers(self, frame: int) -> Vector | float:
        """Return a hand of which fore and middle finger pluck in turn."""
        turn = int(motion.note_at(self.score, self.times_s[frame : frame + 1])[0]) % 2
        fingers = np.array([0.2, 0.3, 0.3, 0.8, 0.8])
        fingers[1 + turn] = 0.3 + 0.6 * self.pulse(frame)
        return fingers

    def draw_front(self, pen: Pen, frame: int) -> None:
        """Draw the strap and the bass."""
        axis = self.neck(frame)
        turn = rotation(heading(axis)).T
        pen.lines([(0.10, -0.31), (-0.12, -0.02)], 0.03, self.finish[2])
        pen.area(self.HOLE + np.array(self._BODY) @ turn, self.finish[0])
        pen.lines([self.HOLE, self.HOLE + axis * 0.47], 0.026, self.finish[1])
        head = np.array([(0.46, -0.02), (0.56, -0.035), (0.57, 0.0), (0.46, 0.02)])
        pen.area(self.HOLE + head @ turn, self.finish[0])
        for place in (-0.09, -0.03):
            across = vector(-axis[1], axis[0]) * 0.035
            pickup = self.HOLE + axis * place
            pen.lines([pickup - across, pickup + across], 0.02, self.finish[2])
        self.draw_strings(pen, frame, -0.16, 0.52)


class Pipa(Necked):
    """Seated; a pear held upright on the lap, its neck beside the head; the fingers roll."""

    SEATED = True
    HOLE = vector(0.02, -0.09)
    ANGLE, STRUM = -1.22, 0.03
    NECK_FAR, NECK_SHIFT = 0.36, 0.20
    HAND_OFFSET, HAND_REST = vector(-0.08, 0.01), vector(-0.17, 0.0)
    LEFT_HAND_ANGLE = -2.6
    HEAD_TILT = -0.08
    _BODY = (
        (-0.17, 0.0), (-0.16, -0.07), (-0.11, -0.12), (-0.03, -0.125), (0.06, -0.095),
        (0.15, -0.055), (0.26, -0.024), (0.26, 0.024), (0.15, 0.055), (0.06, 0.095),
        (-0.03, 0.125), (-0.11, 0.12), (-0.16, 0.07),
    )  # fmt: skip

    def right_fingers(self, frame: int) -> Vector | float:
        """Return fingers that flick out one after the other while notes repeat."""
        index = int(motion.note_at(self.score, self.times_s[frame : frame + 1])[0])
        return np.roll(np.array([0.1, 0.9, 0.7, 0.4, 0.2]), index)

    def draw_front(self, pen: Pen, frame: int) -> None:
        """Draw the pipa."""
        axis = self.neck(frame)
        turn = rotation(heading(axis)).T
        pen.area(self.HOLE + np.array(self._BODY) @ turn, self.finish[0])
        pen.lines([self.HOLE + axis * 0.24, self.HOLE + axis * 0.44], 0.034, self.finish[1])
        across = vector(-axis[1], axis[0])
        for step, side in ((0.42, 1), (0.445, -1), (0.47, 1), (0.495, -1)):
            peg = self.HOLE + axis * step
            pen.lines([peg, peg + across * (0.05 * side)], 0.014, self.finish[2])
        crook = self.HOLE + axis * 0.44
        pen.lines([crook, crook + axis * 0.07, crook + axis * 0.09 - across * 0.03], 0.03,
                  self.finish[1])  # fmt: skip
        for step in range(6):
            fret = self.HOLE + axis * (0.07 + 0.035 * step)
            pen.lines([fret - across * 0.028, fret + across * 0.028], 0.008, self.finish[1])
        pen.lines(oval_points(self.HOLE - axis * 0.10, (0.012, 0.045), heading(axis)), 0.012,
                  self.finish[2], closed=True)  # fmt: skip
        self.draw_strings(pen, frame, -0.10, 0.44)
