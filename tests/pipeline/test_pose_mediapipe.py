"""The MediaPipe backend on real pictures: it finds players, the same each time, and stays quiet."""

from __future__ import annotations

import hashlib
import importlib.util
import subprocess
import sys
from collections.abc import Callable
from itertools import islice
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from pipeline.ffmpeg import decode_frames
from pipeline.media import MediaInfo
from pipeline.pose.backends import MEDIAPIPE_WEIGHTS, BackendUnavailable
from pipeline.pose.person import box_iou
from pipeline.stages import STAGES, PoseConfig, resolve

pytest.importorskip("mediapipe", reason="the extra soundstage[mediapipe] is not installed")

from pipeline.pose import mediapipe_hands, mediapipe_models
from pipeline.pose.mediapipe_backend import find_bodies, find_persons, without_duplicates
from pipeline.pose.mediapipe_joints import ARMS, WRIST

GUITAR = "vtaldm_-26aVYRtEAc_000030.mp4"
DRUMS = "vggsound_-Qowmc0P9ic_34000_44000.mp4"
XYLOPHONE = "vtaldm_-BAKe6QGTUk_000030.mp4"
CONGAS = "foleycrafter_vggsound_0_congas.mp4"


class Poses:
    """The stored poses of one clip, after a run of the stage."""

    def __init__(self, laboratory: Any, clip: Path) -> None:
        item = laboratory.add(clip)
        [stage] = [s for s in resolve({"pose": PoseConfig()}).values() if s.name == "pose"]
        outcomes = laboratory.run({"pose": PoseConfig()}, [item])
        assert outcomes["pose"][item].ok, outcomes
        self.keypoints, self.box, self.track_id, present, self.frame_size = (
            laboratory.store.rows(stage.record.name, item, array)
            for array in ("keypoints", "box", "track_id", "present", "frame_size")
        )
        self.present = present > 0

    def check_hands(self) -> int:
        """Check each stored hand, return how many there are."""
        count = 0
        for row, slot in np.argwhere(self.present):
            joints = self.keypoints[row, slot]
            for wrist, start in ((9, 26), (10, 47)):
                hand = joints[start : start + 21]
                if not hand[:, 2].any():
                    continue
                count += 1
                inside = np.all((hand[:, :2] >= 0) & (hand[:, :2] < self.frame_size[row]), axis=1)
                assert inside.mean() >= 0.5
                assert joints[wrist, 2] >= 0.3, "a hand needs a wrist that is seen"
                assert np.all((joints[wrist, :2] >= 0) & (joints[wrist, :2] < self.frame_size[row]))
        return count


def pictures_of(
    laboratory: Any, shared_dir: Path, clip: str, seconds: tuple[float, float] = (0.0, 99.0)
) -> list[np.ndarray]:
    """The pictures that the backend is shown, from the first to before the last second."""
    item = laboratory.add(shared_dir / "media" / "clips" / clip)
    [probe] = resolve({"probe": STAGES["probe"].default}).values()
    laboratory.run_stage(probe, [item])
    info = MediaInfo.from_json(laboratory.store.rows(probe.record.name, item, "info")[0])
    blocks = decode_frames(
        laboratory.media[item].path,
        info,
        fps=8.0,
        short_side_px=720,
        enlarge=False,
        pixel_format="rgb24",
        timeout_s=60,
    )
    pictures = (picture.copy() for block in blocks for picture in block.pictures)
    return list(islice(pictures, round(8 * seconds[0]), round(8 * seconds[1])))


@pytest.fixture(scope="module")
def two_players(clips: Any, shared_dir: Path) -> Path:
    """A guitarist and a drummer side by side, 320 pixels each, 1.5 s."""
    folder = shared_dir / "media" / "clips"
    return clips.ffmpeg(
        "two_players.mp4",
        *("-i", str(folder / GUITAR), "-i", str(folder / DRUMS), "-t", "1.5", "-an"),
        "-filter_complex",
        "[0:v]fps=8,crop=320:360:100:0[l];[1:v]fps=8,crop=320:360:160:0[r];[l][r]hstack",
        *("-c:v", "libx264", "-crf", "16", "-pix_fmt", "yuv420p"),
    )


@pytest.fixture
def read_first() -> Callable[[Path], np.ndarray]:
    """Reads the first picture of a clip, RGB."""

    def read(clip: Path) -> np.ndarray:
        return cv2.cvtColor(cv2.VideoCapture(str(clip)).read()[1], cv2.COLOR_BGR2RGB)

    return read


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


def test_two_players_are_found_apart_and_the_same_again(two_players: Path, read_first: Any) -> None:
    picture = read_first(two_players)
    persons = find_persons(picture)
    again = find_persons(picture)
    assert len(persons) == 2
    assert [p.score for p in persons] == [p.score for p in again]
    for person, same in zip(persons, again, strict=True):
        np.testing.assert_array_equal(person.keypoints, same.keypoints)
        assert person.score > 0.5
        head, hip = person.keypoints[17, 1], person.keypoints[19, 1]
        assert head < person.keypoints[18, 1] < hip, "these players are upright"
    assert box_iou(persons[0].box, persons[1].box) == 0


def test_each_of_two_players_keeps_a_slot(laboratory: Any, two_players: Path) -> None:
    """A real guitarist left of a real drummer; what is in a slot stays in its half."""
    poses = Poses(laboratory, two_players)
    assert poses.present.all(axis=1).sum() >= 10, "both are seen in nearly all of 12 rows"
    centre_x = (poses.box[..., 0] + poses.box[..., 2]) / 2
    halves = [set((centre_x[poses.present[:, k], k] > 320).tolist()) for k in (0, 1)]
    assert sorted(map(list, halves)) == [[False], [True]]


def test_a_head_with_guessed_arms_is_no_person(three_people: np.ndarray) -> None:
    """Of the man in front the model sees the face alone; it puts his shoulders on his cheeks."""
    persons = find_persons(three_people)
    assert len(persons) == 1
    assert persons[0].box[0] > 600, "the man at the right is seen with his arms"


@pytest.mark.parametrize("clip", [GUITAR, DRUMS])
def test_frontal_players_are_found_in_nearly_every_picture(
    laboratory: Any, shared_dir: Path, clip: str
) -> None:
    found = [len(find_bodies(picture)) for picture in pictures_of(laboratory, shared_dir, clip)]
    assert len(found) >= 80
    assert sum(count > 0 for count in found[:80]) >= 78
    assert max(found) == 1, "there is one player: a second skeleton is a duplicate"


def test_a_pan_from_one_player_to_another(laboratory: Any, shared_dir: Path) -> None:
    """A dark guitarist, then, from row 13 on, the xylophone player who comes in from the right."""
    poses = Poses(laboratory, shared_dir / "media" / "clips" / XYLOPHONE)
    present = poses.present[:80]
    assert present.any(axis=1).sum() >= 78
    assert present.all(axis=1).sum() <= 2, "two at once only while both are in view"
    first_row = {int(np.flatnonzero(present[:, k])[0]): k for k in (0, 1)}
    guitarist, player = (first_row[row] for row in sorted(first_row))
    assert player == 0, "the one who is seen longest"
    assert sorted(first_row)[1] >= 11
    assert not present[20:, guitarist].any()
    assert present[20:, player].all()
    for slot in (guitarist, player):
        assert len(set(poses.track_id[present[:, slot].nonzero()[0], slot])) == 1
    assert poses.check_hands() > 20


def test_guesses_in_a_close_up_are_left_out(laboratory: Any, shared_dir: Path) -> None:
    """Forearms and a chin: what the model makes of it is a guess, and its own arms say so."""
    pictures = pictures_of(laboratory, shared_dir, CONGAS, seconds=(5.0, 6.5))
    pose = mediapipe_models.load_models().pose
    seen = [len(mediapipe_models.landmarks(pose, p).pose_landmarks) for p in pictures]
    kept = [find_bodies(picture) for picture in pictures]
    assert max(map(len, kept)) == 1 < max(seen)
    assert sum(seen) - sum(map(len, kept)) >= 3
    assert any(n and not bodies for n, bodies in zip(seen, kept, strict=True))
    assert all(body[ARMS, 2].mean() >= 0.45 for bodies in kept for body in bodies)


def test_nobody_is_found_in_an_empty_picture() -> None:
    assert find_persons(np.zeros((240, 320, 3), np.uint8)) == []
    assert find_persons(np.zeros((50, 66, 3), np.uint8)) == []


def test_a_guitarist_is_followed_with_hands(laboratory: Any, clips: Any, shared_dir: Path) -> None:
    two_s = clips.ffmpeg(
        "guitar.mp4",
        *("-i", str(shared_dir / "media" / "clips" / GUITAR)),
        *("-t", "2", "-an", "-c:v", "libx264", "-crf", "18"),
    )
    poses = Poses(laboratory, two_s)
    np.testing.assert_array_equal(poses.present, [[True, False]] * 16)
    np.testing.assert_array_equal(poses.frame_size, [[540, 360]] * 16)
    keypoints = poses.keypoints[:, 0]
    nose = np.median(keypoints[:, 0, :2], axis=0)
    np.testing.assert_allclose(nose, [225, 43], atol=30)
    strumming = keypoints[:, 47, 2] > 0
    assert strumming.sum() >= 4, "the right hand is seen in about half of the pictures"
    gap = np.linalg.norm(keypoints[strumming, 47, :2] - keypoints[strumming, 10, :2], axis=1)
    assert np.median(gap) < 25, "a hand's root lies at its wrist"
    assert poses.check_hands() >= 8


def figure(x: float, *, size: float = 1.0, arms: float = 0.9) -> np.ndarray:
    """33 landmarks of an upright figure, 100 wide and 300 high."""
    body = np.zeros((33, 3), np.float32)
    body[:, :2] = np.random.default_rng(0).uniform(0, 1, (33, 2)) * [100, 300]
    body[[11, 12, 23, 24], :2] = [[80, 60], [20, 60], [70, 160], [30, 160]]
    body[:, :2] = body[:, :2] * size + [x, 0]
    body[:, 2] = 0.9
    body[ARMS, 2] = arms
    return body


def test_smaller_skeletons_within_a_better_one_are_the_same_figure() -> None:
    whole, part = figure(0), figure(10, size=0.6) - np.array([0, 0, 0.1], np.float32)
    assert [body is whole for body in without_duplicates([part, whole])] == [True]
    assert len(without_duplicates([whole, figure(120)])) == 2
    assert len(without_duplicates([whole, figure(75)])) == 2, "neighbours may overlap"
    assert len(without_duplicates([whole, figure(300, size=0.6)])) == 2
    assert without_duplicates([figure(0, arms=0.4)]) == []


def test_a_wrist_that_is_not_seen_has_no_hand(three_people: np.ndarray) -> None:
    """The hand is there; what is believed of the wrist decides."""
    [body] = find_bodies(three_people)
    hands = mediapipe_hands.find_hands(three_people, body, mediapipe_models.load_models().hand)
    assert hands, "a hand of this man is found"
    body[[WRIST["left"], WRIST["right"]], 2] = 0.2
    model = mediapipe_models.load_models().hand
    assert mediapipe_hands.find_hands(three_people, body, model) == {}
    body[[WRIST["left"], WRIST["right"]]] = [-5, 400, 1.0]
    assert mediapipe_hands.find_hands(three_people, body, model) == {}


def test_a_hand_on_the_face_is_dropped() -> None:
    body = np.zeros((33, 3), np.float32)
    body[:11, :2] = [[x, y] for x, y in zip(range(100, 155, 5), [50, 90] * 6, strict=False)]
    beard = np.random.default_rng(0).uniform([110, 55], [140, 85], (21, 2))
    assert mediapipe_hands.on_face(beard, body)
    assert not mediapipe_hands.on_face(beard + np.array([0, 60]), body)


def test_one_hand_seen_from_both_wrists_belongs_to_the_nearer() -> None:
    body = np.zeros((33, 3), np.float32)
    body[15, :2], body[16, :2] = (100, 100), (140, 100)
    hand = np.random.default_rng(0).uniform(95, 125, (21, 2))
    hand[0] = (102, 100)
    shared = mediapipe_hands.without_shared_hand(
        {"left": (hand, 0.9), "right": (hand + 1, 0.9)}, body
    )
    assert list(shared) == ["left"]
    apart = {"left": (hand, 0.9), "right": (hand + np.array([80, 0]), 0.9)}
    assert mediapipe_hands.without_shared_hand(apart, body) == apart


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
