"""Ready AlphaPose results: which picture an entry is of, and what is refused."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipeline.media import POSE_SIDECAR
from pipeline.stages import PoseConfig

FPS = 25.0
COUNT = 100
FIGURE = np.random.default_rng(0).uniform(0, 1, (136, 2)) * [40, 80] + [10, 5]


def entry(picture: int, x: float = 0.0, *, joints: int = 136, **more: Any) -> dict[str, Any]:
    """A person whose joints lie `x` to the right of the figure's."""
    points = np.concatenate([FIGURE[:joints] + np.array([x, 0]), np.full((joints, 1), 0.9)], axis=1)
    return {
        "image_id": f"{picture}.jpg",
        "category_id": 1,
        "keypoints": points.ravel().tolist(),
        "score": 2.9,
        **more,
    }


class PoseLab:
    """Runs the pose stage on one clip with a sidecar."""

    def __init__(self, laboratory: Any, clip: Path, folder: Path) -> None:
        self.laboratory = laboratory
        self.clip = clip
        self.folder = folder

    def run(self, sidecar: object, **settings: Any) -> tuple[Any, str]:
        """Outcome and item; `sidecar` is a JSON value, a text or a path."""
        if not isinstance(sidecar, Path):
            text = sidecar if isinstance(sidecar, str) else json.dumps(sidecar)
            sidecar = self.folder / f"{len(list(self.folder.iterdir()))}.json"
            sidecar.write_text(text)
        item = self.laboratory.add(self.clip, sidecars={POSE_SIDECAR: sidecar})
        config = PoseConfig(backend="alphapose-json", **settings)
        self.stage = self.laboratory.run({"pose": config}, [item])
        return self.stage["pose"][item], item

    def rows(self, item: str, array: str) -> np.ndarray:
        [name] = [
            path.name
            for path in (self.laboratory.layout.root / "stages").iterdir()
            if path.name.startswith("pose-")
        ]
        return self.laboratory.store.rows(name, item, array)


@pytest.fixture
def lab(laboratory: Any, clips: Any, tmp_path: Path) -> PoseLab:
    folder = tmp_path / "sidecars"
    folder.mkdir()
    return PoseLab(laboratory, clips.numbered("pose.mp4", count=COUNT, fps=FPS), folder)


def shown_pictures(n_rows: int, fps: float = FPS, rate_hz: float = 8.0) -> np.ndarray:
    return np.floor(np.arange(n_rows) / rate_hz * fps + 1e-6).astype(int)


def test_a_row_has_the_persons_of_the_last_picture_at_or_before_its_time(lab: PoseLab) -> None:
    outcome, item = lab.run([entry(k, 0.5 * k) for k in range(COUNT)])
    assert outcome.ok, outcome
    keypoints = lab.rows(item, "keypoints")
    assert keypoints.shape == (32, 2, 68, 3)
    moved = keypoints[:, 0, 0, 0] - FIGURE[0, 0]
    np.testing.assert_allclose(moved, 0.5 * shown_pictures(32), atol=1e-4)
    np.testing.assert_allclose(keypoints[0, 0, 26:47, :2], FIGURE[94:115], rtol=1e-6)
    np.testing.assert_allclose(keypoints[0, 0, 47:, :2], FIGURE[115:], rtol=1e-6)
    np.testing.assert_array_equal(lab.rows(item, "present"), [[1, 0]] * 32)
    np.testing.assert_array_equal(lab.rows(item, "track_id"), [[0, -1]] * 32)
    np.testing.assert_array_equal(lab.rows(item, "frame_size"), [[192, 96]] * 32)
    assert not keypoints[:, 1].any()


def test_pictures_without_an_entry_have_nobody(lab: PoseLab) -> None:
    seen = [k for k in range(COUNT) if not 30 <= k < 60]
    outcome, item = lab.run([entry(k) for k in seen])
    assert outcome.ok
    present = lab.rows(item, "present")[:, 0]
    np.testing.assert_array_equal(present, np.isin(shown_pictures(32), seen))
    assert not lab.rows(item, "keypoints")[present == 0].any()


def test_a_file_of_another_rate_needs_its_rate(lab: PoseLab) -> None:
    outcome, item = lab.run([entry(k, float(k)) for k in range(40)], json_fps=10.0)
    assert outcome.ok
    moved = lab.rows(item, "keypoints")[:, 0, 0, 0] - FIGURE[0, 0]
    np.testing.assert_allclose(moved, shown_pictures(32, fps=10.0), atol=1e-4)


def test_an_empty_list_is_a_clip_without_people(lab: PoseLab) -> None:
    outcome, item = lab.run([])
    assert outcome.ok
    assert not lab.rows(item, "present").any()
    assert (lab.rows(item, "track_id") == -1).all()


@pytest.mark.parametrize("joints", [26, 68])
def test_other_joint_counts(lab: PoseLab, joints: int) -> None:
    outcome, item = lab.run([entry(k, joints=joints) for k in range(COUNT)])
    assert outcome.ok
    keypoints = lab.rows(item, "keypoints")[:, 0]
    np.testing.assert_allclose(keypoints[0, :joints, :2], FIGURE[:joints], rtol=1e-6)
    assert not keypoints[:, joints:].any()


def test_box_and_idx_of_any_version_are_tolerated(lab: PoseLab) -> None:
    kinds: Sequence[dict[str, Any]] = (
        {},
        {"idx": 3},
        {"idx": [[0.0], [0.0]], "box": [10.0, 5.0, 40.0, 80.0]},
        {"idx": [0.0], "box": None},
    )
    outcome, item = lab.run([entry(k, **kinds[k % 4]) for k in range(COUNT)])
    assert outcome.ok
    assert (lab.rows(item, "track_id")[:, 0] == 0).all()
    with_box = shown_pictures(32) % 4 == 2
    np.testing.assert_array_equal(lab.rows(item, "box")[with_box, 0][0], [10, 5, 50, 85])


@pytest.mark.parametrize(
    "sidecar, words",
    [
        ("{}", "list of detections"),
        ("\n", "list of detections"),
        ("[" + json.dumps(entry(0))[:-20], "not valid JSON"),
        ("[" + json.dumps(entry(0)), "not valid JSON"),
        ([entry(0, joints=17)], "17 joints"),
        ([{"image_id": "0.jpg"}], "no 'keypoints'"),
        ([entry(0) | {"image_id": "cover.jpg"}], "image_id"),
        ([entry(0) | {"keypoints": ["left"]}], "entry 0"),
        ([entry(0) | {"keypoints": [float("nan")] * 408}], "finite"),
        ([7], "entry 0"),
        ([entry(0), entry(COUNT + 9)], "the clip has 100"),
    ],
)
def test_what_is_no_result_of_this_clip_is_refused(
    lab: PoseLab, sidecar: object, words: str
) -> None:
    outcome, _ = lab.run(sidecar)
    assert outcome.reason == "invalid_pose_file"
    assert words in outcome.detail


def test_without_a_sidecar_the_outcome_says_so(lab: PoseLab) -> None:
    item = lab.laboratory.add(lab.clip)
    outcomes = lab.laboratory.run({"pose": PoseConfig(backend="alphapose-json")}, [item])
    assert outcomes["pose"][item].reason == "no_pose_file"


def test_unknown_backend_is_named_with_the_known_ones() -> None:
    with pytest.raises(ValueError, match="alphapose-json"):
        PoseConfig(backend="openpose")


@pytest.mark.parametrize(
    "name, reason",
    [
        ("halpe136_alphapose_demo.json", "ok"),
        ("halpe26_motionbert_video.json", "invalid_pose_file"),
        ("coco17_video_gaps.json", "invalid_pose_file"),
        ("coco17_no_box_one.json", "invalid_pose_file"),
        ("invalid_json_example.json", "invalid_pose_file"),
        ("poseflow_old_format_sample.json", "invalid_pose_file"),
    ],
)
def test_files_met_in_the_wild(lab: PoseLab, shared_dir: Path, name: str, reason: str) -> None:
    sidecar = lab.folder / name
    shutil.copyfile(shared_dir / "data" / "alphapose" / name, sidecar)
    outcome, _ = lab.run(sidecar)
    assert outcome.reason == reason, outcome


def test_a_real_result_of_a_video_is_read(
    laboratory: Any, clips: Any, tmp_path: Path, shared_dir: Path
) -> None:
    """809 pictures, one person in each, 26 joints; our clip only lends it the picture times."""
    lab = PoseLab(laboratory, clips.numbered("long.mp4", count=809, fps=30.0), tmp_path)
    outcome, item = lab.run(shared_dir / "data" / "alphapose" / "halpe26_motionbert_video.json")
    assert outcome.ok, outcome
    present = lab.rows(item, "present")
    assert len(present) == 216
    assert present[:, 0].mean() > 0.98
