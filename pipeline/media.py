"""What the pipeline knows of one item's media: the reference going in, the probe's findings.

Plain frozen values, no I/O. Every time here is in seconds. Two clocks occur: the *container's*
clock (timestamps as written in the file) and the *item's* clock, whose t = 0 is `origin_s` on the
container's clock.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

OK = "ok"
POSE_SIDECAR = "alphapose"
"""Kind of the sidecar file that holds ready pose results for a video."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MediaRef:
    """Where an item's media lies.

    `sha256` is of the media file; `sidecars` maps a kind (`POSE_SIDECAR`) to an absolute path and
    `sidecar_sha256` the same kinds to digests.
    """

    item_id: str
    path: str
    sha256: str
    sidecars: Mapping[str, str] = field(default_factory=dict)
    sidecar_sha256: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class VideoInfo:
    """The picture stream in use.

    `width_px` and `height_px` are of the picture as shown, after rotation; pixels are taken as
    square. `fps` is the average rate of the pictures; `rate_known` says that the headers give any
    rate. `start_s` and `end_s` are on the item's clock: first picture, end of the last one.
    """

    index: int
    codec: str
    width_px: int
    height_px: int
    fps: float
    start_s: float
    end_s: float
    rotation_deg: int = 0
    rate_known: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class AudioInfo:
    """The sound stream in use; `start_s` and `end_s` are on the item's clock."""

    index: int
    codec: str
    channels: int
    rate_hz: int
    start_s: float
    end_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class MediaInfo:
    """What probe found in one item's media.

    `duration_s` is the item's length on its own clock: that of the window where the media reaches
    its end, else of the media. `container_start_s` is the start that the container claims.
    `video_reason` and `audio_reason` are 'ok' or why a stage that needs that stream cannot run:
    no_video, no_audio, silent, corrupt, too_short.
    """

    container: str
    duration_s: float
    origin_s: float
    container_start_s: float
    video: VideoInfo | None
    audio: AudioInfo | None
    video_reason: str
    audio_reason: str
    video_detail: str = ""
    audio_detail: str = ""

    @property
    def has_video(self) -> bool:
        """Whether pictures can be had from the media."""
        return self.video_reason == OK

    @property
    def has_audio(self) -> bool:
        """Whether sound that is not silence can be had from the media."""
        return self.audio_reason == OK

    def verdict(self, stream: str) -> tuple[str, str]:
        """Return (reason, detail) for 'video' or 'audio'; the reason is 'ok' when usable."""
        if stream == "video":
            return self.video_reason, self.video_detail
        if stream == "audio":
            return self.audio_reason, self.audio_detail
        raise ValueError(f"stream {stream!r}: expected 'video' or 'audio'")

    def to_json(self) -> str:
        """Return one line of JSON; `from_json` reads it back."""
        return json.dumps(asdict(self), sort_keys=True, separators=(",", ":"))

    @classmethod
    def from_json(cls, text: str | bytes) -> MediaInfo:
        """Return the info that `to_json` wrote."""
        row: dict[str, Any] = json.loads(text)
        video, audio = row.pop("video"), row.pop("audio")
        return cls(
            video=None if video is None else VideoInfo(**video),
            audio=None if audio is None else AudioInfo(**audio),
            **row,
        )
