"""Numbers of rows and times of features that others published for a clip, without their weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipeline.ffmpeg import decode_frames, read_packets
from pipeline.media import MediaInfo
from pipeline.stages import default_configs, resolve

PREFIX = "v_GGSY1Qvo990__"


@pytest.fixture(scope="module")
def clip(shared_dir: Path) -> Path:
    return shared_dir / "media" / "clips" / "v_GGSY1Qvo990.mp4"


@pytest.fixture(scope="module")
def info(clip: Path, make_laboratory: Any, tmp_path_factory: pytest.TempPathFactory) -> MediaInfo:
    laboratory = make_laboratory(tmp_path_factory.mktemp("reference") / "store")
    item = laboratory.add(clip)
    laboratory.run(["probe"], [item])
    probe = resolve(default_configs())["probe"].record.name
    return MediaInfo.from_json(laboratory.store.rows(probe, item)[0])


def reference(shared_dir: Path, name: str) -> np.ndarray:
    return np.load(shared_dir / "data" / "video_features_ref" / f"{PREFIX}{name}.npy")


def times_of(clip: Path, info: MediaInfo, fps: float) -> np.ndarray:
    blocks = decode_frames(
        str(clip), info, fps=fps, short_side_px=16, block_frames=64, timeout_s=60
    )
    return np.concatenate([block.picture_time_s for block in blocks])


def test_native_pictures(clip: Path, info: MediaInfo, shared_dir: Path) -> None:
    expected_ms = reference(shared_dir, "resnet34_nativefps_timestamps_ms")
    assert info.video is not None
    packets = list(read_packets(str(clip), timeout_s=60))
    assert sum(index == info.video.index for index, *_ in packets) == len(expected_ms) == 355
    shown_s = np.unique(times_of(clip, info, 2 * info.video.fps))
    assert len(shown_s) == 355
    np.testing.assert_allclose(shown_s * 1000, expected_ms, atol=1.0)
    assert len(reference(shared_dir, "r2plus1d18_stack16_step16_nativefps")) == 355 // 16


def test_a_picture_a_second(clip: Path, info: MediaInfo, shared_dir: Path) -> None:
    expected_ms = reference(shared_dir, "resnet101_1fps_timestamps_ms")
    assert len(expected_ms) == 18
    shown_s = times_of(clip, info, 1.0)
    assert len(shown_s) == 19, "a row for each second that begins before the end, at 18.158 s"
    late_ms = expected_ms - shown_s[:18] * 1000
    assert (late_ms >= 0).all()
    assert (late_ms < 51).all(), "the newest picture of each second"
