"""A class, a moment and a pen in, an object on the picture out.

Classes differ in texture, shape and motion (dots, spokes, rings, checks, stripes, strings), never
in colour: each object gets a dark and a light colour of the common palette. Units are sides of the
picture; the origin is the middle of the object's place, which is 0.4 wide.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from pipeline.demo.drawing import PALETTE, Colour, Pen, oval_points, rotation, vector

_LUMINANCE = np.array([0.114, 0.587, 0.299])
_CONTRAST = 75.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Coat:
    """The colours of one object and where its motion begins (`phase`, seconds; `pace` near 1)."""

    dark: Colour
    light: Colour
    phase: float
    pace: float


def coat(rng: np.random.Generator) -> Coat:
    """Return two colours of the palette that differ in lightness, and a motion."""
    while True:
        first, second = PALETTE[rng.permutation(len(PALETTE))[:2]] + rng.uniform(-12, 12, (2, 3))
        gap = float((first - second) @ _LUMINANCE)
        if abs(gap) > _CONTRAST:
            light, dark = (first, second) if gap > 0 else (second, first)
            return Coat(
                dark=tuple(dark),
                light=tuple(light),
                phase=float(rng.uniform(0, 10)),
                pace=float(rng.uniform(0.85, 1.15)),
            )


def dog(pen: Pen, time_s: float, coat: Coat) -> None:
    """Draw a spotted dog that runs on the spot and nods."""
    stride = np.sin(2 * np.pi * 2 * time_s)
    up = 0.02 * abs(stride)
    for x, sign in ((-0.11, 1), (-0.06, -1), (0.05, -1), (0.10, 1)):
        pen.lines([(x, 0.08), (x + 0.05 * sign * stride, 0.24)], 0.035, coat.light)
    pen.lines([(-0.14, 0.0), (-0.19, -0.10 + 0.05 * stride)], 0.03, coat.light)
    pen.oval((-0.02, 0.03 - up), (0.155, 0.105), 0.0, coat.light)
    pen.oval((0.11, -0.10 - up), (0.085, 0.075), 0.2 * stride, coat.light)
    pen.oval((0.06, -0.13 - up), (0.03, 0.07), 0.2, coat.dark)
    pen.disc((0.17, -0.09 - up), 0.02, coat.dark)
    for x, y, r in _SPOTS:
        pen.disc((x, y - up), r, coat.dark)


_SPOTS = (
    *((-0.11, 0.0, 0.02), (-0.06, -0.03, 0.017), (0.0, -0.04, 0.02), (0.05, -0.01, 0.016)),
    *((-0.10, 0.06, 0.018), (-0.04, 0.035, 0.021), (0.02, 0.03, 0.019), (0.07, 0.05, 0.017)),
    *((-0.06, 0.09, 0.016), (0.0, 0.09, 0.018), (0.10, -0.13, 0.014), (0.13, -0.08, 0.013)),
)


def car(pen: Pen, time_s: float, coat: Coat) -> None:
    """Draw a car on two large spoked wheels that rolls to and fro."""
    roll = 0.03 * np.sin(2 * np.pi * 0.5 * time_s)
    body = [(-0.19, 0.08), (-0.19, -0.02), (-0.11, -0.03), (-0.07, -0.13), (0.08, -0.13)]
    body += [(0.12, -0.03), (0.19, -0.01), (0.19, 0.08)]
    pen.area(np.array(body) + vector(roll, 0), coat.dark)
    glass = [(-0.08, -0.03), (-0.05, -0.10), (0.06, -0.10), (0.09, -0.03)]
    pen.area(np.array(glass) + vector(roll, 0), coat.light)
    for x in (-0.105, 0.105):
        hub = vector(x + roll, 0.10)
        pen.disc(hub, 0.09, coat.dark)
        pen.disc(hub, 0.075, coat.light)
        for spoke in range(5):
            arm = rotation(2 * np.pi * (spoke / 5 + 0.9 * time_s)) @ vector(0.075, 0.0)
            pen.lines([hub, hub + arm], 0.014, coat.dark)
        pen.disc(hub, 0.02, coat.dark)


def fire_alarm(pen: Pen, time_s: float, coat: Coat) -> None:
    """Draw rings that run outwards and flash."""
    flash = (2 * time_s) % 1 < 0.5
    first, second = (coat.dark, coat.light) if flash else (coat.light, coat.dark)
    shift = (1.5 * time_s) % 1
    pen.disc((0, 0), 0.20, first)
    for ring in range(4, -1, -1):
        outer = 0.2 * (ring + shift) / 5
        pen.disc((0, 0), outer + 0.001, second)
        pen.disc((0, 0), max(outer - 0.02, 0.001), first)


def basketball(pen: Pen, time_s: float, coat: Coat) -> None:
    """Draw a chequered ball that bounces and spins."""
    bounce = abs(np.sin(np.pi * 2.2 * time_s))
    centre = vector(0.0, 0.20 - 0.36 * bounce)
    pen.disc(centre, 0.15, coat.dark)
    spin = rotation(2.0 * time_s)
    grid = np.linspace(-0.15, 0.15, 7)
    for column in range(6):
        for row in range(6):
            middle = vector(grid[column] + 0.025, grid[row] + 0.025)
            if (column + row) % 2 == 0 and np.hypot(*middle) < 0.125:
                square = middle + np.array([(-1, -1), (1, -1), (1, 1), (-1, 1)]) * 0.025
                pen.area(square @ spin.T + centre, coat.light)


def vacuum_cleaner(pen: Pen, time_s: float, coat: Coat) -> None:
    """Draw a tall body with level stripes that is pushed to and fro."""
    push = np.sin(2 * np.pi * 0.9 * time_s)
    tilt = rotation(0.25 * push)
    foot = vector(0.06 * push, 0.26)
    corners = np.array([(-0.08, -0.48), (0.08, -0.48), (0.11, 0.0), (-0.11, 0.0)])
    pen.area(corners @ tilt.T + foot, coat.light)
    for stripe in range(9):
        y = -0.03 - 0.052 * stripe
        half = 0.11 + 0.03 * y / 0.48
        pen.lines(np.array([(-half, y), (half, y)]) @ tilt.T + foot, 0.024, coat.dark)
    pen.lines([foot + vector(-0.15, 0.02), foot + vector(0.15, 0.02)], 0.05, coat.dark)


def violin_fiddle(pen: Pen, time_s: float, coat: Coat) -> None:
    """Draw an upright violin with many strings, and a bow that crosses it."""
    for y, half in ((0.14, 0.14), (-0.02, 0.115), (0.06, 0.09)):
        pen.oval((0, y), (half, 0.11), 0.0, coat.light)
    pen.lines([(0, -0.05), (0, -0.36)], 0.07, coat.light)
    for string in range(-4, 5):
        x = 0.017 * string
        top = -0.36 if abs(string) < 2 else -0.10
        pen.lines([(x, 0.22), (x, top)], 0.006, coat.dark)
    draw = 0.10 * np.sin(2 * np.pi * 1.1 * time_s)
    bow = np.array([(-0.2, 0.1), (0.2, -0.06)]) + vector(draw, -0.4 * draw)
    pen.lines(bow, 0.022, coat.dark)


OBJECTS: dict[str, Callable[[Pen, float, Coat], None]] = {
    "Dog": dog,
    "Car": car,
    "Fire_alarm": fire_alarm,
    "Basketball_bounce": basketball,
    "Vacuum_cleaner": vacuum_cleaner,
    "Violin_fiddle": violin_fiddle,
}


def plain_shape(pen: Pen, time_s: float, coat: Coat) -> None:
    """Draw what moves in every clip and means nothing: a plain shape on its round."""
    turn = 0.5 * coat.pace * time_s + coat.phase
    centre = vector(0.4 * np.cos(turn), 0.35 * np.sin(1.3 * turn))
    pen.area(oval_points(centre, (0.07, 0.05), turn), coat.dark)
