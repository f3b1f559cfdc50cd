"""The MediaPipe backend on real pictures: it finds players, the same each time, and stays quiet."""

from __future__ import annotations

import hashlib
import importlib.util
import subprocess
import sys
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from pipeline.pose.backends import MEDIAPIPE_WEIGHTS, BackendUnavailable
from pipeline.pose.person import box_iou
from pipeline.stages import PoseConfig, resolve

pytest.importorskip("mediapipe", reason="the extra soundstage[mediapipe] is not installed")

from pipeline.pose import mediapipe_backend, mediapipe_models
from pipeline.pose.mediapipe_backend import find_persons

GUITAR = "vtaldm_-26aVYRtEAc_000030.mp4"


@pytest.fixture
def three_people(shared_dir: Path) -> np.ndarray:
    picture = cv2.imread(str(shared_dir / "media" / "images" / "tfjs_three_people.jpg"))
    return cv2.cvtColor(picture, cv2.COLOR_BGR2RGB)


def test_bundles_are_the_same_bytes_on_every_build() -> None:
    for _ in range(2):
        built = mediapipe_models.build_bundles()
        digests = {name: hashlib.sha256(data).hexdigest() for name, data in built.items()}
        assert digests == dict(MEDIAPIPE_WEIGHTS)
    record = resolve({"pose": PoseConfig()})["pose"].record
    assert record.backend == "mediapipe"
    assert record.weights == dict(MEDIAPIPE_WEIGHTS)


def test_several_persons_are_found_apart_and_the_same_again(three_people: np.ndarray) -> None:
    persons = find_persons(three_people)
    again = find_persons(three_people)
    assert len(persons) >= 2
    assert [p.score for p in persons] == [p.score for p in again]
    for person, same in zip(persons, again, strict=True):
        np.testing.assert_array_equal(person.keypoints, same.keypoints)
        assert person.score > 0.5
        head, hip = person.keypoints[17, 1], person.keypoints[19, 1]
        assert head < person.keypoints[18, 1] < hip, "these people are upright"
    assert box_iou(persons[0].box, persons[1].box) < 0.5


def test_nobody_is_found_in_an_empty_picture() -> None:
    assert find_persons(np.zeros((240, 320, 3), np.uint8)) == []
    assert find_persons(np.zeros((50, 66, 3), np.uint8)) == []


def test_a_guitarist_is_followed_with_hands(laboratory: Any, clips: Any, shared_dir: Path) -> None:
    two_s = clips.ffmpeg(
        "guitar.mp4",
        *("-i", str(shared_dir / "media" / "clips" / GUITAR)),
        *("-t", "2", "-an", "-c:v", "libx264", "-crf", "18"),
    )
    item = laboratory.add(two_s)
    [stage] = [s for s in resolve({"pose": PoseConfig()}).values() if s.name == "pose"]
    outcomes = laboratory.run({"pose": PoseConfig()}, [item])
    assert outcomes["pose"][item].ok, outcomes
    name = stage.record.name
    present = laboratory.store.rows(name, item, "present")
    np.testing.assert_array_equal(present, [[1, 0]] * 16)
    keypoints = laboratory.store.rows(name, item, "keypoints")[:, 0]
    size = laboratory.store.rows(name, item, "frame_size")
    np.testing.assert_array_equal(size, [[540, 360]] * 16)
    nose = np.median(keypoints[:, 0, :2], axis=0)
    np.testing.assert_allclose(nose, [225, 43], atol=30)
    strumming = keypoints[:, 47, 2] > 0
    assert strumming.sum() >= 4, "the right hand is seen in about half of the pictures"
    gap = np.linalg.norm(keypoints[strumming, 47, :2] - keypoints[strumming, 10, :2], axis=1)
    assert np.median(gap) < 25, "a hand's root lies at its wrist"


def test_a_hand_on_the_face_is_dropped() -> None:
    body = np.zeros((33, 3), np.float32)
    body[:11, :2] = [[x, y] for x, y in zip(range(100, 155, 5), [50, 90] * 6, strict=False)]
    beard = np.random.default_rng(0).uniform([110, 55], [140, 85], (21, 2))
    assert mediapipe_backend._on_face(beard, body)
    assert not mediapipe_backend._on_face(beard + np.array([0, 60]), body)


def test_one_hand_seen_from_both_wrists_belongs_to_the_nearer() -> None:
    body = np.zeros((33, 3), np.float32)
    body[15, :2], body[16, :2] = (100, 100), (140, 100)
    hand = np.random.default_rng(0).uniform(95, 125, (21, 2))
    hand[0] = (102, 100)
    shared = mediapipe_backend._without_shared_hand(
        {"left": (hand, 0.9), "right": (hand + 1, 0.9)}, body
    )
    assert list(shared) == ["left"]
    apart = {"left": (hand, 0.9), "right": (hand + np.array([80, 0]), 0.9)}
    assert mediapipe_backend._without_shared_hand(apart, body) == apart


def test_nothing_is_printed_on_stderr() -> None:
    code = (
        "import numpy as np; from pipeline.pose.mediapipe_backend import find_persons; "
        "print(find_persons(np.full((240, 320, 3), 90, np.uint8)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
        cwd=Path(__file__).parents[2],
    )
    assert done.stdout.strip() == "[]"
    assert done.stderr == ""


def test_without_the_package_the_message_says_how_to_get_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(BackendUnavailable, match=r"pip install 'soundstage\[mediapipe\]'"):
        mediapipe_models.build_bundles()


def test_models_of_another_release_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mediapipe_models, "build_bundles", lambda: {"pose.task": b"other"})
    with pytest.raises(BackendUnavailable, match="another release"):
        mediapipe_models._load.__wrapped__(0)
