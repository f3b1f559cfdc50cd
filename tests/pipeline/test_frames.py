from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from pipeline.ffmpeg import decode_frames, row_count
from pipeline.probing import probe_media
from pipeline.stages import FramesConfig, ProbeConfig

Reader = Callable[[np.ndarray], int]


def frame_rows(
    path: Path, *, fps: float = 8.0, window_length_s: float | None = None, **options: Any
) -> tuple[np.ndarray, np.ndarray]:
    """Pictures and their times of a whole item."""
    info = probe_media(str(path), ProbeConfig(), window_length_s=window_length_s, timeout_s=30)
    options = {"short_side_px": 96, "timeout_s": 30.0} | options
    blocks = list(decode_frames(str(path), info, fps=fps, **options))
    assert [b.first_row for b in blocks] == [
        sum(len(c.pictures) for c in blocks[:i]) for i in range(len(blocks))
    ]
    return (
        np.concatenate([b.pictures for b in blocks]),
        np.concatenate([b.picture_time_s for b in blocks]),
    )


def expected_rows(times_s: Sequence[float], fps: float, count: int) -> list[int]:
    """The last picture with pts <= i / fps; the first one before that."""
    edges = np.asarray(times_s)
    return [
        max(0, int(np.searchsorted(edges, i / fps + 1e-9, side="right")) - 1) for i in range(count)
    ]


@pytest.mark.parametrize("source_fps", [25.0, 30000 / 1001, 7.0, 8.0, 60.0])
@pytest.mark.parametrize("extension", ["mp4", "mkv"])
def test_a_row_shows_the_last_picture_at_or_before_its_time(
    clips: Any, read_number: Reader, source_fps: float, extension: str
) -> None:
    count = round(source_fps * 2)
    path = clips.numbered(f"cfr{source_fps:.3f}.{extension}", count=count, fps=source_fps)
    pictures, times_s = frame_rows(path)
    stored_s = np.arange(count) / source_fps
    if extension == "mkv":  # whole milliseconds
        stored_s = np.round(stored_s, 3)
    numbers = [read_number(p) for p in pictures]
    assert numbers == expected_rows(stored_s, 8.0, len(pictures))
    np.testing.assert_allclose(times_s, stored_s[numbers], atol=2e-4)


@pytest.mark.parametrize("fps", [8.0, 10.0, 1.0, 29.97, 12.5])
def test_variable_frame_rate_follows_the_timestamps(
    clips: Any, read_number: Reader, fps: float
) -> None:
    steps_s = [0.04, 0.1, 0.25, 0.033, 0.6, 0.02, 0.02, 0.125, 0.5, 0.09, 0.04, 0.3]
    times_s = [0.0, *np.cumsum(steps_s).round(3).tolist()]
    path = clips.numbered("vfr.mkv", count=len(times_s), times_s=times_s)
    pictures, shown_s = frame_rows(path, fps=fps)
    numbers = [read_number(p) for p in pictures]
    assert numbers == expected_rows(times_s, fps, len(pictures))
    np.testing.assert_allclose(shown_s, np.asarray(times_s)[numbers], atol=1e-6)


def test_before_the_first_picture_it_is_shown_with_its_true_time(
    clips: Any, read_number: Reader
) -> None:
    silent = clips.numbered("late_source.mp4", count=25)
    path = clips.ffmpeg(
        "late.mkv",
        *("-f", "lavfi", "-i", "sine=d=2", "-itsoffset", "0.7", "-i", str(silent)),
        *("-map", "0:a", "-map", "1:v", "-c:v", "copy", "-c:a", "flac"),
    )
    pictures, times_s = frame_rows(path)
    assert len(pictures) == 16
    numbers = [read_number(p) for p in pictures]
    assert numbers == expected_rows(0.7 + np.arange(25) / 25, 8.0, 16)
    assert times_s[:6].tolist() == [0.7] * 6
    assert numbers[-2:] == [24, 24], "the last picture is held to the end"


@pytest.mark.parametrize("rotation", [90, 180, 270])
def test_rotation_is_applied_and_numbers_survive(
    clips: Any, read_number: Reader, rotation: int
) -> None:
    flat = clips.numbered("flat.mp4", count=25)
    path = clips.ffmpeg(
        f"rotated{rotation}.mp4",
        *("-i", str(flat), "-c", "copy", "-metadata:s:v:0", f"rotate={rotation}"),
    )
    pictures, _ = frame_rows(path)
    assert pictures.shape[1:3] == ((192, 96) if rotation != 180 else (96, 192))
    turned = [np.rot90(p, -rotation // 90) for p in pictures]  # turned back
    assert [read_number(p) for p in turned] == expected_rows(np.arange(25) / 25, 8.0, 8)


def test_ten_seconds_are_eighty_rows_in_blocks_of_at_most_32() -> None:
    assert row_count(10.0, 8.0) == 80
    assert row_count(10.001, 8.0) == 81
    assert row_count(9.876, 8.0) == 80
    assert row_count(0.0, 8.0) == 0
    assert row_count(1.0, 29.97) == 30


@pytest.mark.parametrize("block_frames", [1, 5, 32])
def test_block_size_changes_nothing(clips: Any, block_frames: int) -> None:
    path = clips.numbered("blocks.mp4", count=75)
    whole, whole_s = frame_rows(path, block_frames=1000)
    parts, parts_s = frame_rows(path, block_frames=block_frames)
    np.testing.assert_array_equal(whole, parts)
    np.testing.assert_array_equal(whole_s, parts_s)


def test_a_still_picture_lasts_as_long_as_the_sound(clips: Any, read_number: Reader) -> None:
    path = clips.ffmpeg(
        "still.mp4",
        *("-i", str(clips.numbered("one.mp4", count=1)), "-f", "lavfi", "-i", "sine=d=3"),
        *("-c:v", "copy", "-c:a", "aac"),
    )
    pictures, times_s = frame_rows(path)
    assert [read_number(p) for p in pictures] == [0] * 24
    assert not times_s.any()


def test_the_last_picture_is_shown_even_between_two_rows(clips: Any, read_number: Reader) -> None:
    steps_s = [0.0, 0.2, 0.4, 1.0, 1.26]
    video = clips.numbered("few.mkv", count=len(steps_s), times_s=steps_s)
    path = clips.ffmpeg(
        "few_and_sound.mkv",
        *("-i", str(video), "-f", "lavfi", "-i", "sine=d=2", "-c:v", "copy", "-c:a", "flac"),
    )
    pictures, _ = frame_rows(path)
    assert [read_number(p) for p in pictures] == expected_rows(steps_s, 8.0, 16)


def test_size_changes_within_a_file_keep_the_grid(clips: Any, read_number: Reader) -> None:
    first = clips.numbered("plain.ts", count=25, extra=("-f", "mpegts"))
    second = clips.ffmpeg(
        "halved.ts",
        *("-i", str(clips.numbered("more.mp4", count=50)), "-vf", "scale=384:192"),
        *("-output_ts_offset", "1", "-c:v", "libx264", "-crf", "12", "-f", "mpegts"),
    )
    joined = clips.folder / "joined.ts"
    joined.write_bytes(first.read_bytes() + second.read_bytes())
    pictures, times_s = frame_rows(joined)
    assert pictures.shape[1:] == (96, 192, 3)
    assert len(pictures) == len(times_s) >= 23
    assert np.all(np.diff(times_s) >= 0)
    numbers = [read_number(p) for p in pictures]
    assert numbers[:8] == expected_rows(np.arange(25) / 25, 8.0, 8)
    assert numbers[9:23] == expected_rows(np.arange(50) / 25, 8.0, 15)[1:15]


def test_stage_stores_jpeg_at_the_short_side(clips: Any, laboratory: Any) -> None:
    item = laboratory.add(clips.tone(seconds=2.0))
    configs = {"frames": FramesConfig(fps=4.0, short_side_px=64, jpeg_quality=90)}
    outcomes = laboratory.run(configs, [item])
    assert outcomes["frames"][item].ok
    found = laboratory.store.read("frames", item)
    assert len(found.values) == 8
    assert found.times_s.tolist() == [i / 4 for i in range(8)]
    picture = cv2.imdecode(np.frombuffer(found.values[0], np.uint8), cv2.IMREAD_COLOR)
    assert picture.shape == (64, 85, 3)
    assert np.all(found.arrays["picture_time_s"] <= found.times_s)


def test_a_held_picture_repeats_its_bytes(clips: Any, laboratory: Any) -> None:
    item = laboratory.add(clips.numbered("slow.mkv", count=3, times_s=[0.0, 1.0, 2.0]))
    laboratory.run(["frames"], [item])
    rows = laboratory.store.rows("frames", item)
    assert len(set(rows[:8])) == 1
    assert rows[0] != rows[8]


def test_colours_survive(clips: Any) -> None:
    path = clips.ffmpeg(
        "red.mp4",
        *("-f", "lavfi", "-i", "color=c=red:s=64x64:r=10:d=1", "-pix_fmt", "yuv420p"),
        *("-c:v", "libx264", "-crf", "5"),
    )
    bgr, _ = frame_rows(path, short_side_px=64)
    rgb, _ = frame_rows(path, short_side_px=64, pixel_format="rgb24")
    assert np.abs(bgr[0, 32, 32].astype(int) - [0, 0, 254]).max() <= 3
    np.testing.assert_array_equal(bgr[..., ::-1], rgb)


def test_native_size_is_not_enlarged(clips: Any) -> None:
    path = clips.tone(seconds=2.0)
    small, _ = frame_rows(path, short_side_px=720, enlarge=False)
    large, _ = frame_rows(path, short_side_px=480)
    assert small.shape[1:3] == (240, 320)
    assert large.shape[1:3] == (480, 640)
