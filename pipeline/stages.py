"""The table of stages: what each is called, what it reads, its settings, where its code lies.

Settings go in, `ResolvedStage`s come out: settings, fingerprint record and upstream fingerprints
of every stage that is wanted. Light on purpose: no torch, no cv2; schedulers import it.

A field of a settings class is part of the fingerprint unless it is declared with `unhashed`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from pipeline.media import POSE_SIDECAR, MediaRef
from storage.fingerprint import StageRecord

RANDOM_WEIGHTS = "random:"


def unhashed(default: Any) -> Any:
    """Return a field whose value moves no result (a batch size), hence no fingerprint."""
    return field(default=default, metadata={"fingerprint": False})


@dataclass(frozen=True, slots=True, kw_only=True)
class ProbeConfig:
    """Thresholds of the verdicts: shorter streams are too_short, quieter sound is silent."""

    min_duration_s: float = 0.25
    silence_peak_dbfs: float = -70.0


@dataclass(frozen=True, slots=True, kw_only=True)
class FramesConfig:
    """Pictures at `fps`, the short side scaled to `short_side_px`."""

    fps: float = 8.0
    short_side_px: int = 256
    jpeg_quality: int = 90


@dataclass(frozen=True, slots=True, kw_only=True)
class AudioConfig:
    """Mono sound at `rate_hz`."""

    rate_hz: int


@dataclass(frozen=True, slots=True, kw_only=True)
class StftConfig:
    """Periodic Hann window of `n_fft` samples every `hop_samples`; 'float32' or 'float16' rows."""

    n_fft: int = 1022
    hop_samples: int = 256
    dtype: str = "float32"


@dataclass(frozen=True, slots=True, kw_only=True)
class VggishConfig:
    """VGGish over patches of 0.96 s, one a second; variant 'relu' or 'pca'."""

    weights: str = "random:0"
    variant: str = "relu"


@dataclass(frozen=True, slots=True, kw_only=True)
class Resnet152Config:
    """ResNet-152 pooled features of the stored frames; sampling 'exact' or 'llp'."""

    weights: str = "random:0"
    sampling: str = "exact"
    batch_frames: int = unhashed(8)


@dataclass(frozen=True, slots=True, kw_only=True)
class R2plus1dConfig:
    """R(2+1)D-18 pooled features, one row a second, from the stored frames."""

    weights: str = "random:0"
    batch_clips: int = unhashed(2)


@dataclass(frozen=True, slots=True, kw_only=True)
class PoseConfig:
    """68 joints of up to `max_persons`; the backend finds them, all the rest is common."""

    backend: str = "mediapipe"
    max_persons: int = 2

    @property
    def sidecars(self) -> tuple[str, ...]:
        """Kinds of sidecar that the backend reads beside the video."""
        return (POSE_SIDECAR,) if self.backend == "alphapose-json" else ()


@dataclass(frozen=True, slots=True, kw_only=True)
class PoseEmbedConfig:
    """ST-GCN features of the poses; `model` is the pinned model's name in models/."""

    model: str


@dataclass(frozen=True, slots=True, kw_only=True)
class StageDef:
    """One line of the table.

    `needs` is the stream ('video', 'audio' or 'any') without which the stage has no rows for an
    item; `network` says that it runs a network, so precision and weights count.
    """

    name: str
    version: int
    config: type
    inputs: tuple[str, ...]
    module: str
    needs: str = "any"
    network: bool = False
    default: Any = None


def _stage(name: str, config: type, inputs: tuple[str, ...], **more: Any) -> StageDef:
    more.setdefault("module", f"pipeline.extractors.{name}")
    more.setdefault("version", 1)
    if "default" not in more and config is not PoseEmbedConfig:
        more["default"] = config()
    return StageDef(name=name, config=config, inputs=inputs, **more)


STAGES: Mapping[str, StageDef] = {
    stage.name: stage
    for stage in (
        _stage("probe", ProbeConfig, ()),
        _stage("frames", FramesConfig, ("probe",), needs="video"),
        _stage(
            "audio_11025",
            AudioConfig,
            ("probe",),
            needs="audio",
            module="pipeline.extractors.audio",
            default=AudioConfig(rate_hz=11025),
        ),
        _stage(
            "audio_16000",
            AudioConfig,
            ("probe",),
            needs="audio",
            module="pipeline.extractors.audio",
            default=AudioConfig(rate_hz=16000),
        ),
        _stage("stft", StftConfig, ("audio_11025",), needs="audio"),
        _stage("vggish", VggishConfig, ("audio_16000",), needs="audio", network=True),
        _stage("resnet152", Resnet152Config, ("frames",), needs="video", network=True),
        _stage("r2plus1d", R2plus1dConfig, ("frames",), needs="video", network=True),
        _stage("pose", PoseConfig, ("probe",), needs="video", network=True),
        _stage("pose_embed", PoseEmbedConfig, ("pose",), needs="video", network=True),
    )
}
"""Every stage by name, upstream before downstream."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ResolvedStage:
    """A stage with its settings chosen: all that a worker needs to run it. Picklable.

    `upstream` maps stage names to `<stage>-<fingerprint>`; `weights_path` is None for networks
    filled from a seed and for stages without one; `sidecars` are the kinds of sidecar file that
    this stage's rows depend on, its own and its upstream's.
    """

    name: str
    config: Any
    record: StageRecord
    upstream: Mapping[str, str]
    precision: str = ""
    weights_path: str | None = None
    sidecars: tuple[str, ...] = ()

    @property
    def definition(self) -> StageDef:
        """The stage's line in the table."""
        return STAGES[self.name]

    def input_sha256(self, media: MediaRef) -> str:
        """Return the digest of the files that the rows depend on: the media, and any sidecars."""
        present = [kind for kind in self.sidecars if kind in media.sidecar_sha256]
        if not present:
            return media.sha256
        digests = [media.sha256, *(f"{kind}={media.sidecar_sha256[kind]}" for kind in present)]
        return hashlib.sha256("\n".join(digests).encode()).hexdigest()


def default_configs() -> dict[str, Any]:
    """Return the settings of every stage that has a default (all but pose_embed)."""
    return {name: stage.default for name, stage in STAGES.items() if stage.default is not None}


def resolve(
    configs: Mapping[str, Any],
    *,
    precision: str = "auto",
    weights_dir: Path | None = None,
    models_dir: Path | None = None,
) -> dict[str, ResolvedStage]:
    """Return the stages named in `configs` and all that they read, upstream first.

    Parameters
    ----------
    configs : mapping of stage name to its settings object, or None for the defaults
        A stage that is only read by another one takes its defaults.
    precision : 'float32', 'bfloat16' or 'auto'
        For networks; 'auto' is bfloat16 for weights filled from a seed, float32 otherwise.
    weights_dir, models_dir : directories
        Where networks' weight files and the store's trained models lie.

    Raises
    ------
    ValueError
        An unknown stage, settings of the wrong class, or a stage without defaults unnamed.
    WeightsMissing
        Weights that are named but not there.
    """
    raise NotImplementedError
