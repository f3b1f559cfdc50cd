"""A class, a moment and a pen in, an object on the picture out.

Classes differ in texture, shape and motion (dots, slanting stripes, rings, checks, level stripes,
strings), never in colour: each object gets a dark and a light colour made from the common palette.
Units are sides of the picture; the origin is the middle of the object's place, about 0.45 wide.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from pipeline.demo.drawing import PALETTE, Colour, Pen, oval_points, rotation, vector

_LUMINANCE = np.array([0.114, 0.587, 0.299])
_DARK, _LIGHT = 45.0, 215.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Coat:
    """The colours of one object and where its motion begins (`phase`, seconds; `pace` near 1).

    One of `ground` and `pattern` is dark and the other light; which is which is drawn by lot.
    """

    ground: Colour
    pattern: Colour
    phase: float
    pace: float


def coat(rng: np.random.Generator) -> Coat:
    """Return two colours of the palette, one made dark and one made light, and a motion."""
    dark, light = PALETTE[rng.permutation(len(PALETTE))[:2]] + rng.uniform(-12, 12, (2, 3))
    dark = dark * min(1.0, _DARK / float(dark @ _LUMINANCE))
    luminance = float(light @ _LUMINANCE)
    light = light + (255 - light) * max(0.0, (_LIGHT - luminance) / (255 - luminance))
    ground, pattern = (dark, light) if rng.random() < 0.5 else (light, dark)
    return Coat(
        ground=tuple(ground),
        pattern=tuple(pattern),
        phase=float(rng.uniform(0, 10)),
        pace=float(rng.uniform(0.85, 1.15)),
    )


def dog(pen: Pen, time_s: float, coat: Coat) -> None:
    """Draw a spotted dog that runs on the spot and nods."""
    stride = np.sin(2 * np.pi * 2 * time_s)
    up = 0.02 * abs(stride)
    for x, sign in ((-0.15, 1), (-0.09, -1), (0.06, -1), (0.12, 1)):
        pen.lines([(x, 0.10), (x + 0.05 * sign * stride, 0.25)], 0.045, coat.ground)
    pen.lines([(-0.18, 0.0), (-0.23, -0.13 + 0.05 * stride)], 0.035, coat.ground)
    pen.oval((-0.03, 0.04 - up), (0.20, 0.13), 0.0, coat.ground)
    pen.oval((0.13, -0.13 - up), (0.105, 0.09), 0.2 * stride, coat.ground)
    pen.oval((0.065, -0.15 - up), (0.035, 0.085), 0.2, coat.pattern)
    for x, y in _SPOTS:
        pen.disc((x, y - up), 0.024, coat.pattern)


_SPOTS = (
    *((-0.17, 0.05), (-0.13, -0.02), (-0.06, -0.04), (0.01, -0.03), (0.08, 0.0)),
    *((-0.10, 0.045), (-0.03, 0.03), (0.04, 0.045), (0.115, 0.06), (-0.14, 0.11)),
    *((-0.065, 0.105), (0.005, 0.11), (0.075, 0.115), (0.13, -0.16), (0.18, -0.10)),
)


def car(pen: Pen, time_s: float, coat: Coat) -> None:
    """Draw a car with slanting stripes, on spoked wheels, that rolls to and fro."""
    roll = vector(0.025 * np.sin(2 * np.pi * 0.5 * time_s), 0.0)
    cabin = [(-0.13, -0.13), (-0.08, -0.22), (0.08, -0.22), (0.13, -0.13)]
    pen.area(np.array(cabin) + roll, coat.pattern)
    body = [(-0.24, -0.14), (0.24, -0.14), (0.24, 0.16), (-0.24, 0.16)]
    pen.area(np.array(body) + roll, coat.ground)
    for foot, top in _SLANTS:
        pen.lines(np.array([foot, top]) + roll, 0.024, coat.pattern)
    for x in (-0.13, 0.13):
        hub = vector(x, 0.17) + roll
        pen.disc(hub, 0.075, coat.pattern)
        pen.disc(hub, 0.055, coat.ground)
        for spoke in range(2):
            arm = rotation(np.pi * (spoke / 2 + 0.9 * time_s)) @ vector(0.055, 0.0)
            pen.lines([hub - arm, hub + arm], 0.014, coat.pattern)


def _slants() -> list[tuple[tuple[float, float], tuple[float, float]]]:
    """Return the ends of stripes at 45 degrees that fill the car's body."""
    left, right, top, bottom = -0.23, 0.23, -0.13, 0.15
    starts = np.arange(left - (bottom - top) + 0.03, right, 0.062)
    return [
        (
            (max(x, left), bottom - max(0.0, left - x)),
            (min(x + bottom - top, right), top + max(0.0, x + bottom - top - right)),
        )
        for x in starts
    ]


_SLANTS = _slants()


def fire_alarm(pen: Pen, time_s: float, coat: Coat) -> None:
    """Draw thin rings that run outwards and flash."""
    flash = (2 * time_s) % 1 < 0.5
    first, second = (coat.ground, coat.pattern) if flash else (coat.pattern, coat.ground)
    pen.disc((0, 0), 0.23, first)
    for ring in range(7):
        radius = 0.21 * (ring + (1.5 * time_s) % 1) / 7
        pen.lines(oval_points((0, 0), (radius, radius)), 0.014, second, closed=True)


def basketball(pen: Pen, time_s: float, coat: Coat) -> None:
    """Draw a chequered ball that bounces and spins."""
    bounce = abs(np.sin(np.pi * 2.2 * time_s))
    centre = vector(0.0, 0.08 - 0.16 * bounce)
    pen.disc(centre, 0.21, coat.ground)
    spin = rotation(np.pi / 4 + 0.3 * np.sin(2.0 * time_s))
    side = 0.052
    for column, row in np.ndindex(8, 8):
        middle = vector(column - 3.5, row - 3.5) * side
        if (column + row) % 2 == 0 and np.hypot(*middle) < 0.185:
            square = middle + np.array([(-1, -1), (1, -1), (1, 1), (-1, 1)]) * side / 2
            pen.area(square @ spin.T + centre, coat.pattern)


def vacuum_cleaner(pen: Pen, time_s: float, coat: Coat) -> None:
    """Draw a wide body with level stripes that is pushed to and fro."""
    push = np.sin(2 * np.pi * 0.9 * time_s)
    tilt = rotation(0.10 * push)
    foot = vector(0.03 * push, 0.24)
    corners = np.array([(-0.14, -0.44), (0.14, -0.44), (0.19, 0.0), (-0.19, 0.0)])
    pen.area(corners @ tilt.T + foot, coat.ground)
    for stripe in range(9):
        y = -0.02 - 0.05 * stripe
        half = 0.18 + 0.05 * y / 0.44
        pen.lines(np.array([(-half, y), (half, y)]) @ tilt.T + foot, 0.024, coat.pattern)
    pen.lines(np.array([(0.0, -0.44), (0.05, -0.52)]) @ tilt.T + foot, 0.03, coat.pattern)


def violin_fiddle(pen: Pen, time_s: float, coat: Coat) -> None:
    """Draw an upright violin with many strings, and a bow that crosses it."""
    for y, half in ((0.13, 0.18), (-0.08, 0.15), (0.03, 0.13)):
        pen.oval((0, y), (half, 0.12), 0.0, coat.ground)
    pen.lines([(0, -0.1), (0, -0.30)], 0.08, coat.ground)
    for string in range(-4, 5):
        x = 0.032 * string
        top = -0.30 if abs(string) < 2 else -0.12
        pen.lines([(x, 0.22 - 0.01 * abs(string)), (x, top)], 0.012, coat.pattern)
    draw = 0.10 * np.sin(2 * np.pi * 1.1 * time_s)
    pen.lines(np.array([(-0.2, 0.1), (0.2, -0.06)]) + vector(draw, -0.4 * draw), 0.02, coat.pattern)


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
    colour = tuple(np.add(coat.pattern, coat.ground) / 2)
    pen.area(oval_points(centre, (0.07, 0.05), turn), colour)
