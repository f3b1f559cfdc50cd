"""The hands of one body that MediaPipe found.

Flows in: an RGB picture, a body's landmarks in pixels, the hand model. Flows out: {side: joints}
of the hands that can be believed. The hand model is shown a square around each wrist; what it finds
on a face, away from the wrist or where no wrist is seen is dropped.
"""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np

from pipeline.pose.mediapipe_joints import ELBOW, FACE, WRIST
from pipeline.pose.mediapipe_models import landmarks

Hand = tuple[np.ndarray, float]
"""(21, 2) pixels of the picture, and the one score that MediaPipe gives a hand."""

_MIN_WRIST_CONFIDENCE = 0.3
_CROP_PX = 256
_ROOT_REACH = 0.6
"""A hand's root lies within this part of the crop's half side from the body's wrist."""
_MIN_INSIDE = 0.5
"""Part of a hand's joints that lie in the picture."""


def find_hands(picture: np.ndarray, body: np.ndarray, model: Any) -> dict[str, Hand]:
    """Return the hands found near the wrists of `body`, by side: 'left', 'right'.

    The side comes from the wrist: the hand model's own left and right are wrong in two of five.

    Parameters
    ----------
    picture
        (H, W, 3) uint8 RGB.
    body
        (33, 3) x, y in pixels and confidence.
    model
        A HandLandmarker.
    """
    found = {}
    for side in ("left", "right"):
        wrist, elbow = body[WRIST[side]], body[ELBOW[side]]
        if not _wrist_seen(wrist, picture):
            continue
        forearm = wrist[:2] - elbow[:2]
        height_px = float(np.ptp(body[:, 1]))
        half_px = max(0.75 * float(np.linalg.norm(forearm)), 0.12 * height_px, 8.0)
        corner = wrist[:2] + 0.35 * forearm - half_px
        hand = _hand_in_crop(picture, corner, 2 * half_px, model)
        if hand is None:
            continue
        astray = float(np.linalg.norm(hand[0][0] - wrist[:2])) > _ROOT_REACH * half_px
        if not (astray or on_face(hand[0], body) or _outside(hand[0], picture)):
            found[side] = hand
    return without_shared_hand(found, body)


def _wrist_seen(wrist: np.ndarray, picture: np.ndarray) -> bool:
    """Whether a wrist is believed and lies in the picture."""
    height, width = picture.shape[:2]
    inside = 0 <= wrist[0] < width and 0 <= wrist[1] < height
    return bool(inside and wrist[2] >= _MIN_WRIST_CONFIDENCE)


def _outside(hand_px: np.ndarray, picture: np.ndarray) -> bool:
    """Whether most of a hand lies outside of the picture, where nothing can have been seen."""
    height, width = picture.shape[:2]
    inside = np.all((hand_px >= 0) & (hand_px < [width, height]), axis=1)
    return bool(inside.mean() < _MIN_INSIDE)


def _hand_in_crop(
    picture: np.ndarray, corner: np.ndarray, side_px: float, model: Any
) -> Hand | None:
    """The hand in a square of the picture (black outside of it), in picture pixels."""
    scale = _CROP_PX / side_px
    to_crop = np.array([[scale, 0, -corner[0] * scale], [0, scale, -corner[1] * scale]])
    crop = cv2.warpAffine(picture, to_crop, (_CROP_PX, _CROP_PX), flags=cv2.INTER_LINEAR)
    result = landmarks(model, crop)
    if not result.hand_landmarks:
        return None
    points = np.array([[p.x, p.y] for p in result.hand_landmarks[0]], np.float32)
    return corner + points * side_px, float(result.handedness[0][0].score)


def on_face(hand_px: np.ndarray, body: np.ndarray) -> bool:
    """Whether most of a hand lies between eyes, ears and mouth: a beard is easily taken for one."""
    face = body[FACE, :2]
    low, high = face.min(axis=0), face.max(axis=0)
    inside = np.all((hand_px > low) & (hand_px < high), axis=1)
    return bool(inside.mean() > 0.5)


def without_shared_hand(found: dict[str, Hand], body: np.ndarray) -> dict[str, Hand]:
    """Return the hands; when both wrists' crops show the same one, the nearer wrist keeps it."""
    if len(found) < 2:
        return found
    left, right = found["left"][0], found["right"][0]
    size_px = max(float(np.ptp(left, axis=0).max()), float(np.ptp(right, axis=0).max()))
    if np.linalg.norm(left - right, axis=1).mean() > 0.3 * size_px:
        return found
    away = {s: np.linalg.norm(found[s][0][0] - body[WRIST[s], :2]) for s in ("left", "right")}
    nearer = min(away, key=lambda side: away[side])
    return {nearer: found[nearer]}
