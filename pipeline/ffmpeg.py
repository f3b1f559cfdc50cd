"""Decoding with ffmpeg: a media file and what probe found go in, blocks of pictures or samples out.

Timestamps are taken as the container has them (`-copyts`: else ffmpeg shifts them by a start time
that depends on the format and on the streams in use) and put on the item's clock here.
One thread per decode: width comes from many items at once, and what a decoder makes of damaged
data does not depend on the number of threads.
"""

from __future__ import annotations

import json
from collections.abc import Generator, Iterator, Mapping
from fractions import Fraction
from functools import lru_cache
from pathlib import Path
from typing import Any

import ffmpeg
import numpy as np

from pipeline.failures import ItemFailure
from pipeline.media import AudioInfo, MediaInfo, VideoInfo
from pipeline.picture_grid import (
    LOG_LEVEL,
    FrameBlock,
    PictureGrid,
    PictureTimes,
    is_chatter,
    row_count,
)
from pipeline.process import Child, run

PROTOCOLS = "file,pipe"
LARGEST_GAP_S = 0.05
LONGEST_SHAPE = 8
_DISCARDED_BYTES = 1 << 16
SCALING = "bicubic+accurate_rnd+full_chroma_int+bitexact"


def media_url(path: str) -> str:
    """Return a path as ffmpeg must be given it, whatever its name begins with or contains."""
    return f"file:{path}"


def sample_count(duration_s: float, rate_hz: int) -> int:
    """Return the number of samples of an item: its duration times the rate, to the nearest."""
    return max(0, round(duration_s * rate_hz))


def scaled_size(video: VideoInfo, *, short_side_px: int, enlarge: bool = True) -> tuple[int, int]:
    """Return (width, height) with the short side at `short_side_px` and the shape kept.

    A picture more than eight times as long as wide gets a shorter short side, so that its size
    stays bounded.
    """
    short, long = sorted((video.width_px, video.height_px))
    factor = min(short_side_px / short, LONGEST_SHAPE * short_side_px / long)
    if factor >= 1 and not enlarge:
        return video.width_px, video.height_px
    width, height = (max(1, round(side * factor)) for side in (video.width_px, video.height_px))
    return width, height


def read_headers(path: str, *, timeout_s: float) -> dict[str, Any]:
    """Return ffprobe's format and streams of a file; raises ProcessFailed for an unreadable one."""
    argv = _ffprobe(path, "-show_format", "-show_streams", "-of", "json")
    return json.loads(run(argv, timeout_s=timeout_s).stdout)


def read_packets(path: str, *, timeout_s: float) -> Iterator[tuple[int, float, float]]:
    """Yield (stream index, start_s, end_s) of every packet to be shown, on the container's clock.

    Nothing is decoded. Packets without any timestamp are left out.
    """
    entries = "packet=stream_index,pts_time,dts_time,duration_time,flags"
    argv = _ffprobe(path, "-show_entries", entries, "-of", "csv=p=0")
    with Child(argv, timeout_s=timeout_s) as child:
        for line in child.lines():
            fields = line.rstrip().split(",")
            if len(fields) < 5 or "D" in fields[4]:
                continue
            start = fields[1] if fields[1] != "N/A" else fields[2]
            if start != "N/A":
                length = 0.0 if fields[3] == "N/A" else float(fields[3])
                yield int(fields[0]), float(start), float(start) + length


def decode_frames(
    path: str,
    info: MediaInfo,
    *,
    fps: float,
    short_side_px: int,
    enlarge: bool = True,
    pixel_format: str = "bgr24",
    block_frames: int = 32,
    timeout_s: float,
) -> Generator[FrameBlock, None, None]:
    """Yield the item's pictures on the grid of `fps`, at most `block_frames` at a time.

    Row i shows the last picture with pts <= i / fps on the item's clock; rows before the first
    picture show the first one, rows after the last one show the last one, up to `duration_s`.
    Rotation in the container is applied. Scaling is bicubic.

    Raises
    ------
    ItemFailure
        'no_video' without a picture stream, 'corrupt' when no picture can be decoded.
    ProcessFailed, ProcessTimeout
        From ffmpeg.
    """
    video = _picture_stream(info)
    width, height = scaled_size(video, short_side_px=short_side_px, enlarge=enlarge)
    rate = Fraction(fps).limit_denominator(1001)
    rows = row_count(info.duration_s, fps)
    argv = _frames_command(path, info, video, rate, (width, height), pixel_format)
    times = PictureTimes(rate)
    grid = PictureGrid(rows, (height, width, 3), block_frames)
    with Child(argv, timeout_s=timeout_s, on_stderr=times.read_line) as child:
        size = width * height * 3
        while grid.missing and child.read_into(grid.target.data.cast("B")) == size:
            yield from grid.put(*times.next())
        if not grid.missing:
            child.stop()
    if grid.empty:
        raise ItemFailure("corrupt", f"no picture could be decoded: {child.stderr_tail}")
    yield from grid.hold_last()


def decode_audio(
    path: str,
    info: MediaInfo,
    *,
    rate_hz: int,
    block_samples: int = 1 << 16,
    timeout_s: float,
    also: Mapping[int, Path] | None = None,
) -> Generator[np.ndarray, None, None]:
    """Yield the item's sound as int16 mono blocks of at most `block_samples` samples.

    Sample k lies at k / rate_hz on the item's clock: a track that starts late or has holes is
    padded with zeros, one that starts early is cut; there are exactly `sample_count` samples in
    all. Channels are averaged (5.1 with the usual weights for centre and surround).

    `also` maps other rates to files that the same decode writes, for `read_samples`. They are
    whole when the last block has come; a file that could not be finished is removed.

    Raises
    ------
    ItemFailure
        'no_audio' without a sound stream, 'corrupt' when no sound can be decoded.
    ProcessFailed, ProcessTimeout
        From ffmpeg.
    """
    also = also or {}
    total = sample_count(info.duration_s, rate_hz)
    argv = _audio_command(path, info, _sound_stream(info), rate_hz, also)
    done = 0
    with Child(argv, timeout_s=timeout_s, on_stderr=is_chatter) as child:
        while done < total:
            data = child.read(2 * min(block_samples, total - done))
            if len(data) < 2:
                break
            block = np.frombuffer(data, "<i2", count=len(data) // 2)
            done += len(block)
            yield block
        if done == total:
            lengths = {file: 2 * sample_count(info.duration_s, r) for r, file in also.items()}
            _finish_files(child, lengths)
    if done == 0:
        raise ItemFailure("corrupt", f"no sound could be decoded: {child.stderr_tail}")
    yield from _silence(total - done, block_samples)


def read_samples(
    path: Path, info: MediaInfo, *, rate_hz: int, block_samples: int = 1 << 16
) -> Generator[np.ndarray, None, None]:
    """Yield what `decode_audio` left in a file of its `also`: the blocks that it would yield."""
    total = sample_count(info.duration_s, rate_hz)
    done = 0
    with path.open("rb") as file:
        while done < total and len(data := file.read(2 * min(block_samples, total - done))) > 1:
            block = np.frombuffer(data, "<i2", count=len(data) // 2)
            done += len(block)
            yield block
    yield from _silence(total - done, block_samples)


def _silence(count: int, block_samples: int) -> Iterator[np.ndarray]:
    for start in range(0, count, block_samples):
        yield np.zeros(min(block_samples, count - start), np.int16)


def _finish_files(child: Child, lengths: Mapping[Path, int]) -> None:
    """Let the child go on until its files have these bytes, or all that there are for them."""
    while _short(lengths) and child.read(_DISCARDED_BYTES):
        pass
    if not _short(lengths):
        child.stop()
    elif child.wait() != 0:
        for file in _short(lengths):
            file.unlink(missing_ok=True)


def _short(lengths: Mapping[Path, int]) -> list[Path]:
    return [f for f, size in lengths.items() if not f.exists() or f.stat().st_size < size]


@lru_cache(maxsize=1)
def ffmpeg_version() -> str:
    """Return the version of the ffmpeg on the PATH; raises ProgramMissing without one."""
    first = run(["ffmpeg", "-version"], timeout_s=30).stdout.decode().partition("\n")[0]
    return first.removeprefix("ffmpeg version ").partition(" ")[0]


def _ffprobe(path: str, *options: str) -> list[str]:
    return [
        "ffprobe",
        "-hide_banner",
        "-loglevel",
        "error",
        "-protocol_whitelist",
        PROTOCOLS,
        *options,
        media_url(path),
    ]


def _frames_command(
    path: str,
    info: MediaInfo,
    video: VideoInfo,
    rate: Fraction,
    size: tuple[int, int],
    pixel_format: str,
) -> list[str]:
    stream = _input(path)[str(video.index)]
    stream = _on_items_clock(stream, "setpts", info)
    stream = stream.filter("showinfo@in", checksum=0)
    if video.rate_known:  # else fps drops a last picture that lies between two of its ticks
        pad_s = float(2 / rate) + 2 / video.fps
        stream = stream.filter("tpad", stop_mode="clone", stop_duration=f"{pad_s:.6f}")
    stream = (
        # round=up makes the picture at the grid's tick t the last one with pts <= t
        stream.filter("fps", fps=f"{rate.numerator}/{rate.denominator}", round="up", start_time=0)
        .filter("showinfo@out", checksum=0)
        .filter("scale", w=size[0], h=size[1], flags=SCALING)
    )
    output = stream.output("pipe:", format="rawvideo", pix_fmt=pixel_format, fps_mode="passthrough")
    return _command(output)


def _audio_command(
    path: str, info: MediaInfo, audio: AudioInfo, rate_hz: int, also: Mapping[int, Path]
) -> list[str]:
    stream = _input(path)[str(audio.index)]
    stream = _on_items_clock(stream, "asetpts", info)
    targets = [(rate_hz, "pipe:"), *((rate, media_url(str(file))) for rate, file in also.items())]
    copies = stream.filter_multi_output("asplit", len(targets)) if also else [stream]
    outputs = [
        _resampled(copies[n], rate).output(target, format="s16le", acodec="pcm_s16le")
        for n, (rate, target) in enumerate(targets)
    ]
    return _command(ffmpeg.merge_outputs(*outputs) if also else outputs[0])


def _resampled(stream: Any, rate_hz: int) -> Any:
    return stream.filter(
        "aresample",
        sample_rate=rate_hz,
        first_pts=0,
        min_hard_comp=LARGEST_GAP_S,
        **{"async": 1},
    ).filter("aformat", sample_fmts="s16", channel_layouts="mono")


def _input(path: str) -> Any:
    return ffmpeg.input(media_url(path), protocol_whitelist=PROTOCOLS, threads=1)


def _on_items_clock(stream: Any, filter_name: str, info: MediaInfo) -> Any:
    if not info.origin_s:
        return stream
    return stream.filter(filter_name, f"PTS-round({info.origin_s:.6f}/TB)")


def _command(output: Any) -> list[str]:
    quiet = output.global_args(
        "-hide_banner", "-nostdin", "-nostats", "-copyts", "-loglevel", LOG_LEVEL
    )
    return quiet.global_args("-filter_complex_threads", "1").compile()


def _picture_stream(info: MediaInfo) -> VideoInfo:
    if info.video is None:
        raise ItemFailure("no_video", info.video_detail)
    return info.video


def _sound_stream(info: MediaInfo) -> AudioInfo:
    if info.audio is None:
        raise ItemFailure("no_audio", info.audio_detail)
    return info.audio
