"""A window of a video as its own file: a path and a window flow in, a Matroska file flows out.

The file's clock is the window's: t = 0 at its start, whatever picture or sound comes first.
Pictures are encoded anew (a copy could only begin at a key frame) and keep their times, so the
first one may come up to one picture late; sound is kept without loss. Equal input gives equal
bytes with one version of ffmpeg.
"""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Any

import ffmpeg

from pipeline.failures import EnvironmentBroken, ItemFailure
from pipeline.ffmpeg import PROTOCOLS, media_url
from pipeline.media import MediaInfo
from pipeline.probing import WINDOW_SLACK_S, probe_media
from pipeline.process import run
from pipeline.stages import ProbeConfig

EXTENSION = "mkv"
_VIDEO = {
    "c:v": "libx264",
    "preset": "veryfast",
    "crf": 18,
    "pix_fmt": "yuv420p",
    "fps_mode": "passthrough",
    "enc_time_base": "1:90000",
}
_AUDIO = {"c:a": "flac"}
_EVEN = {"w": "ceil(iw/2)*2", "h": "ceil(ih/2)*2"}


def cut_window(
    path: str, start_s: float, end_s: float, target: Path, *, timeout_s: float
) -> MediaInfo:
    """Write the window [start_s, end_s) of a video's own clock to `target`; return its source.

    What was written is probed: it has the window's length and the streams that its source has
    there.

    Raises
    ------
    ItemFailure
        'corrupt' for an unreadable file or one that cannot be decoded there, 'too_short' for a
        window that reaches more than half a second beyond the video's end.
    EnvironmentBroken
        This ffmpeg has no H.264 encoder.
    ProcessFailed, ProcessTimeout
        From ffmpeg.
    """
    info = probe_media(path, ProbeConfig(), window_length_s=None, timeout_s=timeout_s)
    if start_s >= info.duration_s:
        raise ItemFailure(
            "too_short",
            f"the window starts at {start_s:g} s, the video ends at {info.duration_s:g} s",
        )
    seek_s = start_s + info.origin_s - info.container_start_s  # -ss counts from the container's
    source = ffmpeg.input(
        media_url(path), protocol_whitelist=PROTOCOLS, threads=1, ss=f"{seek_s:.6f}"
    )
    output = ffmpeg.output(
        *_streams(source, info),
        media_url(str(target)),
        t=f"{end_s - start_s:.6f}",
        format="matroska",
        threads=1,
        fflags="+bitexact",
        map_metadata=-1,
        **(_VIDEO if info.video else {}),
        **(_AUDIO if info.audio else {}),
    )
    quiet = output.global_args("-hide_banner", "-nostdin", "-loglevel", "error", "-y")
    if info.video:
        _check_encoder("libx264")
    run(quiet.compile(), timeout_s=timeout_s)
    _check_cut(target, info, start_s, end_s, timeout_s)
    return info


def _check_cut(
    target: Path, source: MediaInfo, start_s: float, end_s: float, timeout_s: float
) -> None:
    if end_s - source.duration_s > WINDOW_SLACK_S:
        raise ItemFailure(
            "too_short", f"the window ends at {end_s:g} s, the video at {source.duration_s:g} s"
        )
    length_s = end_s - start_s
    cut = probe_media(str(target), ProbeConfig(), window_length_s=length_s, timeout_s=timeout_s)
    if length_s - cut.duration_s > WINDOW_SLACK_S:
        raise ItemFailure(
            "corrupt", f"{length_s:g} s were cut, {cut.duration_s:g} s of them could be decoded"
        )
    for kind, stream, written in (
        ("pictures", source.video, cut.video),
        ("sound", source.audio, cut.audio),
    ):
        overlap_s = min(stream.end_s, end_s) - max(stream.start_s, start_s) if stream else 0.0
        if overlap_s > WINDOW_SLACK_S and written is None:
            raise ItemFailure("corrupt", f"the {kind} could not be cut from {start_s:g} s on")


def _streams(source: Any, info: MediaInfo) -> list[Any]:
    streams = []
    if info.video:
        streams.append(source[str(info.video.index)].filter("scale", **_EVEN))
    if info.audio:
        streams.append(source[str(info.audio.index)])
    return streams


@lru_cache(maxsize=4)
def _check_encoder(name: str) -> None:
    listed = run(["ffmpeg", "-hide_banner", "-encoders"], timeout_s=30).stdout.decode()
    if name not in listed:
        raise EnvironmentBroken(
            f"this ffmpeg has no {name} encoder, which cutting windows needs; "
            "install a build with it (Debian's and conda-forge's have it)"
        )
