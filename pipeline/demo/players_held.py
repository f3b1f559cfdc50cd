"""Players of violin, guitar, flute and tuba: the instrument is held, the hands follow the notes."""

from __future__ import annotations

import numpy as np

from pipeline.demo import motion
from pipeline.demo.drawing import Pen, Vector, oval_points, rotation, vector
from pipeline.demo.figure import HEAD_CENTRE, MOUTH, NECK, Posture
from pipeline.demo.player import Tracks, blend, draw_stool, heading


def fingering(height: float, pulse: float) -> Vector:
    """Return five bent fingers, thumb first, of which the one for `height` is pressed."""
    fingers = np.full(5, 0.35)
    pressed = 1 + min(3, int(height * 4))
    fingers[1 : pressed + 1] = 0.8
    fingers[pressed] += 0.2 * pulse
    return fingers


class Held(Tracks):
    """A held instrument: a stool for a seated player, and no tool unless a class says otherwise."""

    def draw_behind(self, pen: Pen, frame: int) -> None:
        """Draw the stool of a seated player."""
        if self.SEATED:
            draw_stool(pen, self.finish[2])

    def draw_tools(self, pen: Pen, frame: int) -> None:
        """Draw nothing."""


class Bowed(Held):
    """A bow that crosses `BRIDGE` and runs back and forth with each note.

    The bow points from the right hand over the bridge, at `BOW_ANGLE`; from its frog to the bridge
    it is `BOW_NEAR` give or take `BOW_TRAVEL`.
    """

    BRIDGE = vector(0.0, 0.0)
    BOW_ANGLE, BOW_NEAR, BOW_TRAVEL = 0.0, 0.19, 0.13
    BOW_REST = vector(-0.17, -0.08)

    def prepare(self) -> None:
        """Make the bow's track."""
        self.bow = motion.strokes(self.score, self.times_s)

    def bow_at(self, frame: int) -> tuple[Vector, Vector]:
        """Return the frog of the bow and its direction."""
        effort = self.effort[frame]
        along = rotation(self.BOW_ANGLE + 0.25 * (self.height[frame] - 0.5)) @ vector(1, 0)
        play = self.BRIDGE - along * (self.BOW_NEAR + self.BOW_TRAVEL * self.bow[frame])
        resting = rotation(0.7) @ vector(1, 0)
        direction = blend(resting, along, effort)
        return blend(self.BOW_REST, play, effort), direction / np.hypot(*direction)

    def draw_tools(self, pen: Pen, frame: int) -> None:
        """Draw the bow."""
        frog, along = self.bow_at(frame)
        pen.lines([frog - along * 0.02, frog + along * 0.36], 0.012, self.finish[2])


class Violin(Bowed):
    """Under the chin; the bow runs back and forth with each note, the left hand shifts."""

    BRIDGE = vector(0.19, -0.325)
    BOW_ANGLE = -0.62

    def _axis(self, frame: int) -> Vector:
        return rotation(0.05 + self.sway[frame] * 2) @ vector(1, 0)

    def posture(self, frame: int) -> Posture:
        """Return the posture of a frame."""
        frog, along = self.bow_at(frame)
        axis = self._axis(frame)
        left = self.BRIDGE + axis * (0.175 - 0.07 * self.height[frame]) + vector(0.0, 0.045)
        return Posture(
            left_wrist=left,
            right_wrist=frog - along * 0.05,
            left_hand_angle=-1.9,
            right_hand_angle=heading(along),
            left_fingers=fingering(self.height[frame], self.pulse(frame)),
            right_fingers=0.7,
            lean=float(self.sway[frame]),
            head_tilt=0.22,
        )

    def draw_front(self, pen: Pen, frame: int) -> None:
        """Draw the violin."""
        axis = self._axis(frame)
        angle, across = heading(axis), vector(-axis[1], axis[0])
        centre = self.BRIDGE - axis * 0.03
        pen.lines([centre, centre + axis * 0.25], 0.024, self.finish[1])
        for shift, radius in ((-0.06, 0.075), (0.055, 0.06), (0.0, 0.05)):
            pen.oval(centre + axis * shift, (0.068, radius), angle, self.finish[0])
        for side in (-0.014, 0.0, 0.014):
            string = across * side
            pen.lines(
                [centre - axis * 0.08 + string, centre + axis * 0.24 + string],
                0.004,
                self.finish[2],
            )
        pen.disc(centre + axis * 0.26, 0.016, self.finish[0])


class Necked(Held):
    """A neck at `ANGLE` from `HOLE`: the right hand strums there, the left moves along the neck.

    The left hand is `NECK_FAR` along the neck for the lowest note, `NECK_SHIFT` less for the
    highest; a strum is `STRUM` wide to each side.
    """

    HOLE = vector(0.0, 0.0)
    ANGLE, STRUM = 0.0, 0.055
    NECK_FAR, NECK_SHIFT = 0.36, 0.13
    HAND_OFFSET, HAND_REST = vector(-0.06, -0.02), vector(-0.15, -0.12)
    LEFT_HAND_ANGLE = -2.0
    HEAD_TILT = 0.12

    def prepare(self) -> None:
        """Make the strumming hand's track."""
        down = np.where(motion.note_at(self.score, self.times_s) % 2 == 0, 1.0, -1.0)
        stroke = 1 - 2 * np.exp(-np.minimum(self.since_s, 9) / 0.08)
        self.strum = motion.smooth(down * stroke, self.times_s, width_s=0.08)

    def neck(self, frame: int) -> Vector:
        """Return the direction of the neck."""
        return rotation(self.ANGLE + self.sway[frame]) @ vector(1, 0)

    def right_fingers(self, frame: int) -> Vector | float:
        """Return how the strumming hand's fingers are bent."""
        return 0.5

    def posture(self, frame: int) -> Posture:
        """Return the posture of a frame."""
        axis, effort = self.neck(frame), self.effort[frame]
        across = vector(-axis[1], axis[0])
        hand = self.HOLE + across * (self.STRUM * self.strum[frame]) - axis * 0.02
        right = blend(self.HAND_REST, hand + self.HAND_OFFSET, effort)
        along = self.NECK_FAR - self.NECK_SHIFT * self.height[frame]
        left = self.HOLE + axis * along + across * 0.04
        return Posture(
            left_wrist=left,
            right_wrist=right,
            left_hand_angle=self.LEFT_HAND_ANGLE,
            right_hand_angle=0.35 + 0.5 * float(self.strum[frame]) * effort,
            left_fingers=fingering(self.height[frame], self.pulse(frame)),
            right_fingers=self.right_fingers(frame),
            lean=float(self.sway[frame]),
            head_tilt=self.HEAD_TILT,
            seated=self.SEATED,
        )

    def draw_strings(self, pen: Pen, frame: int, start: float, end: float) -> None:
        """Draw three strings from `start` to `end`, measured along the neck from the hole."""
        axis = self.neck(frame)
        across = vector(-axis[1], axis[0])
        for side in (-0.012, 0.0, 0.012):
            string = across * side
            pen.lines(
                [self.HOLE + axis * start + string, self.HOLE + axis * end + string],
                0.004,
                self.finish[2],
            )


class Guitar(Necked):
    """Across the belly; the right hand strums at each note, the left moves along the neck."""

    SEATED = True
    HOLE = vector(-0.05, -0.10)
    ANGLE = -0.38

    def draw_front(self, pen: Pen, frame: int) -> None:
        """Draw the guitar."""
        axis = self.neck(frame)
        angle = heading(axis)
        pen.lines([self.HOLE, self.HOLE + axis * 0.40], 0.03, self.finish[1])
        pen.lines([self.HOLE + axis * 0.40, self.HOLE + axis * 0.47], 0.045, self.finish[0])
        pen.oval(self.HOLE - axis * 0.09, (0.115, 0.13), angle, self.finish[0])
        pen.oval(self.HOLE + axis * 0.055, (0.09, 0.10), angle, self.finish[0])
        pen.disc(self.HOLE, 0.042, self.finish[2])
        self.draw_strings(pen, frame, -0.12, 0.44)


class Flute(Held):
    """Level at the mouth, towards the person's right; fingers close and open with the pitch."""

    def _axis(self, frame: int) -> Vector:
        nod = 0.10 * self.pulse(frame, 0.2) * self.effort[frame]
        lowered = 0.5 * (1 - self.effort[frame])
        return rotation(np.pi - 0.12 - lowered + 2 * self.sway[frame] - nod) @ vector(1, 0)

    def posture(self, frame: int) -> Posture:
        """Return the posture of a frame."""
        axis, pulse = self._axis(frame), self.pulse(frame)
        height = float(self.height[frame])
        return Posture(
            left_wrist=MOUTH + axis * 0.13 + vector(0.025, 0.055),
            right_wrist=MOUTH + axis * 0.27 + vector(0.0, 0.06),
            left_hand_angle=-2.2,
            right_hand_angle=-1.7,
            left_fingers=fingering(1 - height, pulse),
            right_fingers=fingering(height, pulse),
            lean=float(self.sway[frame]),
            head_tilt=-0.15,
        )

    def draw_front(self, pen: Pen, frame: int) -> None:
        """Draw the flute."""
        axis = self._axis(frame)
        pen.lines([MOUTH - axis * 0.05, MOUTH + axis * 0.46], 0.034, self.finish[0])
        for step in range(10):
            pen.disc(MOUTH + axis * (0.10 + 0.035 * step), 0.012, self.finish[2])
        pen.lines([MOUTH - axis * 0.05, MOUTH - axis * 0.02], 0.034, self.finish[1])


class Tuba(Held):
    """Hugged on the lap, its bell above the head; bell and trunk heave with each breath."""

    SEATED = True
    COIL = vector(0.05, -0.12)

    def _bell(self, frame: int) -> Vector:
        heave = 0.035 * self.pulse(frame, 0.25) * self.effort[frame]
        return vector(0.17 + 2.5 * self.sway[frame], -0.52 - heave)

    def posture(self, frame: int) -> Posture:
        """Return the posture of a frame."""
        breath = self.pulse(frame, 0.25) * self.effort[frame]
        lift = vector(0.0, -0.035 * breath)
        valves = self.COIL + vector(-0.09, 0.02)
        return Posture(
            left_wrist=self.COIL + vector(0.13, 0.06) + lift,
            right_wrist=blend(valves + vector(-0.03, 0.06), valves, self.effort[frame]) + lift,
            left_hand_angle=2.4,
            right_hand_angle=-0.3,
            left_fingers=0.5,
            right_fingers=fingering(self.height[frame], self.pulse(frame)),
            lean=float(self.sway[frame] - 0.05 * breath) + 0.03,
            head_tilt=-0.08,
            seated=self.SEATED,
        )

    def draw_behind(self, pen: Pen, frame: int) -> None:
        """Draw the stool, the tube that rises behind the shoulder, and the bell."""
        super().draw_behind(pen, frame)
        bell = self._bell(frame)
        pen.lines([self.COIL + vector(0.13, 0.0), bell + vector(0, 0.06)], 0.07, self.finish[0])
        pen.area(
            [
                bell + vector(-0.16, -0.03),
                bell + vector(0.16, -0.03),
                bell + vector(0.035, 0.13),
                bell + vector(-0.035, 0.13),
            ],
            self.finish[0],
        )
        pen.oval(bell + vector(0, -0.03), (0.165, 0.055), 0.0, self.finish[1])
        pen.oval(bell + vector(0, -0.03), (0.12, 0.035), 0.0, self.finish[2])

    def draw_front(self, pen: Pen, frame: int) -> None:
        """Draw the coil, the valves and the mouthpiece."""
        for size, colour in ((1.0, 0), (0.72, 1), (0.42, 0)):
            ring = oval_points(self.COIL, (0.135 * size, 0.175 * size))
            pen.lines(ring, 0.036, self.finish[colour], closed=True)
        for valve in range(3):
            pressed = 0.025 if int(self.height[frame] * 3) == valve else 0.0
            top = self.COIL + vector(-0.05 + 0.035 * valve, -0.02 + pressed)
            pen.lines([top, top + vector(0, 0.09)], 0.022, self.finish[2])
        mouth = HEAD_CENTRE - NECK
        lips = rotation(float(self.sway[frame])) @ NECK + mouth + vector(0.0, 0.05)
        pen.lines([self.COIL + vector(-0.09, -0.11), lips], 0.02, self.finish[1])
