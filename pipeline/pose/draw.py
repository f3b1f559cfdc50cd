"""Draw poses on a picture, for reports and for looking at what a backend found.

Flows in: an RGB picture and the persons of one row. Flows out: a new RGB picture.
"""

from __future__ import annotations

from itertools import cycle

import cv2
import numpy as np

from pipeline.pose.joints68 import EDGES, N_BODY

_COLOURS = ((230, 75, 60), (52, 120, 220), (60, 170, 90), (210, 150, 40))
_HAND_LIGHTENING = 0.45


def draw_poses(
    picture: np.ndarray,
    keypoints: np.ndarray,
    *,
    frame_size: tuple[int, int] | np.ndarray | None = None,
    min_score: float = 0.3,
    line_px: int | None = None,
) -> np.ndarray:
    """Return a copy of `picture` with the skeletons on it; hands are drawn lighter and thinner.

    Parameters
    ----------
    picture
        (H, W, 3) uint8 RGB.
    keypoints
        (persons, 68, 3); pixels of a picture of `frame_size` = (width, height), by default of
        `picture` itself. Joints below `min_score` and their edges are left out.
    line_px
        Width of body edges; by default it follows the picture's size.
    """
    canvas = np.ascontiguousarray(picture).copy()
    height, width = canvas.shape[:2]
    scale = np.ones(2) if frame_size is None else np.array([width, height]) / np.asarray(frame_size)
    line_px = line_px or max(1, round(min(height, width) / 160))
    for person, colour in zip(keypoints, cycle(_COLOURS), strict=False):
        _draw_person(canvas, person, scale, min_score, line_px, colour)
    return canvas


def _draw_person(
    canvas: np.ndarray,
    person: np.ndarray,
    scale: np.ndarray,
    min_score: float,
    line_px: int,
    colour: tuple[int, int, int],
) -> None:
    """Edges, then body joints, on `canvas` in place."""
    seen = person[:, 2] > min_score
    light = tuple(round(c + (255 - c) * _HAND_LIGHTENING) for c in colour)
    points = np.rint(np.clip(person[:, :2] * scale, -1e4, 1e4)).astype(int)
    for a, b in EDGES:
        if seen[a] and seen[b]:
            hand = a >= N_BODY
            cv2.line(
                canvas,
                tuple(points[a].tolist()),
                tuple(points[b].tolist()),
                light if hand else colour,
                max(1, line_px // 2) if hand else line_px,
                cv2.LINE_AA,
            )
    dot_px = max(1, line_px // 2)
    for joint in np.flatnonzero(seen[:N_BODY]):
        cv2.circle(canvas, tuple(points[joint].tolist()), dot_px, (255, 255, 255), -1, cv2.LINE_AA)
