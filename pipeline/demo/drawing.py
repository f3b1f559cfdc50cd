"""Shapes in body or picture units in, anti-aliased pixels out; and the one palette of all pictures.

Every class draws its clothes, instruments, objects and backgrounds from the same colours, so that
neither colour nor background tells classes apart.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import ArrayLike

Colour = tuple[float, float, float]
Vector = np.ndarray
"""A point or direction, (2,) float64."""

_FRACTION_BITS = 4

PALETTE = np.array(
    [
        (60, 76, 208),
        (48, 140, 232),
        (70, 200, 225),
        (96, 168, 84),
        (170, 170, 60),
        (190, 110, 60),
        (150, 70, 130),
        (150, 130, 225),
        (92, 118, 150),
        (205, 205, 205),
        (110, 110, 110),
        (62, 58, 56),
        (130, 165, 205),
        (60, 85, 125),
    ],
    dtype=np.float64,
)
"""BGR; the last two look like skin and wood, and are in the common pool like the others."""

SKINS = np.array([(150, 180, 225), (120, 155, 205), (85, 115, 165), (60, 85, 125)], np.float64)


def colours(rng: np.random.Generator, count: int) -> list[Colour]:
    """Return `count` different colours of the palette, each a little changed."""
    chosen = PALETTE[rng.permutation(len(PALETTE))[:count]]
    return [tuple(row) for row in np.clip(chosen + rng.uniform(-12, 12, chosen.shape), 0, 255)]


def skin(rng: np.random.Generator) -> Colour:
    """Return a colour of skin."""
    tone = SKINS[rng.integers(len(SKINS))] + rng.uniform(-8, 8, 3)
    return tuple(np.clip(tone, 0, 255))


def background(rng: np.random.Generator, side_px: int, *, strength: float = 0.75) -> np.ndarray:
    """Return a square picture, uint8 BGR: a gradient and some clutter, softly drawn.

    `strength` is how far it departs from grey, 0-1.
    """
    wall, floor, *rest = colours(rng, 8)
    rows = np.linspace(0, 1, side_px)[:, None, None]
    gradient = (np.array(wall) * (1 - rows) + np.array(floor) * rows).repeat(side_px, axis=1)
    image = np.ascontiguousarray(gradient.astype(np.uint8))
    pen = Pen(image, side_px, (0.0, 0.0))
    for colour in rest:
        centre, half = rng.uniform(0, 1, 2), rng.uniform(0.05, 0.2, 2)
        if rng.random() < 0.5:
            pen.area(centre + half * [(-1, -1), (1, -1), (1, 1), (-1, 1)], colour)
        else:
            pen.oval(centre, (half[0], half[1]), 0.0, colour)
    soft = cv2.GaussianBlur(image, (0, 0), side_px / 50)
    grain = cv2.resize(rng.normal(0, 3, (side_px // 4, side_px // 4)), (side_px, side_px))
    return np.clip(soft * strength + 128 * (1 - strength) + grain[..., None], 0, 255).astype(
        np.uint8
    )


@dataclass(frozen=True, slots=True)
class Pen:
    """Draws on `image` in units of `scale_px` pixels around `origin_px`; y points down.

    `mirror` flips left and right about the origin.
    """

    image: np.ndarray
    scale_px: float
    origin_px: tuple[float, float]
    mirror: bool = False

    def pixels(self, points: ArrayLike) -> np.ndarray:
        """Return `points` (n, 2) as pixels, float64."""
        xy = np.asarray(points, dtype=np.float64) * self.scale_px
        if self.mirror:
            xy = xy * (-1.0, 1.0)
        return xy + self.origin_px

    def _fixed(self, points: ArrayLike) -> np.ndarray:
        return np.rint(self.pixels(points) * (1 << _FRACTION_BITS)).astype(np.int32)

    def lines(
        self, points: ArrayLike, width: float, colour: Colour, *, closed: bool = False
    ) -> None:
        """Draw a thick line through `points`, with round ends."""
        thickness = max(1, round(width * self.scale_px))
        cv2.polylines(
            self.image,
            [self._fixed(points)],
            closed,
            colour,
            thickness,
            cv2.LINE_AA,
            _FRACTION_BITS,
        )

    def area(self, points: ArrayLike, colour: Colour) -> None:
        """Fill the polygon `points`."""
        cv2.fillPoly(self.image, [self._fixed(points)], colour, cv2.LINE_AA, _FRACTION_BITS)

    def disc(self, centre: ArrayLike, radius: float, colour: Colour) -> None:
        """Fill a circle."""
        (x, y), fixed = self._fixed(np.reshape(centre, (1, 2)))[0], 1 << _FRACTION_BITS
        size = max(1, round(radius * self.scale_px * fixed))
        cv2.circle(self.image, (int(x), int(y)), size, colour, -1, cv2.LINE_AA, _FRACTION_BITS)

    def oval(
        self, centre: ArrayLike, axes: tuple[float, float], angle: float, colour: Colour
    ) -> None:
        """Fill an ellipse with half axes `axes`, turned by `angle` radians (clockwise)."""
        self.area(oval_points(centre, axes, angle), colour)


def oval_points(
    centre: ArrayLike, axes: tuple[float, float], angle: float = 0.0, count: int = 28
) -> np.ndarray:
    """Return `count` points of an ellipse, shape (count, 2)."""
    turn = np.linspace(0, 2 * np.pi, count, endpoint=False)
    unit = np.stack([axes[0] * np.cos(turn), axes[1] * np.sin(turn)], axis=1)
    return unit @ rotation(angle).T + np.asarray(centre)


def rotation(angle: float) -> np.ndarray:
    """Return the 2x2 matrix that turns by `angle` radians, clockwise as y points down."""
    return np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])


def vector(x: float, y: float) -> Vector:
    """Return a point or direction."""
    return np.array([x, y], dtype=np.float64)
