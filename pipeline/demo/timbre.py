"""Notes in, a waveform out: additive synthesis with a harmonic series and an envelope for each
instrument, and noise bursts for drums. The timbres are cartoons, made to differ clearly.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import signal

from pipeline.demo.score import HAT, KICK, SNARE, Note, Score

RATE_HZ = 22050
LOUDNESS_RMS = 0.08
"""Every clip's sound is brought to this level, so that mixtures are even."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Timbre:
    """How one instrument sounds.

    `partials` are (frequency ratio, amplitude); `decay_s` is None for a sustained sound, else the
    time in which the first partial falls to 1/e, higher ones sooner; `breath` is the level of noise
    around the tone; vibrato depth is relative to the frequency.
    """

    lowest: int
    highest: int
    beat_s: tuple[float, float]
    partials: tuple[tuple[float, float], ...] = ()
    attack_s: float = 0.005
    decay_s: float | None = None
    vibrato_hz: float = 0.0
    vibrato_depth: float = 0.0
    breath: float = 0.0


TIMBRES = {
    "tuba": Timbre(
        lowest=29,
        highest=43,
        beat_s=(0.5, 0.8),
        partials=((1, 0.8), (2, 1.0), (3, 0.7), (4, 0.35), (5, 0.15)),
        attack_s=0.06,
    ),
    "acoustic_guitar": Timbre(
        lowest=50,
        highest=66,
        beat_s=(0.35, 0.6),
        partials=tuple((k, (1.0, 0.7, 0.2, 0.5, 0.3, 0.15)[k - 1]) for k in range(1, 7)),
        attack_s=0.003,
        decay_s=0.5,
    ),
    "violin": Timbre(
        lowest=67,
        highest=82,
        beat_s=(0.4, 0.75),
        partials=tuple((k, 1 / k**0.7) for k in range(1, 11)),
        attack_s=0.08,
        vibrato_hz=5.5,
        vibrato_depth=0.008,
        breath=0.01,
    ),
    "flute": Timbre(
        lowest=79,
        highest=94,
        beat_s=(0.3, 0.6),
        partials=((1, 1.0), (2, 0.12), (3, 0.03)),
        attack_s=0.05,
        vibrato_hz=4.5,
        vibrato_depth=0.003,
        breath=0.05,
    ),
    "xylophone": Timbre(
        lowest=89,
        highest=104,
        beat_s=(0.3, 0.5),
        partials=((1, 1.0), (3.0, 0.35), (6.3, 0.1)),
        attack_s=0.002,
        decay_s=0.16,
    ),
    "drum": Timbre(lowest=KICK, highest=HAT, beat_s=(0.4, 0.6)),
}


def perform(
    instrument: str, score: Score, *, duration_s: float, rng: np.random.Generator
) -> np.ndarray:
    """Return the sound of `score`, float32 mono in [-1, 1] at `RATE_HZ`.

    Parameters
    ----------
    instrument
        A key of `TIMBRES`.
    duration_s
        The length of the result; what rings longer is cut.

    Returns
    -------
    (round(duration_s * RATE_HZ),) samples with an RMS of `LOUDNESS_RMS`.
    """
    sound = np.zeros(round(duration_s * RATE_HZ))
    for note in score:
        tone = _drum(note, rng) if instrument == "drum" else _tone(note, TIMBRES[instrument], rng)
        start = round(note.onset_s * RATE_HZ)
        tone = tone[: len(sound) - start]
        sound[start : start + len(tone)] += note.strength * tone
    return level(sound)


def level(sound: np.ndarray) -> np.ndarray:
    """Return `sound` at the common loudness, float32, with rare peaks limited to 0.95."""
    rms = float(np.sqrt(np.mean(sound**2)))
    return np.clip(sound * (LOUDNESS_RMS / max(rms, 1e-9)), -0.95, 0.95).astype(np.float32)


def _tone(note: Note, timbre: Timbre, rng: np.random.Generator) -> np.ndarray:
    release_s = 0.05
    length_s = note.duration_s + release_s
    if timbre.decay_s is not None:
        length_s = max(length_s, 3 * timbre.decay_s)
    time_s = np.arange(round(length_s * RATE_HZ)) / RATE_HZ
    frequency_hz = 440.0 * 2 ** ((note.pitch - 69) / 12)
    swing = timbre.vibrato_depth * np.sin(2 * np.pi * timbre.vibrato_hz * time_s)
    cycles = np.cumsum(frequency_hz * (1 + swing * np.minimum(1, time_s / 0.2))) / RATE_HZ
    tone = np.zeros_like(time_s)
    for ratio, amplitude in timbre.partials:
        if frequency_hz * ratio < 0.45 * RATE_HZ:
            wave = amplitude * np.sin(2 * np.pi * (ratio * cycles + rng.random()))
            if timbre.decay_s is not None:
                wave *= np.exp(-time_s * (0.6 + 0.4 * ratio) / timbre.decay_s)
            tone += wave
    if timbre.breath:
        tone += timbre.breath * rng.standard_normal(len(time_s))
    tone *= np.minimum(1, time_s / timbre.attack_s)
    if timbre.decay_s is None:
        tone *= np.clip((length_s - time_s) / release_s, 0, 1)
    return tone


def _drum(note: Note, rng: np.random.Generator) -> np.ndarray:
    time_s = np.arange(round(0.3 * RATE_HZ)) / RATE_HZ
    if note.pitch == KICK:
        cycles = np.cumsum(55 + 110 * np.exp(-time_s / 0.03)) / RATE_HZ
        return 1.6 * np.sin(2 * np.pi * cycles) * np.exp(-time_s / 0.08)
    low_hz, high_hz, decay_s, gain = {
        SNARE: (1200.0, 5000.0, 0.07, 1.3),
        HAT: (4000.0, 9000.0, 0.03, 1.2),
    }[note.pitch]
    return gain * band_noise(rng, len(time_s), low_hz, high_hz) * np.exp(-time_s / decay_s)


def band_noise(rng: np.random.Generator, samples: int, low_hz: float, high_hz: float) -> np.ndarray:
    """Return `samples` of noise between two frequencies, RMS about 1, float64."""
    sos = signal.butter(2, [low_hz, high_hz], "bandpass", fs=RATE_HZ, output="sos")
    noise = signal.sosfilt(sos, rng.standard_normal(samples))
    return noise / max(float(np.sqrt(np.mean(noise**2))), 1e-9)
