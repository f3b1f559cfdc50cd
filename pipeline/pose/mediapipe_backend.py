"""Persons found by MediaPipe, which works out of the box and on a CPU.

Flows in: RGB pictures. Flows out: for each a list of `Person`. Good where the whole player is seen
from the front; poor on close-ups, from the side and on folded arms (docs/alphapose.md says so): for
trying things out. For results that are to stand beside published ones there are AlphaPose and rtm.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from pipeline.extractors.base import Inputs
from pipeline.pose.backends import RowOfPersons
from pipeline.pose.config import PoseConfig
from pipeline.pose.mediapipe_hands import find_hands
from pipeline.pose.mediapipe_joints import ARMS, body_joints, with_hand
from pipeline.pose.mediapipe_models import landmarks, load_models
from pipeline.pose.person import Person, box_iou, box_overlap, make_person, torso_px
from pipeline.pose.pictures import pose_pictures

_SAME_IOU = 0.5
_SAME_HEIGHTS = 0.15
"""Two poses are one person if their boxes overlap this much or their joints are this near."""
_SAME_OVERLAP = 0.5
_SAME_TORSOS = 2.0
"""... or if half of the smaller box lies in the other and the joints are not far apart: on a dark
or partly seen figure the model finds several skeletons of different sizes."""
_MIN_ARMS = 0.45
"""Mean confidence of shoulders, elbows and wrists below which the arms are a guess."""


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
    """Return the persons in an RGB uint8 picture, most confident first, with the hands found."""
    persons = []
    for body in find_bodies(picture):
        joints = body_joints(body)
        box = make_person(joints).box
        for side, (points_px, score) in find_hands(picture, body, load_models().hand).items():
            joints = with_hand(joints, side, points_px, score)
        persons.append(make_person(joints, box))
    return persons


def find_bodies(picture: np.ndarray) -> list[np.ndarray]:
    """Return (33, 3) x, y in pixels and confidence of each body, without duplicates and guesses.

    A joint's confidence is MediaPipe's visibility times its presence: of joints that it takes to be
    outside of the picture the model may still say that they are visible.
    """
    found = landmarks(load_models().pose, picture).pose_landmarks
    height, width = picture.shape[:2]
    return without_duplicates(
        [
            np.array(
                [[p.x * width, p.y * height, p.visibility * p.presence] for p in pose], np.float32
            )
            for pose in found
        ]
    )


def without_duplicates(bodies: Sequence[np.ndarray]) -> list[np.ndarray]:
    """Return the (33, 3) poses, best first, that are sure of their arms and no second sight of a
    better one.
    """
    kept: list[np.ndarray] = []
    sure = [body for body in bodies if body[ARMS, 2].mean() >= _MIN_ARMS]
    for body in sorted(sure, key=lambda b: (-float(b[:, 2].mean()), b[0, 0])):
        if not any(_same(better, body) for better in kept):
            kept.append(body)
    return kept


def _same(better: np.ndarray, body: np.ndarray) -> bool:
    """Whether two poses are one person."""
    gap_px = float(np.linalg.norm(better[:, :2] - body[:, :2], axis=1).mean())
    if gap_px < _SAME_HEIGHTS * float(np.ptp(better[:, 1])):
        return True
    a, b = (make_person(body_joints(each)) for each in (better, body))
    near = gap_px < _SAME_TORSOS * max(torso_px(a), torso_px(b))
    return box_iou(a.box, b.box) > _SAME_IOU or (near and box_overlap(a.box, b.box) > _SAME_OVERLAP)
