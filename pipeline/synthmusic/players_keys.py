"""Players of piano, guzheng and accordion: the hands travel over keys or strings."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from pipeline.demo import motion
from pipeline.demo.drawing import Pen, Vector, rotation, vector
from pipeline.demo.figure import Posture
from pipeline.demo.player import Tracks, blend
from pipeline.demo.players_held import Held, fingering
from pipeline.demo.score import Score
from pipeline.synthmusic.instruments import INSTRUMENTS
from pipeline.synthmusic.score import is_melody


def parts(score: Score, name: str) -> tuple[Score, Score]:
    """Return the melody and the accompaniment of a score; either stands in where one is empty."""
    melody = tuple(note for note in score if is_melody(note, INSTRUMENTS[name]))
    rest = tuple(note for note in score if not is_melody(note, INSTRUMENTS[name]))
    return melody or rest, rest or melody


class Piano(Held):
    """Seated behind a keyboard under a raised lid; the right hand has the melody, the left chords.

    Low notes are at the person's left. `high` and `low` are the hands' places along the keys.
    """

    SEATED = True
    KEYS_Y = 0.02
    KEYS = 22

    def prepare(self) -> None:
        """Make the tracks of both hands."""
        tune, chords = parts(self.score, "piano")
        self.high = motion.heights(tune, self.times_s)
        self.low = motion.heights(chords, self.times_s)
        self.high_s = motion.since_onset_s(tune, self.times_s)
        self.low_s = motion.since_onset_s(chords, self.times_s)

    def _hand(self, x: float, since_s: float, effort: float) -> Vector:
        down = float(np.exp(-since_s / 0.16))
        return vector(x, self.KEYS_Y - 0.055 - 0.04 * (1 - down) * effort - 0.01)

    def _places(self, frame: int) -> tuple[float, float]:
        return 0.10 + 0.17 * (1 - float(self.low[frame])), 0.02 - 0.27 * float(self.high[frame])

    def posture(self, frame: int) -> Posture:
        """Return the posture of a frame."""
        low_x, high_x = self._places(frame)
        effort = float(self.effort[frame])
        left = self._hand(low_x, self.low_s[frame], effort)
        right = self._hand(high_x, self.high_s[frame], effort)
        return Posture(
            left_wrist=blend(vector(0.13, -0.02), left, effort),
            right_wrist=blend(vector(-0.13, -0.02), right, effort),
            left_hand_angle=np.pi / 2,
            right_hand_angle=np.pi / 2,
            left_fingers=np.array([0.1, 0.6, 0.1, 0.6, 0.1]),
            right_fingers=fingering(self.high[frame], float(np.exp(-self.high_s[frame] / 0.15))),
            lean=float(self.sway[frame]) - 0.10 * (float(self.high[frame]) - 0.5),
            head_tilt=0.0,
            seated=self.SEATED,
        )

    def draw_behind(self, pen: Pen, frame: int) -> None:
        """Draw the stool and the raised lid."""
        super().draw_behind(pen, frame)
        lid = [(-0.36, 0.02), (-0.40, -0.36), (-0.30, -0.52), (-0.05, -0.50), (0.16, -0.36),
               (0.30, -0.30), (0.37, -0.12), (0.36, 0.02)]  # fmt: skip
        pen.area(lid, self.finish[1])
        pen.lines(lid, 0.02, self.finish[0])

    def draw_front(self, pen: Pen, frame: int) -> None:
        """Draw the keyboard and the case."""
        y = self.KEYS_Y
        pen.area([(-0.38, y), (0.38, y), (0.38, 0.20), (-0.38, 0.20)], self.finish[0])
        for x in (-0.32, 0.32):
            pen.lines([(x, 0.20), (x, 0.46)], 0.05, self.finish[0])
        pen.area([(-0.35, y), (0.35, y), (0.35, y + 0.075), (-0.35, y + 0.075)], self.finish[2])
        low_x, high_x = self._places(frame)
        pressed = {round((high_x + 0.35) / 0.7 * self.KEYS): self.high_s[frame]}
        pressed |= {
            round((low_x + 0.35) / 0.7 * self.KEYS) + k: self.low_s[frame] for k in (-2, 0, 2)
        }
        for key, since_s in pressed.items():
            if since_s < 0.3:
                x = -0.35 + 0.7 * key / self.KEYS
                pen.lines([(x, y + 0.01), (x, y + 0.07)], 0.022, self.finish[0])
        for key in range(1, self.KEYS):
            x = -0.35 + 0.7 * key / self.KEYS
            black = key % 7 not in (0, 3)
            pen.lines([(x, y), (x, y + (0.042 if black else 0.075))], 0.014 if black else 0.003,
                      self.finish[1])  # fmt: skip


class Guzheng(Tracks):
    """Seated behind a long board of many strings on two trestles; the right hand plucks near one
    end, the left presses and shakes beyond the bridges.
    """

    SEATED = True
    BOARD = ((-0.42, -0.04), (0.42, 0.0), (0.42, 0.09), (-0.42, 0.11))
    STRINGS = 9

    def prepare(self) -> None:
        """Make the plucking hand's track: 0 on the string to 1 flicked away."""
        fresh = np.exp(-np.minimum(self.since_s, 9) / 0.14)
        self.flick = motion.smooth(fresh, self.times_s, width_s=0.1)

    def _string(self, height: float, x: float) -> Vector:
        """Return the place of the string for `height` at `x`; high notes are near the player."""
        slope = (x + 0.42) / 0.84
        near, far = -0.035 + 0.04 * slope, 0.095 - 0.015 * slope
        return vector(x, near + (far - near) * (1 - height))

    def posture(self, frame: int) -> Posture:
        """Return the posture of a frame."""
        height, effort = float(self.height[frame]), float(self.effort[frame])
        flick = float(self.flick[frame])
        pluck = self._string(height, -0.20 + 0.03 * height) + vector(-0.045 * flick, -0.07 * flick)
        shake = 0.012 * np.sin(2 * np.pi * 4.6 * self.times_s[frame]) * (1 - flick)
        press = self._string(height, 0.20 - 0.10 * height) + vector(0.0, shake)
        return Posture(
            left_wrist=blend(vector(0.16, -0.04), press + vector(0.0, -0.075), effort),
            right_wrist=blend(vector(-0.14, -0.04), pluck + vector(0.0, -0.06), effort),
            left_hand_angle=np.pi / 2 + 0.2,
            right_hand_angle=np.pi / 2 - 0.35 - 0.5 * flick,
            left_fingers=np.array([0.6, 0.0, 0.0, 0.0, 0.5]),
            right_fingers=0.3 + 0.6 * flick,
            lean=float(self.sway[frame]),
            head_tilt=0.10,
            seated=self.SEATED,
        )

    def draw_behind(self, pen: Pen, frame: int) -> None:
        """Draw the trestles."""
        for x in (-0.30, 0.30):
            for side in (-0.06, 0.06):
                pen.lines([(x, 0.10), (x + side, 0.47)], 0.022, self.finish[1])

    def draw_front(self, pen: Pen, frame: int) -> None:
        """Draw the board, its bridges and strings; the string that is played swings."""
        pen.area(self.BOARD, self.finish[0])
        for x in (-0.39, 0.39):
            ends = [self._string(1.0, x), self._string(0.0, x)]
            pen.lines(ends, 0.022, self.finish[1])
        played = round(float(self.height[frame]) * (self.STRINGS - 1))
        for number in range(self.STRINGS):
            height = number / (self.STRINGS - 1)
            swing = vector(0.0, 0.012 * self.flick[frame] if number == played else 0.0)
            bridge = self._string(height, 0.16 - 0.22 * height)
            line = [self._string(height, -0.39), bridge + swing, self._string(height, 0.39)]
            pen.lines(line, 0.005, self.finish[2])
            pen.area(
                bridge + np.array([(-0.014, 0.01), (0.014, 0.01), (0.0, -0.018)]), self.finish[1]
            )

    def draw_tools(self, pen: Pen, frame: int) -> None:
        """Draw nothing: bare hands play."""


class Accordion(Held):
    """Standing, a box before the chest; the left arm opens and closes the bellows from note to
    note, the right hand is on the keys.

    `opened` is 0 (closed) to 1; `tune` the melody's place on the keys.
    """

    KEYS_X, BOX_TOP, BOX_BOTTOM = -0.13, -0.29, -0.01

    def prepare(self) -> None:
        """Make the bellows' track: it changes direction every third note of the melody."""
        tune, _ = parts(self.score, "accordion")
        groups = tuple(
            replace(first, duration_s=last.onset_s + last.duration_s - first.onset_s)
            for first, last in zip(tune[::3], [*tune[2::3], tune[-1]], strict=False)
        )
        travel = motion.strokes(groups, self.times_s)
        self.opened = 0.5 + 0.5 * motion.smooth(travel, self.times_s, width_s=0.3)
        self.tune = motion.heights(tune, self.times_s)
        self.tune_s = motion.since_onset_s(tune, self.times_s)

    def _edge(self, frame: int) -> float:
        """Return the x of the bellows' free end."""
        return 0.06 + 0.17 * float(self.opened[frame])

    def _fan(self, frame: int) -> Vector:
        """Return the turn of the free end: it opens wider at the top."""
        return rotation(0.25 * float(self.opened[frame]))

    def posture(self, frame: int) -> Posture:
        """Return the posture of a frame."""
        edge, height = self._edge(frame), float(self.tune[frame])
        pressed = float(np.exp(-self.tune_s[frame] / 0.15))
        return Posture(
            left_wrist=vector(edge + 0.055, -0.13),
            right_wrist=vector(self.KEYS_X - 0.10 + 0.02 * pressed, -0.06 - 0.16 * height),
            left_hand_angle=-2.6,
            right_hand_angle=0.15,
            left_fingers=0.6,
            right_fingers=fingering(height, pressed),
            lean=float(1.4 * self.sway[frame]) + 0.06 * (float(self.opened[frame]) - 0.5),
            head_tilt=0.10,
        )

    def draw_front(self, pen: Pen, frame: int) -> None:
        """Draw the keys' side, the bellows and the free end."""
        x, top, bottom = self.KEYS_X, self.BOX_TOP, self.BOX_BOTTOM
        edge, turn = self._edge(frame), self._fan(frame)
        middle = vector(edge, (top + bottom) / 2)
        half = vector(0.0, (bottom - top) / 2)
        far_top, far_bottom = middle - turn @ half, middle + turn @ half
        folds = 9
        start = [vector(x + 0.06, top), vector(x + 0.06, bottom)]
        for fold in range(folds):
            one, two = fold / folds, (fold + 1) / folds
            quad = [
                blend(start[0], far_top, one), blend(start[0], far_top, two),
                blend(start[1], far_bottom, two), blend(start[1], far_bottom, one),
            ]  # fmt: skip
            dent = vector(0.0, 0.014 if fold % 2 else 0.0)
            quad = [quad[0] + dent, quad[1] + dent, quad[2] - dent, quad[3] - dent]
            pen.area(quad, self.finish[1 + fold % 2])
        shell = turn @ vector(0.05, 0.0)
        pen.area([far_top, far_top + shell, far_bottom + shell, far_bottom], self.finish[0])
        pen.area([(x, top), (x + 0.07, top), (x + 0.07, bottom), (x, bottom)], self.finish[0])
        pen.area([(x - 0.055, top), (x, top), (x, bottom), (x - 0.055, bottom)], self.finish[1])
        for key in range(1, 11):
            y = top + (bottom - top) * key / 11
            pen.lines([(x - 0.055, y), (x - (0.02 if key % 3 else 0.0), y)], 0.006, self.finish[0])
