"""Players of xylophone and drum kit: sticks that are on the target when the note sounds."""

from __future__ import annotations

import numpy as np

from pipeline.demo import motion
from pipeline.demo.drawing import Pen, Vector, oval_points, vector
from pipeline.demo.figure import Posture
from pipeline.demo.player import Tracks, draw_stool, heading
from pipeline.demo.score import HAT, KICK, SNARE, Note

STICK = 0.16


def wrist_behind(tip: Vector, shoulder_x: float) -> Vector:
    """Return the wrist that holds a stick whose tip is at `tip`, the stick pointing down and in."""
    toward = vector(0.35 * np.sign(shoulder_x) + 1.2 * (shoulder_x - tip[0]), -0.75)
    toward /= np.hypot(*toward)
    return tip + toward * (STICK + 0.045)


class Struck(Tracks):
    """Two sticks; `left` and `right` are the paths of their tips, (frames, 2)."""

    left: np.ndarray
    right: np.ndarray

    def _path(self, notes: list[Note], targets: list[Vector], rest: Vector) -> np.ndarray:
        moments_s = [note.onset_s for note in notes]
        return motion.hits(
            moments_s, np.array(targets).reshape(-1, 2), rest, self.times_s, lift=0.10
        )

    def _struck_posture(self, frame: int, *, foot: float) -> Posture:
        left, right = (
            wrist_behind(tip[frame], x) for tip, x in ((self.left, 0.15), (self.right, -0.15))
        )
        return Posture(
            left_wrist=left,
            right_wrist=right,
            left_hand_angle=heading(self.left[frame] - left),
            right_hand_angle=heading(self.right[frame] - right),
            left_fingers=0.9,
            right_fingers=0.9,
            lean=float(self.sway[frame]),
            head_tilt=0.05 * self.pulse(frame),
            seated=self.SEATED,
            right_foot_lift=foot,
        )

    def draw_behind(self, pen: Pen, frame: int) -> None:
        """Draw the stool of a seated player."""
        if self.SEATED:
            draw_stool(pen, self.finish[2])

    def draw_tools(self, pen: Pen, frame: int) -> None:
        """Draw both sticks."""
        for path, x in ((self.left, 0.15), (self.right, -0.15)):
            wrist = wrist_behind(path[frame], x)
            along = path[frame] - wrist
            pen.lines([wrist, path[frame]], 0.012, self.finish[2])
            pen.disc(path[frame] - 0.02 * along, 0.016, self.finish[1])


class Xylophone(Struck):
    """Bars from low (long, at the person's left) to high; the hands take the notes in turn."""

    BARS = 11

    def prepare(self) -> None:
        """Make the paths of both mallets."""
        notes = list(self.score)
        rests = {1: vector(0.10, 0.0), -1: vector(-0.10, 0.0)}
        paths = []
        for side, turn in ((1, 0), (-1, 1)):
            own = notes[turn::2]
            paths.append(self._path(own, [self._bar(n.height) for n in own], rests[side]))
        self.left, self.right = paths

    def _bar(self, height: float) -> Vector:
        return vector(0.30 - 0.60 * height, 0.055)

    def posture(self, frame: int) -> Posture:
        """Return the posture of a frame."""
        return self._struck_posture(frame, foot=0.0)

    def draw_front(self, pen: Pen, frame: int) -> None:
        """Draw the table and its bars; the bar that is struck jumps."""
        for x in (-0.3, 0.3):
            pen.lines([(x, 0.1), (x * 1.1, 0.46)], 0.025, self.finish[1])
        pen.area([(-0.36, 0.03), (0.36, 0.03), (0.39, 0.12), (-0.39, 0.12)], self.finish[1])
        struck = round(float(self.height[frame]) * (self.BARS - 1))
        for bar in range(self.BARS):
            x = float(self._bar(bar / (self.BARS - 1))[0])
            half = 0.085 - 0.0045 * bar
            drop = 0.02 * self.pulse(frame) if bar == struck else 0.0
            pen.lines([(x, 0.07 - half + drop), (x, 0.07 + half + drop)], 0.042, self.finish[0])
            pen.disc((x, 0.07 - 0.7 * half + drop), 0.008, self.finish[2])


class DrumKit(Struck):
    """Seated behind a bass drum; right stick on the hat, left on the snare, right foot kicks."""

    SEATED = True
    SNARE_AT, HAT_AT = vector(0.17, 0.03), vector(-0.27, -0.07)
    KICK_AT = vector(-0.02, 0.24)

    def prepare(self) -> None:
        """Make the paths of the sticks and the rings of the parts."""
        self.left = self._tip(SNARE, self.SNARE_AT)
        self.right = self._tip(HAT, self.HAT_AT)
        self.kick, self.snare, self.hat = (self._ring(part) for part in (KICK, SNARE, HAT))

    def _of(self, part: int) -> list[Note]:
        return [note for note in self.score if note.pitch == part]

    def _tip(self, part: int, target: Vector) -> np.ndarray:
        notes = self._of(part)
        return self._path(notes, [target] * len(notes), target + vector(0.0, -0.06))

    def _ring(self, part: int) -> np.ndarray:
        """Return 1 at each stroke of a part, falling to 0, shape (frames,)."""
        notes = self._of(part)
        if not notes:
            return np.zeros(len(self.times_s))
        return np.exp(-motion.since_onset_s(tuple(notes), self.times_s) / 0.12)

    def posture(self, frame: int) -> Posture:
        """Return the posture of a frame."""
        return self._struck_posture(frame, foot=0.05 * (1 - float(self.kick[frame])))

    def draw_front(self, pen: Pen, frame: int) -> None:
        """Draw the drums and the hat."""
        size = 1 + 0.06 * float(self.kick[frame])
        pen.oval(self.KICK_AT, (0.185 * size, 0.185 * size), 0.0, self.finish[0])
        pen.oval(self.KICK_AT, (0.15 * size, 0.15 * size), 0.0, self.finish[1])
        pen.lines(oval_points(self.KICK_AT, (0.08, 0.08)), 0.012, self.finish[2], closed=True)
        snare = self.SNARE_AT + vector(0.0, 0.008 * float(self.snare[frame]))
        pen.area(
            [
                snare + vector(-0.10, 0),
                snare + vector(0.10, 0),
                snare + vector(0.10, 0.09),
                snare + vector(-0.10, 0.09),
            ],
            self.finish[0],
        )
        pen.oval(snare + vector(0, 0.09), (0.10, 0.03), 0.0, self.finish[0])
        pen.oval(snare, (0.10, 0.035), 0.0, self.finish[1])
        pen.lines([self.HAT_AT, self.HAT_AT + vector(0, 0.5)], 0.014, self.finish[2])
        tilt = 0.22 * float(self.hat[frame]) * np.sin(40 * float(self.times_s[frame]))
        pen.oval(self.HAT_AT, (0.125, 0.024), tilt, self.finish[2])
        pen.oval(self.HAT_AT + vector(0, 0.02), (0.125, 0.02), -tilt / 2, self.finish[1])
