"""The frozen joints, and the arithmetic on them."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.sparse import csr_array
from scipy.sparse.csgraph import connected_components

from pipeline.pose.draw import draw_poses
from pipeline.pose.joints68 import (
    CENTRE,
    EDGES,
    FLIP_PAIRS,
    JOINT_NAMES,
    LEFT_HAND,
    MIRROR,
    N_JOINTS,
    RIGHT_HAND,
    from_joint_count,
)
from pipeline.pose.mediapipe_joints import body_joints
from pipeline.pose.normalise import mirror_poses, normalise_poses
from pipeline.pose.person import box_iou, make_person

SHARED = Path(__file__).parents[2].parent / "shared"


def test_order_edges_and_pairs_are_frozen() -> None:
    frozen = json.dumps([JOINT_NAMES, EDGES, FLIP_PAIRS, CENTRE]).encode()
    assert hashlib.sha256(frozen).hexdigest()[:16] == "b5416a476a34718a", (
        "the 68 joints changed: stored poses and trained weights no longer fit"
    )


def test_edges_are_a_spanning_tree() -> None:
    assert len(EDGES) == 67
    a, b = np.array(EDGES).T
    links = csr_array((np.ones(67), (a, b)), shape=(N_JOINTS, N_JOINTS))
    assert connected_components(links, directed=False)[0] == 1
    assert {(0, 18), (9, 26), (10, 47)} <= set(EDGES)
    assert JOINT_NAMES[CENTRE] == "neck"


def test_mirror_pairs_left_with_right_and_keeps_edges() -> None:
    swapped = [
        name.replace("left", "?").replace("right", "left").replace("?", "right")
        for name in JOINT_NAMES
    ]
    assert [JOINT_NAMES[k] for k in MIRROR] == swapped
    edges = {frozenset(edge) for edge in EDGES}
    assert {frozenset((int(MIRROR[a]), int(MIRROR[b]))) for a, b in EDGES} == edges


def test_136_and_26_joints_reduce_to_68() -> None:
    full = np.arange(136 * 3, dtype=np.float32).reshape(136, 3)
    ours = from_joint_count(full)
    np.testing.assert_array_equal(ours[:26], full[:26])
    np.testing.assert_array_equal(ours[LEFT_HAND:RIGHT_HAND], full[94:115])
    np.testing.assert_array_equal(ours[RIGHT_HAND:], full[115:])
    body = from_joint_count(full[:26])
    assert body.shape == (68, 3)
    assert not body[26:].any()
    with pytest.raises(ValueError, match="17 joints"):
        from_joint_count(full[:17])


@given(st.integers(1, 5), st.integers(16, 4000), st.integers(16, 4000))
def test_normalised_poses_lie_in_the_unit_picture(rows: int, width: int, height: int) -> None:
    generator = np.random.default_rng(rows)
    keypoints = generator.uniform(0, 1, (rows, 2, 68, 3)) * [width, height, 1]
    keypoints[:, 0, 5, 2] = 0.0
    present = np.ones((rows, 2), np.uint8)
    present[0, 1] = 0
    size = np.tile(np.array([width, height], np.int16), (rows, 1))
    x_CTVM = normalise_poses(keypoints, size, present)
    assert x_CTVM.shape == (3, rows, 68, 2)
    assert np.abs(x_CTVM[:2]).max() <= 0.5 + 1e-6
    assert not x_CTVM[:, :, 5, 0].any()
    assert not x_CTVM[:, 0, :, 1].any()
    np.testing.assert_array_equal(mirror_poses(mirror_poses(x_CTVM)), x_CTVM)
    np.testing.assert_allclose(mirror_poses(x_CTVM)[0, :, 6], -x_CTVM[0, :, 5])


def test_synthetic_joints_lie_where_the_figure_has_them_with_half_the_confidence() -> None:
    landmarks = np.zeros((33, 3), np.float32)
    landmarks[:, 2] = 0.8
    for pair, y in (((7, 8), 94.5), ((11, 12), 185.0), ((23, 24), 441.0)):
        landmarks[list(pair), :2] = [[120.0, y], [80.0, y]]
    joints = body_joints(landmarks)
    for joint, y in ((17, 31.0), (18, 146.0), (19, 425.0)):
        assert joints[joint, 0] == pytest.approx(100)
        assert joints[joint, 1] == pytest.approx(y, abs=1.5)
        assert joints[joint, 2] == pytest.approx(0.4)
    assert joints[5, 0] > joints[6, 0], "MediaPipe's 11 is the person's left shoulder, as our 5"
    assert not joints[26:].any()


def test_box_without_one_is_the_extent_of_confident_joints() -> None:
    keypoints = np.zeros((68, 3), np.float32)
    keypoints[5], keypoints[11], keypoints[16] = (10, 20, 0.9), (30, 120, 0.9), (900, 900, 0.1)
    person = make_person(keypoints)
    np.testing.assert_allclose(person.box, [5, 15, 35, 125])
    assert make_person(np.zeros((68, 3))).area_px == 0
    assert box_iou(person.box, person.box) == pytest.approx(1)
    assert box_iou(person.box, person.box + 1000) == 0


def test_drawing_marks_the_person_and_leaves_the_picture_alone() -> None:
    picture = np.zeros((120, 160, 3), np.uint8)
    keypoints = np.zeros((2, 68, 3), np.float32)
    keypoints[0, 5], keypoints[0, 18] = (40, 40, 1), (280, 200, 1)
    drawn = draw_poses(picture, keypoints, frame_size=(320, 240))
    assert not picture.any()
    assert drawn[20, 20].any()
    assert drawn[60, 80].any(), "the edge runs through the middle between both joints"
    assert not drawn[110:, :].any()
    hidden = keypoints * [1, 1, 0.1]
    assert not draw_poses(picture, hidden, frame_size=(320, 240)).any()
