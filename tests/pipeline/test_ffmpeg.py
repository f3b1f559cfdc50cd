from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.failures import ItemFailure, ProcessFailed
from pipeline.ffmpeg import (
    decode_audio,
    decode_frames,
    ffmpeg_version,
    read_headers,
    read_packets,
    scaled_size,
)
from pipeline.media import VideoInfo
from pipeline.probing import probe_media
from pipeline.stages import ProbeConfig


def video(width_px: int, height_px: int) -> VideoInfo:
    return VideoInfo(
        index=0, codec="x", width_px=width_px, height_px=height_px, fps=25.0, start_s=0, end_s=1
    )


@given(width=st.integers(1, 8000), height=st.integers(1, 8000), short=st.integers(16, 720))
def test_scaled_sizes_keep_the_shape_and_are_bounded(width: int, height: int, short: int) -> None:
    got = scaled_size(video(width, height), short_side_px=short)
    assert max(got) <= 8 * short + 1
    if max(width, height) <= 8 * min(width, height):
        assert min(got) == short
        assert got[0] / got[1] == pytest.approx(width / height, rel=1.0 / short)


def test_native_sizes_are_only_made_smaller() -> None:
    assert scaled_size(video(640, 360), short_side_px=720, enlarge=False) == (640, 360)
    assert scaled_size(video(1920, 1080), short_side_px=720, enlarge=False) == (1280, 720)


def test_headers_and_packets(clips: Any) -> None:
    path = str(clips.tone(seconds=2.0))
    headers = read_headers(path, timeout_s=30)
    assert {s["codec_type"] for s in headers["streams"]} == {"video", "audio"}
    packets = list(read_packets(path, timeout_s=30))
    pictures = [p for p in packets if p[0] == 0]
    assert len(pictures) == 50
    assert min(p[1] for p in pictures) == 0.0
    assert max(p[2] for p in pictures) == pytest.approx(2.0)


def test_an_unreadable_file_raises_with_ffprobes_words(tmp_path: Path) -> None:
    path = tmp_path / "x.mp4"
    path.write_bytes(b"nothing of use")
    with pytest.raises(ProcessFailed, match="Invalid data"):
        read_headers(str(path), timeout_s=30)


def test_only_local_files_are_opened(tmp_path: Path) -> None:
    playlist = tmp_path / "list.m3u8"
    playlist.write_text(
        "#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\nhttp://127.0.0.1:9/a.ts\n#EXT-X-ENDLIST\n"
    )
    with pytest.raises((ProcessFailed, ItemFailure), match=r"whitelist|Invalid data|not on the"):
        probe_media(str(playlist), ProbeConfig(), window_length_s=None, timeout_s=30)


def test_relative_paths_that_begin_with_a_dash(
    clips: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copy(clips.tone(seconds=2.0), tmp_path / "-i.mp4")
    monkeypatch.chdir(tmp_path)
    info = probe_media("-i.mp4", ProbeConfig(), window_length_s=None, timeout_s=30)
    rows = decode_frames("-i.mp4", info, fps=2.0, short_side_px=32, timeout_s=30)
    assert sum(len(b.pictures) for b in rows) >= 4


def test_a_stream_that_is_not_there_is_a_typed_failure(clips: Any) -> None:
    path = str(clips.tone(seconds=2.0))
    info = probe_media(path, ProbeConfig(), window_length_s=None, timeout_s=30)
    with pytest.raises(ItemFailure, match="no_video"):
        next(
            decode_frames(path, replace(info, video=None), fps=8.0, short_side_px=32, timeout_s=30)
        )
    with pytest.raises(ItemFailure, match="no_audio"):
        next(decode_audio(path, replace(info, audio=None), rate_hz=16000, timeout_s=30))


def test_leaving_early_ends_the_decoder(clips: Any) -> None:
    path = str(clips.tone("minute.mp4", seconds=60, size="96x64"))
    info = probe_media(path, ProbeConfig(), window_length_s=None, timeout_s=30)
    blocks = decode_frames(path, info, fps=25.0, short_side_px=256, block_frames=4, timeout_s=60)
    assert next(blocks).pictures.shape == (4, 256, 384, 3)
    blocks.close()
    own = Path("/proc/self/task").iterdir()
    children = [c for t in own for c in (t / "children").read_text().split()]
    names = [Path(f"/proc/{c}/comm").read_text().strip() for c in children]
    assert "ffmpeg" not in names


def test_decoding_twice_gives_equal_pictures(clips: Any) -> None:
    path = str(clips.tone(seconds=2.0))
    info = probe_media(path, ProbeConfig(), window_length_s=None, timeout_s=30)
    first, second = (
        np.concatenate(
            [b.pictures for b in decode_frames(path, info, fps=8.0, short_side_px=64, timeout_s=30)]
        )
        for _ in range(2)
    )
    np.testing.assert_array_equal(first, second)


def test_the_version_is_one_word() -> None:
    assert ffmpeg_version()[0].isalnum()
    assert " " not in ffmpeg_version()
