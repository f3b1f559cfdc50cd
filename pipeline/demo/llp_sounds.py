"""A class and a length in, its sound out: cartoons of barks and engines that differ clearly."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from scipy import signal

from pipeline.demo.score import Note
from pipeline.demo.timbre import RATE_HZ, band_noise, level, perform

Sound = np.ndarray


def _time_s(length_s: float) -> np.ndarray:
    return np.arange(round(length_s * RATE_HZ)) / RATE_HZ


def _repeat(length_s: float, hit: Callable[[], Sound], gap_s: Callable[[], float]) -> Sound:
    """Return `hit` again and again, `gap_s` apart from onset to onset."""
    sound = np.zeros(round(length_s * RATE_HZ))
    now_s = 0.03
    while now_s < length_s:
        start = round(now_s * RATE_HZ)
        one = hit()[: len(sound) - start]
        sound[start : start + len(one)] += one
        now_s += gap_s()
    return sound


def dog(length_s: float, rng: np.random.Generator) -> Sound:
    """Return barks: short falling harmonic bursts with some noise."""
    base_hz = rng.uniform(380, 520)

    def bark() -> Sound:
        time_s = _time_s(0.2)
        cycles = np.cumsum(base_hz * (1.25 - 2.2 * time_s)) / RATE_HZ
        tone = sum(np.sin(2 * np.pi * k * cycles) / k**0.5 for k in range(1, 6))
        rough = tone + 0.8 * band_noise(rng, len(time_s), 500, 3000)
        return rough * np.minimum(1, time_s / 0.01) * np.exp(-time_s / 0.08)

    return _repeat(length_s, bark, lambda: float(rng.uniform(0.32, 0.5)))


def car(length_s: float, rng: np.random.Generator) -> Sound:
    """Return an engine: a low buzz over a rumble."""
    time_s = _time_s(length_s)
    speed = 1 + 0.15 * np.sin(2 * np.pi * rng.uniform(0.1, 0.3) * time_s + rng.uniform(0, 6))
    cycles = np.cumsum(rng.uniform(48, 66) * speed) / RATE_HZ
    buzz = signal.sawtooth(2 * np.pi * cycles)
    low = signal.sosfilt(signal.butter(2, 450, fs=RATE_HZ, output="sos"), buzz)
    return low + 0.4 * band_noise(rng, len(time_s), 60, 500)


def fire_alarm(length_s: float, rng: np.random.Generator) -> Sound:
    """Return shrill beeps of two tones."""
    time_s = _time_s(length_s)
    high_hz = rng.uniform(2900, 3300)
    beat = (time_s * 4) % 1 < 0.65
    tone_hz = np.where((time_s * 2) % 1 < 0.5, high_hz, 0.85 * high_hz)
    return beat * signal.square(2 * np.pi * np.cumsum(tone_hz) / RATE_HZ)


def basketball(length_s: float, rng: np.random.Generator) -> Sound:
    """Return thumps: a low falling tone and a slap, evenly spaced."""
    gap_s = rng.uniform(0.4, 0.5)

    def thump() -> Sound:
        time_s = _time_s(0.22)
        cycles = np.cumsum(85 + 120 * np.exp(-time_s / 0.02)) / RATE_HZ
        slap = band_noise(rng, len(time_s), 900, 2500) * np.exp(-time_s / 0.012)
        return 1.5 * np.sin(2 * np.pi * cycles) * np.exp(-time_s / 0.06) + slap

    return _repeat(length_s, thump, lambda: float(gap_s))


def vacuum_cleaner(length_s: float, rng: np.random.Generator) -> Sound:
    """Return broad noise with a whine."""
    time_s = _time_s(length_s)
    whine_hz = rng.uniform(650, 800)
    whine = sum(np.sin(2 * np.pi * k * whine_hz * time_s) / k for k in (1, 2, 3))
    return band_noise(rng, len(time_s), 700, 8000) + 0.4 * whine


def violin_fiddle(length_s: float, rng: np.random.Generator) -> Sound:
    """Return bowed notes without rests."""
    count = max(1, round(length_s / 0.35))
    step_s = length_s / count
    score = tuple(
        Note(
            onset_s=k * step_s,
            duration_s=step_s,
            pitch=int(rng.choice([67, 69, 71, 74, 76, 79])),
            strength=1.0,
            height=0.5,
        )
        for k in range(count)
    )
    return perform("violin", score, duration_s=length_s, rng=rng)


SOUNDS: dict[str, Callable[[float, np.random.Generator], Sound]] = {
    "Dog": dog,
    "Car": car,
    "Fire_alarm": fire_alarm,
    "Basketball_bounce": basketball,
    "Vacuum_cleaner": vacuum_cleaner,
    "Violin_fiddle": violin_fiddle,
}


def event_sound(label: str, length_s: float, rng: np.random.Generator) -> Sound:
    """Return the sound of a class for `length_s`, at the common loudness within 3 dB, with
    edges of 20 ms; float32 mono at `RATE_HZ`."""
    sound = level(SOUNDS[label](length_s, rng)) * 10 ** (rng.uniform(-3, 3) / 20)
    edge = min(round(0.02 * RATE_HZ), len(sound) // 2)
    ramp = np.linspace(0, 1, edge)
    sound[:edge] *= ramp
    sound[-edge:] *= ramp[::-1]
    return sound


def room_sound(length_s: float, rng: np.random.Generator) -> Sound:
    """Return what is heard all the time: faint noise of a random colour and a few clicks."""
    samples = round(length_s * RATE_HZ)
    low_hz = rng.uniform(60, 1500)
    noise = band_noise(rng, samples, low_hz, low_hz * rng.uniform(3, 6))
    clicks = np.zeros(samples)
    for start in rng.integers(0, samples - 400, 6):
        clicks[start : start + 400] += band_noise(rng, 400, 300, 4000) * np.hanning(400)
    return level(noise) * 10 ** (rng.uniform(-26, -20) / 20) + 0.02 * clicks
