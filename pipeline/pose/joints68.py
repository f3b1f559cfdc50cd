"""The 68 joints: names, edges, mirror pairs. Frozen: trained weights and stored poses depend on it.

Flows in: nothing. Flows out: constants, and the reduction of Halpe-136 and Halpe-26 to the 68.

Order: 26 body joints (Halpe-26), 21 of the left hand, 21 of the right hand. Left is the person's
left. AlphaPose's own 68-joint models use the same order. The 67 edges form a spanning tree: the
drawing skeleton of AlphaPose plus nose-neck and the two wrist-to-hand-root edges that connect it.
"""

from __future__ import annotations

from itertools import pairwise

import numpy as np

JOINT_ORDER_VERSION = 1
N_JOINTS = 68
N_BODY = 26
CENTRE = 18
"""The neck: the root of the spatial partition. Seated musicians often have no visible pelvis."""

BODY_NAMES = (
    "nose",
    "left_eye",
    "right_eye",
    "left_ear",
    "right_ear",
    "left_shoulder",
    "right_shoulder",
    "left_elbow",
    "right_elbow",
    "left_wrist",
    "right_wrist",
    "left_hip",
    "right_hip",
    "left_knee",
    "right_knee",
    "left_ankle",
    "right_ankle",
    "head",
    "neck",
    "hip",
    "left_big_toe",
    "right_big_toe",
    "left_small_toe",
    "right_small_toe",
    "left_heel",
    "right_heel",
)
HAND_NAMES = (
    "root",
    *(
        f"{finger}_{k}"
        for finger in ("thumb", "index", "middle", "ring", "little")
        for k in range(1, 5)
    ),
)
JOINT_NAMES = (
    *BODY_NAMES,
    *(f"left_hand_{name}" for name in HAND_NAMES),
    *(f"right_hand_{name}" for name in HAND_NAMES),
)

LEFT_HAND = 26
RIGHT_HAND = 47
N_HAND = 21
LEFT_WRIST, RIGHT_WRIST = 9, 10

_HEAD_AND_TRUNK = (
    *((0, 1), (0, 2), (1, 3), (2, 4), (0, 18), (17, 18)),
    *((18, 19), (5, 18), (6, 18), (19, 11), (19, 12)),
)
_LIMBS = (
    *((5, 7), (7, 9), (6, 8), (8, 10)),
    *((11, 13), (13, 15), (12, 14), (14, 16)),
    *((15, 24), (24, 22), (24, 20), (16, 25), (25, 23), (25, 21)),
)


def _hand_edges(root: int) -> tuple[tuple[int, int], ...]:
    """Five chains of four joints from the hand's root."""
    chains = [(root, *range(root + 1 + 4 * k, root + 5 + 4 * k)) for k in range(5)]
    return tuple(edge for chain in chains for edge in pairwise(chain))


EDGES: tuple[tuple[int, int], ...] = (
    *_HEAD_AND_TRUNK,
    *_LIMBS,
    (LEFT_WRIST, LEFT_HAND),
    (RIGHT_WRIST, RIGHT_HAND),
    *_hand_edges(LEFT_HAND),
    *_hand_edges(RIGHT_HAND),
)

FLIP_PAIRS: tuple[tuple[int, int], ...] = (
    *((left, left + 1) for left in (1, 3, 5, 7, 9, 11, 13, 15, 20, 22, 24)),
    *((LEFT_HAND + k, RIGHT_HAND + k) for k in range(N_HAND)),
)


def _mirror() -> np.ndarray:
    """Index array that swaps every pair of `FLIP_PAIRS`."""
    order = np.arange(N_JOINTS)
    for left, right in FLIP_PAIRS:
        order[[left, right]] = right, left
    order.setflags(write=False)
    return order


MIRROR = _mirror()
"""`keypoints[..., MIRROR, :]` are the joints of the mirrored person."""

_HALPE136_FACE = slice(26, 94)


def from_joint_count(keypoints: np.ndarray) -> np.ndarray:
    """Return 68 joints from a (J, 3) pose of 136, 68 or 26 joints.

    136: the face (26-93) is dropped. 26: both hands are zero, score included.

    Raises
    ------
    ValueError
        For any other number of joints; COCO's 17 lack neck, pelvis, feet and hands.
    """
    count = len(keypoints)
    if count == N_JOINTS:
        return keypoints
    if count == 136:
        return np.delete(keypoints, _HALPE136_FACE, axis=0)
    if count == N_BODY:
        return np.concatenate([keypoints, np.zeros((N_JOINTS - N_BODY, 3), keypoints.dtype)])
    raise ValueError(f"{count} joints a person; expected 136, 68 or 26 (Halpe order)")
