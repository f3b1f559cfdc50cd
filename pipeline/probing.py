"""What is in a media file: a path goes in, a `MediaInfo` with a verdict for each stream comes out.

Headers are read first, then every packet's time (they tell where the streams really end), then one
picture is decoded, and sound up to the first sample that is louder than silence.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from pipeline.failures import ItemFailure, ProcessFailed
from pipeline.ffmpeg import decode_audio, decode_frames, read_headers, read_packets
from pipeline.media import OK, AudioInfo, MediaInfo, VideoInfo
from pipeline.stages import ProbeConfig

PRIMING_S = 0.1
"""Sound that begins less than this before 0 is a codec's priming, which decoders drop."""
EARLY_S = 1.0
EARLY_SHARE = 0.1
"""A stream that ends this much before its declared end, in both measures, is cut off."""
WINDOW_SLACK_S = 0.5
"""A window whose media ends at most this early keeps its nominal length."""
_AGREE_S = 0.1
_SILENCE_RATE_HZ = 16000
_FULL_SCALE = 32768


@dataclass(slots=True)
class _Extent:
    """Where a stream's packets begin and end on the container's clock, and how many there are."""

    start_s: float
    end_s: float
    packets: int


def probe_media(
    path: str, config: ProbeConfig, *, window_length_s: float | None, timeout_s: float
) -> MediaInfo:
    """Return what is in a media file.

    Parameters
    ----------
    path : str
        The file.
    config : ProbeConfig
        Thresholds of the verdicts.
    window_length_s : float or None
        Length of the window that the file was cut to (its clock then starts at the window), or
        None for a whole video.
    timeout_s : float
        Time limit of each child process.

    Raises
    ------
    ItemFailure
        'corrupt': the file cannot be read, or holds neither pictures nor sound.
    """
    try:
        headers = read_headers(path, timeout_s=timeout_s)
        extents = _extents(path, timeout_s)
    except ProcessFailed as error:
        raise ItemFailure("corrupt", error.stderr_tail) from error
    video = _choose(headers["streams"], "video")
    audio = _choose(headers["streams"], "audio")
    if video is None and audio is None:
        raise ItemFailure("corrupt", "the file holds neither a picture nor a sound stream")
    info = _describe(headers["format"], video, audio, extents, window_length_s)
    info = _check_video(info, video, config, path, timeout_s)
    return _check_audio(info, audio, config, path, timeout_s)


def _extents(path: str, timeout_s: float) -> dict[int, _Extent]:
    extents: dict[int, _Extent] = {}
    for index, start_s, end_s in read_packets(path, timeout_s=timeout_s):
        extent = extents.setdefault(index, _Extent(start_s, end_s, 0))
        extent.start_s = min(extent.start_s, start_s)
        extent.end_s = max(extent.end_s, end_s)
        extent.packets += 1
    return extents


def _choose(streams: list[dict[str, Any]], kind: str) -> dict[str, Any] | None:
    """Return the stream to use: a codec that is known, then the default one, then the first."""
    mine = [s for s in streams if s.get("codec_type") == kind and not _is_cover(s)]
    return min(mine, key=lambda s: (not _codec(s), not _disposition(s, "default")), default=None)


def _is_cover(stream: Mapping[str, Any]) -> bool:
    return bool(_disposition(stream, "attached_pic") or _disposition(stream, "timed_thumbnails"))


def _disposition(stream: Mapping[str, Any], name: str) -> int:
    return int(stream.get("disposition", {}).get(name, 0))


def _codec(stream: Mapping[str, Any]) -> str:
    name = stream.get("codec_name", "")
    return "" if name in ("unknown", "none") else name


def _describe(
    container: Mapping[str, Any],
    video: Mapping[str, Any] | None,
    audio: Mapping[str, Any] | None,
    extents: Mapping[int, _Extent],
    window_length_s: float | None,
) -> MediaInfo:
    """Return the info without verdicts: all times on the item's clock."""
    spans = {
        stream["index"]: _span_s(stream, extents[stream["index"]])
        for stream in (video, audio)
        if stream is not None and stream["index"] in extents
    }
    starts = [0.0 if -PRIMING_S < start < 0 else start for start, _ in spans.values()]
    origin_s = 0.0 if window_length_s is not None else min(starts, default=0.0)
    duration_s = max((end for _, end in spans.values()), default=origin_s) - origin_s
    if window_length_s is not None and duration_s > window_length_s - WINDOW_SLACK_S:
        duration_s = window_length_s
    return MediaInfo(
        container=container["format_name"],
        duration_s=round(duration_s, 6),
        origin_s=round(origin_s, 6),
        container_start_s=float(container.get("start_time", 0.0)),
        video=_video_info(video, spans, origin_s, extents),
        audio=_audio_info(audio, spans, origin_s),
        video_reason=OK,
        audio_reason=OK,
    )


def _span_s(stream: Mapping[str, Any], extent: _Extent) -> tuple[float, float]:
    """Return a stream's start and end on the container's clock.

    Headers know what a decoder drops at both ends, packets know what is really there; the header's
    word counts where the two agree.
    """
    start_s = float(stream.get("start_time", extent.start_s))
    end_s = extent.end_s
    if "duration" in stream:
        declared_s = start_s + float(stream["duration"])
        end_s = declared_s if abs(declared_s - end_s) < _AGREE_S else end_s
    return start_s, end_s


def _video_info(
    stream: Mapping[str, Any] | None,
    spans: Mapping[int, tuple[float, float]],
    origin_s: float,
    extents: Mapping[int, _Extent],
) -> VideoInfo | None:
    if stream is None or stream["index"] not in spans or not stream.get("width"):
        return None
    start_s, end_s = spans[stream["index"]]
    rotation = _rotation_deg(stream)
    sides = (int(stream["width"]), int(stream["height"]))
    width, height = sides[::-1] if rotation % 180 == 90 else sides
    return VideoInfo(
        index=stream["index"],
        codec=_codec(stream),
        width_px=width,
        height_px=height,
        fps=round(extents[stream["index"]].packets / max(end_s - start_s, 1e-3), 6),
        start_s=round(start_s - origin_s, 6),
        end_s=round(end_s - origin_s, 6),
        rotation_deg=rotation,
        rate_known=stream.get("r_frame_rate", "0/0") not in ("0/0", "0/1"),
    )


def _rotation_deg(stream: Mapping[str, Any]) -> int:
    for side_data in stream.get("side_data_list", ()):
        if "rotation" in side_data:
            return round(float(side_data["rotation"]))
    return 0


def _audio_info(
    stream: Mapping[str, Any] | None, spans: Mapping[int, tuple[float, float]], origin_s: float
) -> AudioInfo | None:
    if stream is None or stream["index"] not in spans:
        return None
    start_s, end_s = spans[stream["index"]]
    return AudioInfo(
        index=stream["index"],
        codec=_codec(stream),
        channels=int(stream.get("channels", 0)),
        rate_hz=int(stream.get("sample_rate", 0)),
        start_s=round(start_s - origin_s, 6),
        end_s=round(end_s - origin_s, 6),
    )


def _check_video(
    info: MediaInfo,
    stream: Mapping[str, Any] | None,
    config: ProbeConfig,
    path: str,
    timeout_s: float,
) -> MediaInfo:
    def verdict(reason: str, detail: str) -> MediaInfo:
        return replace(info, video_reason=reason, video_detail=detail)

    video = info.video
    if stream is None:
        return verdict("no_video", "no picture stream")
    if not _codec(stream) or not stream.get("width"):
        return verdict("corrupt", "a picture stream without a known codec or size")
    if video is None:
        return verdict("too_short", "a picture stream without a single packet")
    if _ends_early(stream, info, video.end_s):
        return verdict("corrupt", _cut_off(stream, video.end_s - video.start_s))
    length_s = min(video.end_s, info.duration_s) - video.start_s
    if length_s < config.min_duration_s:
        return verdict("too_short", _too_short(length_s, config, "pictures"))
    try:
        first = decode_frames(
            path, info, fps=25.0, short_side_px=16, block_frames=1, timeout_s=timeout_s
        )
        next(first)
        first.close()
    except ItemFailure as failure:
        return verdict(failure.reason, failure.detail)
    except ProcessFailed as error:
        return verdict("corrupt", error.stderr_tail)
    return info


def _check_audio(
    info: MediaInfo,
    stream: Mapping[str, Any] | None,
    config: ProbeConfig,
    path: str,
    timeout_s: float,
) -> MediaInfo:
    def verdict(reason: str, detail: str) -> MediaInfo:
        return replace(info, audio_reason=reason, audio_detail=detail)

    audio = info.audio
    if stream is None:
        return verdict("no_audio", "no sound stream")
    if not _codec(stream):
        return verdict("corrupt", "a sound stream without a known codec")
    if audio is None:
        return verdict("too_short", "a sound stream without a single packet")
    if _ends_early(stream, info, audio.end_s):
        return verdict("corrupt", _cut_off(stream, audio.end_s - audio.start_s))
    length_s = min(audio.end_s, info.duration_s) - audio.start_s
    if length_s < config.min_duration_s:
        return verdict("too_short", _too_short(length_s, config, "sound"))
    try:
        peak = _peak(path, info, 10 ** (config.silence_peak_dbfs / 20), timeout_s)
    except ItemFailure as failure:
        return verdict(failure.reason, failure.detail)
    except ProcessFailed as error:
        return verdict("corrupt", error.stderr_tail)
    if peak is not None:
        db = 20 * np.log10(max(peak, 0.5 / _FULL_SCALE))
        limit = config.silence_peak_dbfs
        return verdict("silent", f"loudest sample {db:.1f} dBFS, silence is below {limit:g} dBFS")
    return info


def _peak(path: str, info: MediaInfo, limit: float, timeout_s: float) -> float | None:
    """Return the loudest sample (1 is full scale), or None as soon as one reaches `limit`."""
    peak = 0.0
    for block in decode_audio(path, info, rate_hz=_SILENCE_RATE_HZ, timeout_s=timeout_s):
        peak = max(peak, int(np.abs(block.astype(np.int32)).max()) / _FULL_SCALE)
        if peak >= limit:
            return None
    return peak


def _ends_early(stream: Mapping[str, Any], info: MediaInfo, end_s: float) -> bool:
    """Whether the file stops well before the stream's end by the headers: a download cut off."""
    declared_s = float(stream.get("duration", 0.0))
    claimed_s = float(stream.get("start_time", 0.0)) - info.origin_s + declared_s
    return claimed_s - end_s > max(EARLY_S, EARLY_SHARE * declared_s)


def _cut_off(stream: Mapping[str, Any], length_s: float) -> str:
    return (
        f"only {length_s:.3f} s of {float(stream['duration']):.3f} s are in the file: "
        "a download or copy that was cut off? Get it again"
    )


def _too_short(length_s: float, config: ProbeConfig, what: str) -> str:
    return f"{max(length_s, 0.0):.3f} s of {what}, expected at least {config.min_duration_s:g} s"
