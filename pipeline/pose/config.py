"""Settings of the stages `pose` and `pose_embed`. Light: schedulers import it.

Flows in: luigi.cfg's values. Flows out: frozen settings, and what of a backend is fingerprinted.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from pipeline.pose.backends import BACKENDS


@dataclass(frozen=True, slots=True, kw_only=True)
class PoseConfig:
    """68 joints of up to `max_persons`; the backend finds them, all the rest is common.

    A person whose score (`pipeline.pose.person`) is below `min_score` is none; one who was not seen
    for longer than `max_gap_s` begins a new track. `json_fps` is for ready results: the rate of the
    pictures that they count, None for the video's own.
    """

    backend: str = "mediapipe"
    fps: float = 8.0
    short_side_max_px: int = 720
    max_persons: int = 2
    min_score: float = 0.3
    max_gap_s: float = 1.0
    json_fps: float | None = None

    def __post_init__(self) -> None:
        if self.backend not in BACKENDS:
            raise ValueError(f"pose backend {self.backend!r}: expected one of {sorted(BACKENDS)}")

    @property
    def sidecars(self) -> tuple[str, ...]:
        """Kinds of sidecar that the backend reads beside the video."""
        return BACKENDS[self.backend].sidecars

    @property
    def weight_digests(self) -> Mapping[str, str]:
        """File name -> sha256 of the models that the backend runs."""
        return BACKENDS[self.backend].weights


@dataclass(frozen=True, slots=True, kw_only=True)
class PoseEmbedConfig:
    """ST-GCN features of the poses; `model` is the pinned model's name in models/."""

    model: str
