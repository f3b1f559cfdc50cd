"""Frame row i, the picture a pose backend looks at, pose row i and time i are one picture.

The number burnt into each picture tells: at constant and variable rates, turned, late, in a window.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from pipeline.extractors.base import Inputs
from pipeline.media import POSE_SIDECAR
from pipeline.pose.pictures import pose_pictures
from pipeline.stages import FramesConfig, PoseConfig, resolve

FPS = 8.0
COUNT = 60
STEP_PX = 0.5
FIGURE = np.random.default_rng(0).uniform(0, 1, (136, 2)) * [40, 80] + [10, 5]
UNEVEN_S = np.cumsum([0.0, *np.random.default_rng(1).uniform(0.015, 0.09, COUNT - 1)]).round(3)


def turned(clips: Any, degrees: int) -> Path:
    flat = clips.numbered("rows_flat.mp4", count=COUNT)
    tag = ("-metadata:s:v:0", f"rotate={degrees}")
    return clips.ffmpeg(f"rows_{degrees}.mp4", *("-i", str(flat), "-c", "copy", *tag))


def late(clips: Any) -> Path:
    flat = clips.numbered("rows_flat.mp4", count=COUNT)
    return clips.ffmpeg(
        "rows_late.mkv",
        *("-f", "lavfi", "-i", "sine=d=3.2", "-itsoffset", "0.7", "-i", str(flat)),
        *("-map", "0:a", "-map", "1:v", "-c:v", "copy", "-c:a", "flac"),
    )


CASES: dict[str, tuple[Callable[[Any], Path], np.ndarray, int, str]] = {
    "25": (lambda c: c.numbered("r25.mp4", count=COUNT), np.arange(COUNT) / 25, 0, "whole"),
    "29.97": (
        lambda c: c.numbered("r29.mp4", count=COUNT, fps=30000 / 1001),
        np.arange(COUNT) * 1001 / 30000,
        0,
        "whole",
    ),
    "variable": (
        lambda c: c.numbered("uneven.mkv", count=COUNT, times_s=UNEVEN_S.tolist()),
        UNEVEN_S,
        0,
        "whole",
    ),
    "turned 90": (lambda c: turned(c, 90), np.arange(COUNT) / 25, 90, "whole"),
    "turned 180": (lambda c: turned(c, 180), np.arange(COUNT) / 25, 180, "whole"),
    "turned 270": (lambda c: turned(c, 270), np.arange(COUNT) / 25, 270, "whole"),
    "late": (late, 0.7 + np.arange(COUNT) / 25, 0, "whole"),
    "window": (
        lambda c: c.numbered("r25.mp4", count=COUNT),
        np.arange(COUNT - 15) / 25,
        0,
        "600-2400",
    ),
}


def results(first: int, count: int) -> str:
    """Results in which the figure stands `STEP_PX` further right in each picture."""
    entries = []
    for n in range(count):
        points = FIGURE + np.array([STEP_PX * (n + first), 0])
        keypoints = np.concatenate([points, np.full((136, 1), 0.9)], axis=1).ravel().tolist()
        entries.append({"image_id": f"{n}.jpg", "keypoints": keypoints, "score": 2.9})
    return json.dumps(entries)


@pytest.mark.parametrize("case", CASES)
def test_frames_poses_and_times_are_of_one_picture(
    clips: Any, laboratory: Any, read_number: Any, tmp_path: Path, case: str
) -> None:
    make, starts_s, degrees, window = CASES[case]
    first = COUNT - len(starts_s)
    sidecar = tmp_path / "poses.json"
    sidecar.write_text(results(first, len(starts_s)))
    item = laboratory.add(make(clips), f"lab/x/{window}", sidecars={POSE_SIDECAR: sidecar})
    stages = resolve(
        {
            "frames": FramesConfig(short_side_px=96, jpeg_quality=95),
            "pose": PoseConfig(backend="alphapose-json"),
        }
    )
    for stage in stages.values():
        assert laboratory.run_stage(stage, [item])[item].ok
    names = {name: stage.record.name for name, stage in stages.items()}
    frames = laboratory.store.read(names["frames"], item)
    poses = laboratory.store.read(names["pose"], item)
    np.testing.assert_allclose(frames.times_s, np.arange(len(frames.values)) / FPS)
    np.testing.assert_array_equal(poses.times_s, frames.times_s)

    def number(picture: np.ndarray) -> int:
        return read_number(np.rot90(picture, -degrees // 90))

    burnt = [number(cv2.imdecode(np.frombuffer(j, np.uint8), 1)) for j in frames.values]
    expected = first + np.maximum(
        np.searchsorted(starts_s, frames.times_s + 1e-6, side="right") - 1, 0
    )
    assert burnt == expected.tolist()
    np.testing.assert_allclose(
        frames.arrays["picture_time_s"], starts_s[np.array(burnt) - first], atol=1e-3
    )
    at_px = poses.arrays["keypoints"][:, 0, 0, 0]
    np.testing.assert_allclose((at_px - FIGURE[0, 0]) / STEP_PX, burnt, atol=1e-2)
    inputs = Inputs(
        media=laboratory.media[item],
        stage=stages["pose"],
        store=laboratory.store,
        scratch=tmp_path,
        timeout_s=60.0,
    )
    seen = pose_pictures(inputs, rate_hz=FPS, short_side_max_px=720)
    assert [number(picture) for picture in seen] == burnt
    size_px = (96, 192) if degrees in (90, 270) else (192, 96)
    assert set(map(tuple, poses.arrays["frame_size"].tolist())) == {size_px}
