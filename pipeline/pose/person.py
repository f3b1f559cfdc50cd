"""One detected person in one picture: what every backend gives and everything after reads.

Flows in: joints in pixels. Flows out: `Person` with a box and a score that mean the same for all
backends.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pipeline.pose.joints68 import N_BODY

CONFIDENT = 0.3
"""Body joints below this confidence do not shape a box, a torso or a comparison."""
_BOX_MARGIN = 0.05


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Person:
    """A pose in picture pixels.

    `keypoints` (68, 3) float32: x, y in pixels (may lie outside the picture), confidence; a joint
    that was not looked for is (0, 0, 0). `box` (4,) float32: x1, y1, x2, y2 in pixels. `score`:
    mean confidence of the more confident half of the 26 body joints, whatever score the backend
    itself prints: a player cut at the waist is no worse than one who is seen to the feet.
    """

    keypoints: np.ndarray
    box: np.ndarray
    score: float

    @property
    def area_px(self) -> float:
        """Area of the box."""
        return float(np.prod(np.maximum(self.box[2:] - self.box[:2], 0.0)))


def make_person(keypoints: np.ndarray, box_xyxy: np.ndarray | None = None) -> Person:
    """Return a `Person`; without a box, the extent of its confident joints with a small margin."""
    keypoints = np.asarray(keypoints, np.float32)
    if box_xyxy is None:
        box_xyxy = _extent(keypoints)
    return Person(
        keypoints=keypoints,
        box=np.asarray(box_xyxy, np.float32),
        score=float(np.sort(keypoints[:N_BODY, 2])[N_BODY // 2 :].mean()),
    )


def _extent(keypoints: np.ndarray) -> np.ndarray:
    """Box around the confident joints; around all scored joints when none is confident."""
    for floor in (CONFIDENT, 0.0):
        points = keypoints[keypoints[:, 2] > floor, :2]
        if len(points) >= 2:
            low, high = points.min(axis=0), points.max(axis=0)
            margin = _BOX_MARGIN * (high - low).max()
            return np.concatenate([low - margin, high + margin])
    return np.zeros(4, np.float32)


def box_iou(a: np.ndarray, b: np.ndarray) -> float:
    """Return intersection over union of two xyxy boxes."""
    size = np.minimum(a[2:], b[2:]) - np.maximum(a[:2], b[:2])
    overlap = float(np.prod(np.maximum(size, 0.0)))
    union = float(np.prod(a[2:] - a[:2]) + np.prod(b[2:] - b[:2])) - overlap
    return overlap / union if union > 0 else 0.0


def box_overlap(a: np.ndarray, b: np.ndarray) -> float:
    """Return the part of the smaller of two xyxy boxes that lies in the other."""
    size = np.minimum(a[2:], b[2:]) - np.maximum(a[:2], b[:2])
    smaller = min(float(np.prod(a[2:] - a[:2])), float(np.prod(b[2:] - b[:2])))
    return float(np.prod(np.maximum(size, 0.0))) / smaller if smaller > 0 else 0.0


def torso_px(person: Person) -> float:
    """Return a length that changes little with posture: the trunk, or the shoulders' width.

    Falls back to a quarter of the box's longer side where neither is seen.
    """
    points, score = person.keypoints[:, :2], person.keypoints[:, 2]
    longest = 0.0
    if min(score[[5, 6]]) > CONFIDENT:
        longest = float(np.linalg.norm(points[5] - points[6]))
        if max(score[[11, 12]]) > CONFIDENT:
            hip = 11 if score[11] >= score[12] else 12
            trunk = points[[5, 6]].mean(axis=0) - points[hip]
            longest = max(longest, float(np.linalg.norm(trunk)))
    return max(longest, 0.25 * float((person.box[2:] - person.box[:2]).max()), 1.0)


def joint_distance_px(a: Person, b: Person) -> float | None:
    """Return the mean distance of the body joints confident in both, or None with fewer than 3."""
    both = np.minimum(a.keypoints[:N_BODY, 2], b.keypoints[:N_BODY, 2]) > CONFIDENT
    if both.sum() < 3:
        return None
    gap = a.keypoints[:N_BODY][both, :2] - b.keypoints[:N_BODY][both, :2]
    return float(np.linalg.norm(gap, axis=1).mean())
