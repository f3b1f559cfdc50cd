"""Decoding to the rows of the frames stage: ours against ffmpeg's own speed for the same output.

    python -m bench.decode [VIDEO ...] [--seconds 60] [--repeats 5] [--json]

Each way gives 8 pictures a second with the short side at 256 px, on one decoder thread. `ffmpeg` is
the program writing them to a pipe, from which they are read and thrown away (`to nowhere`: not even
written, `-f null`); `ours` is `pipeline.ffmpeg.decode_frames`, with the
time of each picture; PyAV and OpenCV stand there where they are installed, with their own scalers.
The aim: ours within 15 % of ffmpeg's. The table has times of the wall clock; the last column is the
ratio of processor time (of all processes and threads), which other work on the machine moves less.
Without VIDEO two clips are made: a plain one and a busy one.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import resource
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import ffmpeg
from rich.console import Console
from rich.table import Table

from pipeline.ffmpeg import SCALING, decode_frames, scaled_size
from pipeline.media import MediaInfo
from pipeline.probing import probe_media
from pipeline.stages import FramesConfig, ProbeConfig

CONFIG = FramesConfig()
TIMEOUT_S = 600.0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("videos", nargs="*", type=Path)
    parser.add_argument("--seconds", type=int, default=60, help="length of the clips that are made")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="bench-decode-") as folder:
        videos = arguments.videos or make_clips(Path(folder), arguments.seconds)
        rows = [measure(video, arguments.repeats) for video in videos]
    if arguments.json:
        print(json.dumps({"decode": rows}))
        return
    ways = list(dict.fromkeys(way for row in rows for way in row["x_realtime"]))
    table = Table("x realtime", *ways, "ours / ffmpeg", "by processor time")
    for row in rows:
        speeds = (f"{row['x_realtime'][way]:.0f}" for way in ways)
        ratios = (f"{row[key]:.2f}" for key in ("ours_vs_ffmpeg", "ours_vs_ffmpeg_cpu"))
        table.add_row(row["video"], *speeds, *ratios)
    Console(width=100).print(table)


def make_clips(folder: Path, seconds: int) -> list[Path]:
    """Write two clips of 640x360 at 25 pictures a second, like those of YouTube in size."""
    sources = {
        "plain": f"testsrc2=size=640x360:rate=25:duration={seconds}",
        "busy": f"mandelbrot=size=640x360:rate=25:end_scale=0.02,trim=duration={seconds}",
    }
    paths = []
    for name, source in sources.items():
        path = folder / f"{name}.mp4"
        made = ffmpeg.output(
            ffmpeg.input(source, format="lavfi"),
            str(path),
            vcodec="libx264",
            preset="veryfast",
            pix_fmt="yuv420p",
            **{"b:v": "700k" if name == "plain" else "4700k"},
        )
        made.global_args("-hide_banner", "-v", "error").run()
        paths.append(path)
    return paths


def measure(video: Path, repeats: int) -> dict[str, Any]:
    """Return how many seconds of the video each way decodes in one second.

    The ways take turns, so that a busy moment of the machine meets all of them; the middle one of
    the repeats counts, and for the ratio the middle one of the ratios within a turn.
    """
    info = probe_media(str(video), ProbeConfig(), window_length_s=None, timeout_s=TIMEOUT_S)
    ways: dict[str, Callable[[Path, MediaInfo], int]] = {
        "to nowhere": by_ffmpeg_to_nowhere,
        "ffmpeg": by_ffmpeg,
        "ours": by_us,
    }
    if importlib.util.find_spec("av") is not None:
        ways["PyAV"] = by_pyav
    if importlib.util.find_spec("cv2") is not None:
        ways["OpenCV"] = by_opencv
    pictures = {name: way(video, info) for name, way in ways.items()}
    took_s: dict[str, list[float]] = {name: [] for name in ways}
    cpu_s: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(repeats):
        for name, way in ways.items():
            began, began_cpu = time.perf_counter(), processor_s()
            way(video, info)
            took_s[name].append(time.perf_counter() - began)
            cpu_s[name].append(processor_s() - began_cpu)
    return {
        "video": video.name,
        "pictures": pictures,
        "x_realtime": {n: info.duration_s / statistics.median(t) for n, t in took_s.items()},
        "cpu_s": {n: statistics.median(t) for n, t in cpu_s.items()},
        "ours_vs_ffmpeg": middle_ratio(took_s),
        "ours_vs_ffmpeg_cpu": middle_ratio(cpu_s),
    }


def middle_ratio(seconds: dict[str, list[float]]) -> float:
    pairs = zip(seconds["ffmpeg"], seconds["ours"], strict=True)
    return statistics.median(alone / ours for alone, ours in pairs)


def processor_s() -> float:
    """Return the processor time of this process and of its children that have ended."""
    kinds = (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    used = [resource.getrusage(kind) for kind in kinds]
    return sum(each.ru_utime + each.ru_stime for each in used)


def plain_command(video: Path, info: MediaInfo, *, keep: bool) -> list[str]:
    """Return ffmpeg's own command for these pictures; they go to stdout or nowhere."""
    if info.video is None:
        raise SystemExit(f"{video}: no picture stream")
    width, height = scaled_size(info.video, short_side_px=CONFIG.short_side_px)
    stream = (
        ffmpeg.input(str(video), threads=1)
        .video.filter("fps", fps=CONFIG.fps, round="up", start_time=0)
        .filter("scale", w=width, h=height, flags=SCALING)
    )
    target = ("pipe:", "rawvideo") if keep else ("-", "null")
    output = stream.output(target[0], format=target[1], pix_fmt="bgr24", fps_mode="passthrough")
    quiet = output.global_args("-v", "error", "-nostdin", "-filter_complex_threads", "1")
    return quiet.compile()


def by_ffmpeg_to_nowhere(video: Path, info: MediaInfo) -> int:
    subprocess.run(plain_command(video, info, keep=False), check=True)
    return 0


def by_ffmpeg(video: Path, info: MediaInfo) -> int:
    command = plain_command(video, info, keep=True)
    buffer, total = memoryview(bytearray(1 << 20)), 0
    with subprocess.Popen(command, stdout=subprocess.PIPE, bufsize=0) as process:
        while process.stdout is not None and (count := process.stdout.readinto(buffer)):
            total += count
    width, height = scaled_size(info.video, short_side_px=CONFIG.short_side_px)
    return total // (3 * width * height)


def by_us(video: Path, info: MediaInfo) -> int:
    blocks = decode_frames(
        str(video),
        info,
        fps=CONFIG.fps,
        short_side_px=CONFIG.short_side_px,
        timeout_s=TIMEOUT_S,
    )
    return sum(len(block.pictures) for block in blocks)


def by_pyav(video: Path, info: MediaInfo) -> int:
    import av

    width, height = scaled_size(info.video, short_side_px=CONFIG.short_side_px)
    count = 0
    with av.open(str(video)) as container:
        stream = container.streams.video[0]
        stream.codec_context.thread_count = 1
        for picture in container.decode(stream):
            while count / CONFIG.fps <= picture.time:
                picture.reformat(width, height, "bgr24", "BICUBIC").to_ndarray()
                count += 1
    return count


def by_opencv(video: Path, info: MediaInfo) -> int:
    import cv2

    cv2.setNumThreads(1)
    capture = cv2.VideoCapture(str(video), cv2.CAP_FFMPEG, [cv2.CAP_PROP_N_THREADS, 1])
    rate, size = capture.get(cv2.CAP_PROP_FPS), scaled_size(info.video, short_side_px=256)
    count = number = 0
    while capture.grab():
        if count / CONFIG.fps <= number / rate:
            picture = capture.retrieve()[1]
            cv2.resize(picture, size, interpolation=cv2.INTER_CUBIC)
            count += 1
        number += 1
    capture.release()
    return count


if __name__ == "__main__":
    main()
