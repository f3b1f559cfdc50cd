"""MediaPipe's 33 body landmarks and 21 hand landmarks as our 68 joints.

Flows in: landmark arrays in pixels. Flows out: (68, 3) keypoints. Neck, head, pelvis and small toes
do not exist in MediaPipe: they are placed from their neighbours, with half the confidence of the
least confident of those, so that a model can tell. The ratios were measured on one frontal figure
(the Halpe annotation guide) and are approximate for a person seen from the side.
"""

from __future__ import annotations

import numpy as np

from pipeline.pose.joints68 import LEFT_HAND, N_HAND, N_JOINTS, RIGHT_HAND

N_LANDMARKS = 33
HAND_START = {"left": LEFT_HAND, "right": RIGHT_HAND}
ELBOW = {"left": 13, "right": 14}
WRIST = {"left": 15, "right": 16}
FACE = slice(0, 11)
"""Eyes, ears, nose and mouth."""
ARMS = slice(11, 17)
"""Shoulders, elbows, wrists."""

_TO_BODY = {
    **{0: 0, 1: 2, 2: 5, 3: 7, 4: 8},
    **{5: 11, 6: 12, 7: 13, 8: 14, 9: 15, 10: 16},
    **{11: 23, 12: 24, 13: 25, 14: 26, 15: 27, 16: 28},
    **{20: 31, 21: 32, 24: 29, 25: 30},
}
_JOINTS, _LANDMARKS = (list(side) for side in zip(*_TO_BODY.items(), strict=True))
_HEAD, _NECK, _PELVIS = 17, 18, 19
_SMALL_TOE_FROM = {22: 31, 23: 32}
_SYNTHETIC_CONFIDENCE = 0.5


def body_joints(landmarks: np.ndarray) -> np.ndarray:
    """Return (68, 3) keypoints with zero hands from (33, 3) landmarks x, y, confidence."""
    joints = np.zeros((N_JOINTS, 3), np.float32)
    joints[_JOINTS] = landmarks[_LANDMARKS]
    shoulders, ears, hips = landmarks[[11, 12]], landmarks[[7, 8]], landmarks[[23, 24]]
    joints[_HEAD] = _between(ears, shoulders, -0.70)
    joints[_NECK] = _between(shoulders, ears, 0.43)
    joints[_PELVIS] = _between(hips, shoulders, 0.06)
    for joint, toe in _SMALL_TOE_FROM.items():
        joints[joint] = _between(landmarks[[toe]], landmarks[[toe]], 0.0)
    return joints


def _between(start: np.ndarray, end: np.ndarray, fraction: float) -> np.ndarray:
    """Point on the line from the middle of `start` to the middle of `end`, half confident."""
    origin, target = start[:, :2].mean(axis=0), end[:, :2].mean(axis=0)
    point = origin + fraction * (target - origin)
    return np.append(point, _SYNTHETIC_CONFIDENCE * min(start[:, 2].min(), end[:, 2].min()))


def with_hand(joints: np.ndarray, side: str, hand_px: np.ndarray, score: float) -> np.ndarray:
    """Return the keypoints with one hand's 21 landmarks, all with the hand's one score."""
    start = HAND_START[side]
    joints = joints.copy()
    joints[start : start + N_HAND, :2] = hand_px
    joints[start : start + N_HAND, 2] = score
    return joints
