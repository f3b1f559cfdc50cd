"""Settings of the stages on sound and pictures; those of the pose stages stand beside them.

What luigi.cfg or a test chooses flows in; checked, frozen values flow out. A field is part of the
fingerprint unless it is declared with `unhashed`. Light: no torch, no cv2.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


def unhashed(default: Any) -> Any:
    """Return a field whose value moves no result (a batch size), hence no fingerprint."""
    return field(default=default, metadata={"fingerprint": False})


def _one_of(what: str, value: str, allowed: tuple[str, ...]) -> None:
    if value not in allowed:
        raise ValueError(f"{what} {value!r}: expected one of {', '.join(allowed)}")


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

    def __post_init__(self) -> None:
        if self.fps <= 0 or self.short_side_px < 1 or not 1 <= self.jpeg_quality <= 100:
            raise ValueError(f"{self}: expected positive sizes and a quality of 1 to 100")


@dataclass(frozen=True, slots=True, kw_only=True)
class AudioConfig:
    """Mono sound at `rate_hz`."""

    rate_hz: int

    def __post_init__(self) -> None:
        if self.rate_hz < 1:
            raise ValueError(f"audio rate_hz {self.rate_hz}: expected a positive rate")


@dataclass(frozen=True, slots=True, kw_only=True)
class StftConfig:
    """Periodic Hann window of `n_fft` samples every `hop_samples`; 'float32' or 'float16' rows."""

    n_fft: int = 1022
    hop_samples: int = 256
    dtype: str = "float32"

    def __post_init__(self) -> None:
        _one_of("stft dtype", self.dtype, ("float32", "float16"))
        if self.n_fft < 2 or self.n_fft % 2 or self.hop_samples < 1:
            raise ValueError(
                f"stft n_fft {self.n_fft}, hop_samples {self.hop_samples}: "
                "expected an even n_fft and a hop of at least 1"
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class VggishConfig:
    """VGGish over the first 0.975 s of each second, or of every 0.96 s.

    `hop`: 'second', each second alone as LLP's and AVE's features, or '0.96', examples that follow
    each other as AudioSet's own code cuts them. `variant`: 'relu' as the published LLP features,
    'linear' before the last ReLU, 'pca' whitened and quantised to 0..255 by the published
    parameters. `weights`: 'random:<seed>', 'AUDIOSET', 'AUDIOSET_TF', or a file as
    `pipeline.weights.resolve_weights` takes it.
    """

    weights: str = "random:0"
    variant: str = "relu"
    hop: str = "second"

    def __post_init__(self) -> None:
        _one_of("vggish hop", self.hop, ("second", "0.96"))
        _one_of("vggish variant", self.variant, ("relu", "linear", "pca"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Resnet152Config:
    """ResNet-152 pooled features of the stored frames.

    `sampling`: 'exact', every frame; 'llp', 80 frames spread over the item; 'sparse', one of
    every 8 frames. `weights`: 'random:<seed>', 'IMAGENET1K_V1', or a file.
    """

    weights: str = "random:0"
    sampling: str = "exact"
    batch_frames: int = unhashed(0)

    def __post_init__(self) -> None:
        _one_of("resnet152 sampling", self.sampling, ("exact", "llp", "sparse"))


@dataclass(frozen=True, slots=True, kw_only=True)
class R2plus1dConfig:
    """R(2+1)D-18 pooled features of the stored frames, one row for eight frames.

    `sampling` as for ResNet-152. `weights`: 'random:<seed>', 'KINETICS400_V1', or a file.
    """

    weights: str = "random:0"
    sampling: str = "exact"
    batch_clips: int = unhashed(0)

    def __post_init__(self) -> None:
        _one_of("r2plus1d sampling", self.sampling, ("exact", "llp"))
