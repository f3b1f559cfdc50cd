"""Fixed made-up pictures, clips and sounds for networks that are filled from a seed: sizes flow in,
arrays flow out, the same on every machine.

They have what photographs and recordings have and white noise lacks: energy that falls with
frequency, edges at several scales, colours that go together, harmonic sounds that begin and decay.
Shapes: N examples, F frames, H height, W width, S samples.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

_SEED = 20210830
_RATE_HZ = 16000
_TOP_HZ = 7800.0


def pictures(count: int, size_px: int, frames: int = 1) -> np.ndarray:
    """Return clips of moving shapes on cloudy ground, (N, F, H, W, 3) float32 in [0, 1]."""
    rng = np.random.default_rng([_SEED, count, size_px, frames])
    clips_NFHW3 = np.empty((count, frames, size_px, size_px, 3), np.float32)
    for clip_FHW3 in clips_NFHW3:
        ground_HW3 = _clouds(rng, size_px)
        shapes = [_Shape.draw(rng, size_px) for _ in range(rng.integers(2, 7))]
        for frame, picture_HW3 in enumerate(clip_FHW3):
            picture_HW3[:] = ground_HW3
            for shape in shapes:
                picture_HW3[shape.covers(frame, size_px)] = shape.colour
    return np.clip(clips_NFHW3, 0.0, 1.0)


def sounds(count: int) -> np.ndarray:
    """Return seconds of mixed tones and noises at 16 kHz, (N, S) int16."""
    rng = np.random.default_rng([_SEED, count])
    seconds_NS = np.stack([_second(rng) for _ in range(count)])
    return np.rint(np.clip(seconds_NS, -1.0, 1.0) * 32767).astype(np.int16)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Shape:
    """An ellipse (0), a box (1) or a ring (2) that moves; lengths in pixels."""

    kind: int
    centre: np.ndarray
    step: np.ndarray
    radii: np.ndarray
    angle: float
    colour: np.ndarray

    @classmethod
    def draw(cls, rng: np.random.Generator, size_px: int) -> _Shape:
        radius = rng.uniform(0.03, 0.25) * size_px
        return cls(
            kind=int(rng.integers(3)),
            centre=rng.uniform(0, size_px, 2),
            step=rng.normal(0, 0.015 * size_px, 2),
            radii=np.array([radius, radius * rng.uniform(0.3, 1.0)]),
            angle=float(rng.uniform(0, np.pi)),
            colour=rng.uniform(0, 1, 3).astype(np.float32),
        )

    def covers(self, frame: int, size_px: int) -> np.ndarray:
        """Return where the shape lies in a frame, (H, W) bool."""
        centre = self.centre + frame * self.step
        y, x = np.mgrid[:size_px, :size_px]
        x, y = x - centre[0], y - centre[1]
        cos, sin = np.cos(self.angle), np.sin(self.angle)
        along = (x * cos + y * sin) / self.radii[0]
        across = (y * cos - x * sin) / self.radii[1]
        if self.kind == 1:
            return np.maximum(abs(along), abs(across)) < 1
        distance = along**2 + across**2
        return distance < 1 if self.kind == 0 else abs(distance - 0.6) < 0.3


def _clouds(rng: np.random.Generator, size_px: int) -> np.ndarray:
    """Return a picture whose amplitude falls as a power of frequency, (H, W, 3)."""
    frequency = np.hypot(np.fft.fftfreq(size_px)[:, None], np.fft.fftfreq(size_px)[None])
    frequency[0, 0] = 1.0
    spectrum = np.fft.fft2(rng.standard_normal((3, size_px, size_px)))
    planes = np.fft.ifft2(spectrum / frequency ** rng.uniform(0.8, 1.8)).real
    # One strong axis of colour and two weak ones, in a direction of the picture's own.
    axes = np.linalg.qr(rng.standard_normal((3, 3)))[0] * np.array([1.0, 0.4, 0.3])
    picture = np.tensordot(planes, axes, axes=(0, 1))
    contrast = rng.uniform(0.08, 0.25)
    return (0.5 + picture / picture.std() * contrast + rng.normal(0, 0.12, 3)).astype(np.float32)


def _second(rng: np.random.Generator) -> np.ndarray:
    """Return one to three tones or noises over a faint hiss, (S,) float64."""
    time_s = np.arange(_RATE_HZ) / _RATE_HZ
    mixture = np.zeros(_RATE_HZ)
    for _ in range(rng.integers(1, 4)):
        pitch_hz = 2.0 ** rng.uniform(np.log2(50), np.log2(3000))
        noisy = rng.random() < 1 / 3
        voice = _noise(rng, pitch_hz) if noisy else _tone(rng, pitch_hz, time_s)
        onset_s = rng.uniform(0, 0.7) if rng.random() < 0.5 else 0.0
        since_s = np.maximum(time_s - onset_s, 0)
        voice = voice * (time_s >= onset_s) * np.exp(-since_s / 10 ** rng.uniform(-1.3, 1.0))
        mixture += voice / (voice.std() + 1e-6) * 10 ** rng.uniform(-1.5, 0)
    loudness, hiss = 10 ** rng.uniform(-2, -0.7), 10 ** rng.uniform(-4, -2.3)
    return mixture / (mixture.std() + 1e-6) * loudness + hiss * rng.standard_normal(_RATE_HZ)


def _tone(rng: np.random.Generator, pitch_hz: float, time_s: np.ndarray) -> np.ndarray:
    harmonics = np.arange(1, max(1, min(int(rng.integers(1, 20)), int(_TOP_HZ // pitch_hz))) + 1)
    amplitudes = harmonics ** -rng.uniform(0, 2) * rng.uniform(0.2, 1, len(harmonics))
    phases = rng.uniform(0, 2 * np.pi, len(harmonics))
    cycles = 2 * np.pi * pitch_hz * harmonics[:, None] * time_s + phases[:, None]
    return amplitudes @ np.sin(cycles)


def _noise(rng: np.random.Generator, centre_hz: float) -> np.ndarray:
    spectrum = np.fft.rfft(rng.standard_normal(_RATE_HZ))
    octaves = np.log2((np.fft.rfftfreq(_RATE_HZ, 1 / _RATE_HZ) + 1) / centre_hz)
    return np.fft.irfft(spectrum * np.exp(-((octaves / rng.uniform(0.3, 2)) ** 2)))
