"""Players of clarinet, saxophone, trumpet, bassoon and bagpipe: breath in the trunk, keys under
the fingers, and for each its own shape and way to be held.
"""

from __future__ import annotations

import numpy as np

from pipeline.demo import motion
from pipeline.demo.drawing import Colour, Pen, Vector, rotation, vector
from pipeline.demo.figure import MOUTH, Posture
from pipeline.demo.players_held import Held, fingering


def flare(
    pen: Pen,
    end: Vector,
    axis: Vector,
    size: tuple[float, float, float],
    colours: tuple[Colour, Colour],
) -> None:
    """Draw a bell that widens along `axis` up to `end`: `size` is its throat, mouth and length."""
    throat, mouth, length = size
    across = vector(-axis[1], axis[0])
    start = end - axis * length
    pen.area(
        [start - across * throat, start + across * throat, end + across * mouth,
         end - across * mouth],
        colours[0],
    )  # fmt: skip
    pen.oval(end, (0.35 * mouth, mouth), float(np.arctan2(axis[1], axis[0])), colours[1])


class Clarinet(Held):
    """A straight black-stick shape down from the mouth; it swings from side to side."""

    def _axis(self, frame: int) -> Vector:
        lowered = 0.28 * (1 - self.effort[frame])
        swing = 4.0 * self.sway[frame] + 0.10 * (self.height[frame] - 0.5)
        return rotation(np.pi / 2 + 0.08 + swing - lowered) @ vector(1, 0)

    def posture(self, frame: int) -> Posture:
        """Return the posture of a frame."""
        axis, pulse, height = self._axis(frame), self.pulse(frame), float(self.height[frame])
        return Posture(
            left_wrist=MOUTH + axis * 0.15 + vector(0.075, 0.02),
            right_wrist=MOUTH + axis * 0.30 + vector(-0.075, 0.02),
            left_hand_angle=-2.9,
            right_hand_angle=-0.25,
            left_fingers=fingering(1 - height, pulse),
            right_fingers=fingering(height, pulse),
            lean=float(self.sway[frame]),
            head_tilt=0.04 * pulse,
        )

    def draw_front(self, pen: Pen, frame: int) -> None:
        """Draw the clarinet."""
        axis = self._axis(frame)
        pen.lines([MOUTH, MOUTH + axis * 0.07], 0.018, self.finish[2])
        pen.lines([MOUTH + axis * 0.06, MOUTH + axis * 0.46], 0.034, self.finish[0])
        for step in range(9):
            pen.disc(MOUTH + axis * (0.12 + 0.036 * step), 0.010, self.finish[2])
        across = vector(-axis[1], axis[0]) * 0.02
        for along in (0.10, 0.24, 0.38):
            ring = MOUTH + axis * along
            pen.lines([ring - across, ring + across], 0.012, self.finish[1])
        end = MOUTH + axis * 0.52
        flare(pen, end, axis, (0.018, 0.048, 0.08), (self.finish[0], self.finish[1]))


class Saxophone(Held):
    """A thick bent tube at the right side, its bell turned up; the player rocks with it."""

    _TUBE = (
        (0.0, 0.0), (-0.05, -0.015), (-0.085, 0.02), (-0.105, 0.13), (-0.125, 0.27),
        (-0.14, 0.39), (-0.125, 0.445), (-0.08, 0.465), (-0.035, 0.44), (-0.015, 0.37),
    )  # fmt: skip

    def _turn(self, frame: int) -> Vector:
        rock = 0.13 * self.pulse(frame, 0.25) * self.effort[frame]
        return rotation(2.2 * self.sway[frame] + rock - 0.12 * (1 - self.effort[frame]))

    def posture(self, frame: int) -> Posture:
        """Return the posture of a frame."""
        turn, pulse, height = self._turn(frame), self.pulse(frame), float(self.height[frame])
        return Posture(
            left_wrist=MOUTH + turn @ vector(-0.02, 0.15),
            right_wrist=MOUTH + turn @ vector(-0.19, 0.30),
            left_hand_angle=-3.0,
            right_hand_angle=0.1,
            left_fingers=fingering(1 - height, pulse),
            right_fingers=fingering(height, pulse),
            lean=float(1.5 * self.sway[frame]) + 0.04 * pulse,
            head_tilt=-0.10,
        )

    def draw_front(self, pen: Pen, frame: int) -> None:
        """Draw the saxophone."""
        turn = self._turn(frame)
        tube = MOUTH + np.array(self._TUBE) @ turn.T
        pen.lines(tube[:3], 0.022, self.finish[2])
        pen.lines(tube[2:5], 0.044, self.finish[0])
        pen.lines(tube[4:], 0.062, self.finish[0])
        up = turn @ vector(0.30, -0.95)
        up /= np.hypot(*up)
        flare(pen, tube[-1] + up * 0.09, up, (0.03, 0.085, 0.11), (self.finish[0], self.finish[1]))
        for step in range(7):
            key = MOUTH + turn @ vector(-0.095 - 0.007 * step, 0.08 + 0.045 * step)
            pen.disc(key, 0.014, self.finish[1])


class Trumpet(Held):
    """Raised from the mouth to the person's left; the bell rises with the pitch and each attack."""

    def _axis(self, frame: int) -> Vector:
        effort = self.effort[frame]
        raised = 0.10 + 0.30 * self.height[frame] + 0.10 * self.pulse(frame, 0.2)
        return rotation(0.75 * (1 - effort) - raised * effort + 2 * self.sway[frame]) @ vector(1, 0)

    def posture(self, frame: int) -> Posture:
        """Return the posture of a frame."""
        axis, pulse = self._axis(frame), self.pulse(frame)
        return Posture(
            left_wrist=MOUTH + axis * 0.13 + vector(0.05, 0.075),
            right_wrist=MOUTH + axis * 0.11 + vector(-0.05, 0.06),
            left_hand_angle=-1.9,
            right_hand_angle=-0.7,
            left_fingers=0.8,
            right_fingers=fingering(self.height[frame], pulse),
            lean=float(self.sway[frame]),
            head_tilt=-0.12 * float(self.effort[frame]),
        )

    def draw_front(self, pen: Pen, frame: int) -> None:
        """Draw the trumpet."""
        axis = self._axis(frame)
        across = vector(-axis[1], axis[0])
        pen.lines([MOUTH, MOUTH + axis * 0.32], 0.024, self.finish[0])
        loop = [0.09, 0.27]
        ring = [MOUTH + axis * along + across * side for along, side in
                ((loop[0], 0.0), (loop[1], 0.0), (loop[1] + 0.02, 0.03), (loop[1], 0.06),
                 (loop[0], 0.06), (loop[0] - 0.02, 0.03))]  # fmt: skip
        pen.lines(ring, 0.018, self.finish[0], closed=True)
        for valve in range(3):
            pressed = 0.018 if int(self.height[frame] * 3) == valve else 0.0
            top = MOUTH + axis * (0.15 + 0.03 * valve) - across * (0.045 - pressed)
            pen.lines([top, top + across * 0.11], 0.018, self.finish[2])
        end = MOUTH + axis * 0.41
        flare(pen, end, axis, (0.014, 0.075, 0.11), (self.finish[0], self.finish[1]))
        pen.lines([MOUTH, MOUTH + axis * 0.02], 0.032, self.finish[1])


class Bassoon(Held):
    """Seated; a very long thick stick across the trunk, past the head, fed by a thin bent pipe."""

    SEATED = True
    FOOT = vector(-0.12, 0.17)

    def _axis(self, frame: int) -> Vector:
        return rotation(-1.15 + 1.2 * self.sway[frame]) @ vector(1, 0)

    def posture(self, frame: int) -> Posture:
        """Return the posture of a frame."""
        axis, pulse, height = self._axis(frame), self.pulse(frame), float(self.height[frame])
        dip = vector(0.0, 0.02 * pulse * float(self.effort[frame]))
        return Posture(
            left_wrist=self.FOOT + axis * 0.50 + vector(0.075, 0.03) + dip,
            right_wrist=self.FOOT + axis * 0.19 + vector(-0.065, 0.0) + dip,
            left_hand_angle=-2.7,
            right_hand_angle=-0.3,
            left_fingers=fingering(1 - height, pulse),
            right_fingers=fingering(height, pulse),
            lean=float(self.sway[frame]) + 0.03,
            head_tilt=0.05 + 0.08 * pulse,
            seated=self.SEATED,
        )

    def draw_front(self, pen: Pen, frame: int) -> None:
        """Draw the bassoon."""
        axis = self._axis(frame)
        pen.lines([self.FOOT, self.FOOT + axis * 0.30], 0.066, self.finish[0])
        pen.lines([self.FOOT + axis * 0.28, self.FOOT + axis * 0.86], 0.044, self.finish[0])
        for step in (0.0, 0.30, 0.62, 0.86):
            across = vector(-axis[1], axis[0]) * 0.032
            ring = self.FOOT + axis * step
            pen.lines([ring - across, ring + across], 0.02, self.finish[1])
        for step in range(8):
            pen.disc(self.FOOT + axis * (0.08 + 0.065 * step), 0.013, self.finish[2])
        joint = self.FOOT + axis * 0.56
        pen.lines([joint, joint + vector(-0.03, -0.035), MOUTH + vector(0.05, 0.0), MOUTH], 0.014,
                  self.finish[2])  # fmt: skip


class Bagpipe(Held):
    """A bag under the left arm, three drones over the shoulder, a chanter in both hands; the elbow
    presses the bag with each group of notes, and a foot beats time.
    """

    BAG = vector(0.15, -0.15)
    CHANTER = vector(0.02, -0.13)

    def prepare(self) -> None:
        """Make the bag's track: 0 full to 1 pressed."""
        groups = self.score[1::4] or self.score
        since = motion.since_onset_s(tuple(groups), self.times_s)
        self.press = motion.smooth(np.exp(-since / 0.4), self.times_s, width_s=0.3)

    def _axis(self, frame: int) -> Vector:
        return rotation(np.pi / 2 + 0.16 + 2 * self.sway[frame]) @ vector(1, 0)

    def posture(self, frame: int) -> Posture:
        """Return the posture of a frame."""
        axis, pulse, height = self._axis(frame), self.pulse(frame), float(self.height[frame])
        squeeze = vector(-0.05 * float(self.press[frame]), 0.01 * pulse)
        return Posture(
            left_wrist=self.CHANTER + axis * 0.08 + vector(0.07, -0.01) + squeeze,
            right_wrist=self.CHANTER + axis * 0.155 + vector(-0.07, 0.0),
            left_hand_angle=2.9,
            right_hand_angle=0.2,
            left_fingers=fingering(1 - height, pulse),
            right_fingers=fingering(height, pulse),
            lean=float(self.sway[frame]),
            head_tilt=-0.10,
            right_foot_lift=0.05 * (1 - pulse) * float(self.effort[frame]),
        )

    def draw_behind(self, pen: Pen, frame: int) -> None:
        """Draw the drones."""
        shake = self.sway[frame] + 0.05 * self.press[frame]
        for fan, length in ((-0.10, 0.42), (0.18, 0.34), (0.48, 0.28)):
            axis = rotation(-np.pi / 2 + fan + shake) @ vector(1, 0)
            foot = self.BAG + vector(0.03, -0.05)
            pen.lines([foot, foot + axis * length], 0.018, self.finish[1])
            pen.lines([foot + axis * 0.72 * length, foot + axis * length], 0.032, self.finish[2])

    def draw_front(self, pen: Pen, frame: int) -> None:
        """Draw bag, blowpipe and chanter."""
        axis, full = self._axis(frame), 1 - 0.22 * float(self.press[frame])
        pen.oval(self.BAG, (0.13, 0.10 * full), 0.5, self.finish[0])
        pen.lines([MOUTH, self.BAG + vector(-0.05, -0.06)], 0.02, self.finish[2])
        pen.lines([self.BAG + vector(-0.07, 0.0), self.CHANTER], 0.05, self.finish[0])
        pen.lines([self.CHANTER, self.CHANTER + axis * 0.26], 0.026, self.finish[1])
        pen.disc(self.CHANTER + axis * 0.27, 0.026, self.finish[2])
