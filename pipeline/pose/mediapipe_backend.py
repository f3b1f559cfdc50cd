"""Persons found by MediaPipe, which works out of the box and on a CPU.

Flows in: RGB pictures. Flows out: for each a list of `Person`. Good where the whole player is seen
from the front; poor on close-ups, from the side and on folded arms (docs say so): for results that
are to stand beside published ones, import AlphaPose's.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import cv2
import numpy as np

from pipeline.extractors.base import Inputs
from pipeline.pose.backends import RowOfPersons
from pipeline.pose.config import PoseConfig
from pipeline.pose.mediapipe_joints import ELBOW, FACE, WRIST, body_joints, with_hand
from pipeline.pose.mediapipe_models import landmarks, load_models
from pipeline.pose.person import Person, box_iou, make_person
from pipeline.pose.pictures import pose_pictures

_SAME_IOU = 0.5
_SAME_HEIGHTS = 0.15
"""Two poses are one person if their boxes overlap this much or their joints are this near."""
_MIN_WRIST_VISIBILITY = 0.3
_CROP_PX = 256
_ROOT_REACH = 0.6
"""A hand's root lies within this part of the crop's half side from the body's wrist."""


class MediapipeBackend:
    """Image mode: each picture is looked at alone, so rows do not depend on their neighbours."""

    def __init__(self, short_side_max_px: int) -> None:
        load_models()
        self._short_side_max_px = short_side_max_px

    def rows(self, inputs: Inputs, *, rate_hz: float) -> Iterator[RowOfPersons]:
        """Yield the persons of each picture of the clip."""
        pictures = pose_pictures(inputs, rate_hz=rate_hz, short_side_max_px=self._short_side_max_px)
        for picture in pictures:
            height, width = picture.shape[:2]
            yield RowOfPersons(size_px=(width, height), persons=find_persons(picture))


def build(parameters: PoseConfig) -> MediapipeBackend:
    """Return the backend with its models loaded."""
    return MediapipeBackend(parameters.short_side_max_px)


def find_persons(picture: np.ndarray) -> list[Person]:
    """Return the persons in an RGB uint8 picture, most confident first, without duplicates."""
    models = load_models()
    found = landmarks(models.pose, picture).pose_landmarks
    height, width = picture.shape[:2]
    bodies = [
        np.array([[p.x * width, p.y * height, p.visibility] for p in pose], np.float32)
        for pose in found
    ]
    persons = []
    for body in _without_duplicates(bodies):
        joints = body_joints(body)
        box = make_person(joints).box
        hands = _hands(picture, body, models.hand)
        for side, (points_px, score) in hands.items():
            joints = with_hand(joints, side, points_px, score)
        persons.append(make_person(joints, box))
    return persons


def _without_duplicates(bodies: Sequence[np.ndarray]) -> list[np.ndarray]:
    """Best first; a pose on top of a better one is the same person seen twice."""
    kept: list[np.ndarray] = []
    for body in sorted(bodies, key=lambda b: (-float(b[:, 2].mean()), b[0, 0])):
        if not any(_same(better, body) for better in kept):
            kept.append(body)
    return kept


def _same(better: np.ndarray, body: np.ndarray) -> bool:
    """Whether two poses are one person."""
    gap = np.linalg.norm(better[:, :2] - body[:, :2], axis=1).mean()
    boxes = [make_person(body_joints(b)).box for b in (better, body)]
    return bool(gap < _SAME_HEIGHTS * _height_px(better)) or box_iou(*boxes) > _SAME_IOU


def _height_px(body: np.ndarray) -> float:
    """Height of a body's landmarks, guessed ones outside of the picture too."""
    return float(np.ptp(body[:, 1]))


def _hands(
    picture: np.ndarray, body: np.ndarray, model: Any
) -> dict[str, tuple[np.ndarray, float]]:
    """{side: ((21, 2) pixels, score)} of the hands found near the wrists.

    The side comes from the wrist: the hand model's own left and right are wrong in two of five.
    """
    found = {}
    for side in ("left", "right"):
        wrist, elbow = body[WRIST[side]], body[ELBOW[side]]
        if wrist[2] < _MIN_WRIST_VISIBILITY:
            continue
        forearm = wrist[:2] - elbow[:2]
        half_px = max(0.75 * float(np.linalg.norm(forearm)), 0.12 * _height_px(body), 8.0)
        corner = wrist[:2] + 0.35 * forearm - half_px
        hand = _hand_in_crop(picture, corner, 2 * half_px, model)
        if hand is None:
            continue
        astray = float(np.linalg.norm(hand[0][0] - wrist[:2])) > _ROOT_REACH * half_px
        if not astray and not _on_face(hand[0], body):
            found[side] = hand
    return _without_shared_hand(found, body)


def _hand_in_crop(
    picture: np.ndarray, corner: np.ndarray, side_px: float, model: Any
) -> tuple[np.ndarray, float] | None:
    """The hand in a square of the picture (black outside of it), in picture pixels."""
    scale = _CROP_PX / side_px
    to_crop = np.array([[scale, 0, -corner[0] * scale], [0, scale, -corner[1] * scale]])
    crop = cv2.warpAffine(picture, to_crop, (_CROP_PX, _CROP_PX), flags=cv2.INTER_LINEAR)
    result = landmarks(model, crop)
    if not result.hand_landmarks:
        return None
    points = np.array([[p.x, p.y] for p in result.hand_landmarks[0]], np.float32)
    return corner + points * side_px, float(result.handedness[0][0].score)


def _on_face(hand_px: np.ndarray, body: np.ndarray) -> bool:
    """Whether most of a hand lies between eyes, ears and mouth: a beard is easily taken for one."""
    face = body[FACE, :2]
    low, high = face.min(axis=0), face.max(axis=0)
    inside = np.all((hand_px > low) & (hand_px < high), axis=1)
    return bool(inside.mean() > 0.5)


def _without_shared_hand(
    found: dict[str, tuple[np.ndarray, float]], body: np.ndarray
) -> dict[str, tuple[np.ndarray, float]]:
    """When both wrists' crops show the same hand, the nearer wrist keeps it."""
    if len(found) < 2:
        return found
    left, right = found["left"][0], found["right"][0]
    size_px = max(float(np.ptp(left, axis=0).max()), float(np.ptp(right, axis=0).max()))
    if np.linalg.norm(left - right, axis=1).mean() > 0.3 * size_px:
        return found
    away = {s: np.linalg.norm(found[s][0][0] - body[WRIST[s], :2]) for s in ("left", "right")}
    nearer = min(away, key=lambda side: away[side])
    return {nearer: found[nearer]}
