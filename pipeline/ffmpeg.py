"""Decoding with ffmpeg: a media file and what probe found go in, blocks of pictures or samples out.

Timestamps are taken as the container has them (`-copyts`: else ffmpeg shifts them by a start time
that depends on the format and on the streams in use) and put on the item's clock here.
One thread per decode: width comes from many items at once, and what a decoder makes of damaged
data does not depend on the number of threads.
"""

from __future__ import annotations

import json
import queue
import re
from collections import deque
from collections.abc import Generator, Iterator
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from math import ceil
from typing import Any

import ffmpeg
import numpy as np

from pipeline.failures import ItemFailure
from pipeline.media import AudioInfo, MediaInfo, VideoInfo
from pipeline.process import Child, run

PROTOCOLS = "file,pipe"
LARGEST_GAP_S = 0.05
SCALING = "bicubic+accurate_rnd+full_chroma_int+bitexact"
_LEVEL = re.compile(r"\[(info|verbose|debug)\]")
_TIME_BASE = re.compile(r"\[showinfo@in @ \S+\] \[info\] config in time_base: (\d+)/(\d+)")
_PICTURE = re.compile(r"\[showinfo@(in|out) @ \S+\] \[info\] n: *\d+ pts: *(-?\d+) ")
_LINE_WAIT_S = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class FrameBlock:
    """Consecutive rows of the picture grid.

    `pictures` is uint8 (n, height, width, 3); `picture_time_s` float64 (n,) is when each picture
    that is shown truly begins, on the item's clock.
    """

    first_row: int
    pictures: np.ndarray
    picture_time_s: np.ndarray


def media_url(path: str) -> str:
    """Return a path as ffmpeg must be given it, whatever its name begins with or contains."""
    return f"file:{path}"


def row_count(duration_s: float, fps: float) -> int:
    """Return the number of rows i with i / fps < duration (10 s at 8 fps: 80)."""
    return max(0, ceil(duration_s * fps - 1e-6))


def sample_count(duration_s: float, rate_hz: int) -> int:
    """Return the number of samples of an item: its duration times the rate, to the nearest."""
    return max(0, round(duration_s * rate_hz))


def scaled_size(video: VideoInfo, *, short_side_px: int, enlarge: bool = True) -> tuple[int, int]:
    """Return (width, height) with the short side at `short_side_px` and the shape kept."""
    short = min(video.width_px, video.height_px)
    if short <= short_side_px and not enlarge:
        return video.width_px, video.height_px
    factor = short_side_px / short
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
    times = _PictureTimes(rate)
    grid = _Grid(rows, (height, width, 3), block_frames)
    with Child(argv, timeout_s=timeout_s, on_stderr=times.read_line) as child:
        picture = np.empty((height, width, 3), np.uint8)
        while grid.missing and child.read_into(picture.data.cast("B")) == picture.nbytes:
            row, time_s = times.next()
            yield from grid.put(row, picture, time_s)
        if not grid.missing:
            child.stop()
    if grid.empty:
        raise ItemFailure("corrupt", f"no picture could be decoded: {child.stderr_tail}")
    yield from grid.hold_last()


def decode_audio(
    path: str, info: MediaInfo, *, rate_hz: int, block_samples: int = 1 << 16, timeout_s: float
) -> Generator[np.ndarray, None, None]:
    """Yield the item's sound as int16 mono blocks of at most `block_samples` samples.

    Sample k lies at k / rate_hz on the item's clock: a track that starts late or has holes is
    padded with zeros, one that starts early is cut; there are exactly `sample_count` samples in
    all. Channels are averaged (5.1 with the usual weights for centre and surround).

    Raises
    ------
    ItemFailure
        'no_audio' without a sound stream, 'corrupt' when no sound can be decoded.
    ProcessFailed, ProcessTimeout
        From ffmpeg.
    """
    total = sample_count(info.duration_s, rate_hz)
    argv = _audio_command(path, info, _sound_stream(info), rate_hz)
    done = 0
    with Child(argv, timeout_s=timeout_s, on_stderr=_is_chatter) as child:
        while done < total:
            data = child.read(2 * min(block_samples, total - done))
            if len(data) < 2:
                break
            block = np.frombuffer(data, "<i2", count=len(data) // 2)
            done += len(block)
            yield block
        if done == total:
            child.stop()
    if done == 0:
        raise ItemFailure("corrupt", f"no sound could be decoded: {child.stderr_tail}")
    for start in range(done, total, block_samples):
        yield np.zeros(min(block_samples, total - start), np.int16)


@lru_cache(maxsize=1)
def ffmpeg_version() -> str:
    """Return the version of the ffmpeg on the PATH; raises ProgramMissing without one."""
    first = run(["ffmpeg", "-version"], timeout_s=30).stdout.decode().partition("\n")[0]
    return first.removeprefix("ffmpeg version ").partition(" ")[0]


class _Grid:
    """Gathers pictures into blocks of rows; a row that ffmpeg left out repeats the one before."""

    def __init__(self, rows: int, shape: tuple[int, int, int], block_frames: int) -> None:
        self._rows = rows
        self._done = 0
        self._used = 0
        self._last_time_s = 0.0
        self._block = np.empty((block_frames, *shape), np.uint8)
        self._times = np.empty(block_frames, np.float64)
        self._last = np.empty(shape, np.uint8)

    @property
    def missing(self) -> bool:
        """Whether rows are still to come."""
        return self._done < self._rows

    @property
    def empty(self) -> bool:
        """Whether no picture came at all, though rows were due."""
        return self._done == 0 and self._rows > 0

    def put(self, row: int, picture: np.ndarray, time_s: float) -> Iterator[FrameBlock]:
        """Take the picture of one row; rows that were filled already are ignored.

        ffmpeg sets its filters up anew where the picture size changes within a file, and its grid
        then starts at row 0 again.
        """
        if row < self._done:
            return
        if self._done:
            while self._done < min(row, self._rows):
                yield from self._fill(self._last, self._last_time_s)
        self._last[...] = picture
        self._last_time_s = time_s
        while self._done <= min(row, self._rows - 1):
            yield from self._fill(self._last, time_s)

    def hold_last(self) -> Iterator[FrameBlock]:
        """Yield what is left, up to the last row."""
        while self.missing:
            yield from self._fill(self._last, self._last_time_s)
        if self._used:
            yield self._take()

    def _fill(self, picture: np.ndarray, time_s: float) -> Iterator[FrameBlock]:
        self._block[self._used] = picture
        self._times[self._used] = time_s
        self._used += 1
        self._done += 1
        if self._used == len(self._block):
            yield self._take()

    def _take(self) -> FrameBlock:
        block = FrameBlock(
            first_row=self._done - self._used,
            pictures=self._block[: self._used].copy(),
            picture_time_s=self._times[: self._used].copy(),
        )
        self._used = 0
        return block


class _PictureTimes:
    """Learns from ffmpeg's showinfo lines which picture each row shows.

    The lines stand in the order of events: a row's own line (after the grid) comes behind the
    lines of all pictures that decide it (before the grid), and before its bytes.
    """

    def __init__(self, rate: Fraction) -> None:
        self._rate = rate
        self._unit_s = Fraction(0)
        self._seen_s: deque[Fraction] = deque()
        self._rows: queue.SimpleQueue[tuple[int, float]] = queue.SimpleQueue()

    def read_line(self, line: str) -> bool:
        """Take one line of stderr; True when it is no message for a person."""
        match = _PICTURE.match(line)
        if match is not None:
            if match[1] == "in":
                self._seen_s.append(int(match[2]) * self._unit_s)
            else:
                self._settle(int(match[2]))
            return True
        match = _TIME_BASE.match(line)
        if match is not None:
            self._unit_s = Fraction(int(match[1]), int(match[2]))
        return _is_chatter(line)

    def next(self) -> tuple[int, float]:
        """Return (row, picture_time_s) of the next picture in the pipe."""
        try:
            return self._rows.get(timeout=_LINE_WAIT_S)
        except queue.Empty:
            raise RuntimeError(
                "ffmpeg sent a picture but no readable showinfo line for it: this ffmpeg's log "
                "format is not known; expected a version from 5.1 on"
            ) from None

    def _settle(self, row: int) -> None:
        while len(self._seen_s) > 1 and self._seen_s[1] <= row / self._rate:
            self._seen_s.popleft()
        self._rows.put((row, float(self._seen_s[0])))


def _is_chatter(line: str) -> bool:
    return _LEVEL.search(line) is not None


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


def _audio_command(path: str, info: MediaInfo, audio: AudioInfo, rate_hz: int) -> list[str]:
    stream = _input(path)[str(audio.index)]
    stream = _on_items_clock(stream, "asetpts", info)
    stream = stream.filter(
        "aresample",
        sample_rate=rate_hz,
        first_pts=0,
        min_hard_comp=LARGEST_GAP_S,
        **{"async": 1},
    ).filter("aformat", sample_fmts="s16", channel_layouts="mono")
    return _command(stream.output("pipe:", format="s16le", acodec="pcm_s16le"))


def _input(path: str) -> Any:
    return ffmpeg.input(media_url(path), protocol_whitelist=PROTOCOLS, threads=1)


def _on_items_clock(stream: Any, filter_name: str, info: MediaInfo) -> Any:
    if not info.origin_s:
        return stream
    return stream.filter(filter_name, f"PTS-round({info.origin_s:.6f}/TB)")


def _command(output: Any) -> list[str]:
    quiet = output.global_args(
        "-hide_banner", "-nostdin", "-nostats", "-copyts", "-loglevel", "repeat+level+info"
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
