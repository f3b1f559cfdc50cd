"""Stored poses to what ST-GCN reads, and the mirror image of it.

Flows in: rows of the pose stage. Flows out: float32 (channel, time, joint, person), channels
x, y, confidence.
"""

from __future__ import annotations

import numpy as np

from pipeline.pose.joints68 import MIRROR

# Legend: T rows, M persons, V joints, C channels (x, y, confidence).


def normalise_poses(
    keypoints_TMVC: np.ndarray, frame_size_T2: np.ndarray, present_TM: np.ndarray
) -> np.ndarray:
    """Return poses (C, T, V, M), the picture mapped to [-0.5, 0.5] on both axes.

    Joints of zero confidence, and persons that are absent, are all zeros, so that "nothing here" is
    one value wherever the picture's corner is (ST-GCN's own feeder does the same; the aspect ratio
    is not kept).

    Parameters
    ----------
    keypoints_TMVC
        (T, M, V, 3) pixels and confidence.
    frame_size_T2
        (T, 2) width, height in pixels.
    present_TM
        (T, M), non-zero where the person is there.
    """
    poses = np.array(keypoints_TMVC, np.float32)
    poses[..., :2] = poses[..., :2] / frame_size_T2[:, None, None, :].astype(np.float32) - 0.5
    poses[poses[..., 2] <= 0] = 0.0
    poses[np.asarray(present_TM) == 0] = 0.0
    return np.ascontiguousarray(poses.transpose(3, 0, 2, 1))


def mirror_poses(x_CTVM: np.ndarray) -> np.ndarray:
    """Return the mirrored poses: x negated, left and right joints exchanged."""
    mirrored = x_CTVM[:, :, MIRROR].copy()
    mirrored[0] *= -1.0
    return mirrored
