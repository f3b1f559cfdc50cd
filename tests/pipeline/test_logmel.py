from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.io import wavfile

from pipeline import logmel

TOLERANCE = 1e-5


@pytest.fixture(scope="module")
def golden(shared_dir: Path) -> Path:
    return shared_dir / "golden" / "vggish"


@pytest.fixture(scope="module")
def unit(shared_dir: Path):  # type: ignore[no-untyped-def]
    sys.path.insert(0, str(shared_dir / "golden"))
    import golden_fill

    return golden_fill.unit


def contiguous_patches(sound: np.ndarray) -> np.ndarray:
    frames = logmel.log_mel(torch.from_numpy(sound)[None])[0]
    count = logmel.patch_count(len(sound))
    kept = frames[: count * logmel.PATCH_FRAMES]
    return kept.reshape(count, logmel.PATCH_FRAMES, logmel.MEL_BANDS).numpy()


def test_the_filter_bank(golden: Path) -> None:
    expected = np.load(golden / "log_mel.npz")["mel_matrix"]
    np.testing.assert_allclose(logmel.mel_matrix(), expected, atol=1e-7)


def test_a_sine(golden: Path) -> None:
    sine = np.sin(2 * np.pi * 1000 * np.arange(48000) / 16000)
    expected = np.load(golden / "log_mel.npz")["sine_patches"]
    np.testing.assert_allclose(contiguous_patches(sine), expected, atol=TOLERANCE)


def test_noise(golden: Path, unit) -> None:  # type: ignore[no-untyped-def]
    expected = np.load(golden / "log_mel.npz")["noise_patches"]
    noise = 0.3 * unit("vggish:noise", 48000)
    np.testing.assert_allclose(contiguous_patches(noise), expected, atol=TOLERANCE)


def test_one_patch_a_second(golden: Path) -> None:
    sound = np.load(golden / "signals.npz")["ten_int16"]
    expected = np.load(golden / "log_mel.npz")["ten_per_second"]
    patches = logmel.patches_per_second(sound, 10)
    assert patches.shape == (10, 1, 96, 64)
    np.testing.assert_allclose(patches[:, 0].numpy(), expected, atol=TOLERANCE)


def test_patches_that_follow_each_other(golden: Path) -> None:
    sound = np.load(golden / "signals.npz")["ten_int16"]
    arrays = np.load(golden / "log_mel.npz")
    count = logmel.patch_count(len(sound))
    patches = logmel.patches(sound, count, logmel.PATCH_HOP_SAMPLES)[:, 0].numpy()
    np.testing.assert_allclose(patches, arrays["ten_contiguous"], atol=TOLERANCE)
    np.testing.assert_allclose(contiguous_patches(sound / 32768.0), patches, atol=1e-6)
    np.testing.assert_array_equal(patches[0], logmel.patches_per_second(sound, 1)[0, 0])


def test_numbers_of_patches(golden: Path) -> None:
    table = json.loads((golden / "values.json").read_text())["patches_by_samples"]
    assert len(table) > 10
    for row in table:
        expected = row["examples"] if isinstance(row["examples"], int) else 0  # it raises there
        assert logmel.patch_count(row["samples"]) == expected, row


@pytest.mark.parametrize("name", ["sine_patches", "noise_patches", "ten_contiguous"])
def test_published_statistics(golden: Path, unit, name: str) -> None:  # type: ignore[no-untyped-def]
    sounds = {
        "sine_patches": lambda: np.sin(2 * np.pi * 1000 * np.arange(48000) / 16000),
        "noise_patches": lambda: 0.3 * unit("vggish:noise", 48000),
        "ten_contiguous": lambda: np.load(golden / "signals.npz")["ten_int16"] / 32768.0,
    }
    expected = json.loads((golden / "values.json").read_text())[name]
    patches = contiguous_patches(sounds[name]())
    assert list(patches.shape) == expected["shape"]
    for key in ("mean", "std", "min", "max"):
        assert getattr(patches, key)() == pytest.approx(expected[key], abs=TOLERANCE)


def test_an_independent_sine(shared_dir: Path) -> None:
    sine = np.sin(2 * np.pi * 1000 * np.arange(0, 3, 1 / 16000))
    expected = np.load(shared_dir / "data" / "vggish" / "computed_here_sine1k_16k_3s_logmel.npy")
    np.testing.assert_allclose(contiguous_patches(sine), expected, atol=TOLERANCE)


def test_a_recording_at_16_khz(shared_dir: Path) -> None:
    rate_hz, sound = wavfile.read(shared_dir / "media" / "audio" / "torchvggish_test.wav")
    assert (rate_hz, sound.dtype) == (16000, np.int16)
    patches = logmel.patches(sound, logmel.patch_count(len(sound)), logmel.PATCH_HOP_SAMPLES)
    assert patches.shape == (4, 1, 96, 64)
    found = [patches.double().mean(), patches.double().std(correction=0), patches.min()]
    expected = [-2.096800674, 1.860718797, -4.598836058]
    np.testing.assert_allclose(found, expected, atol=TOLERANCE)
    assert patches.max() == pytest.approx(3.089739841, abs=TOLERANCE)


def test_missing_samples_are_silence() -> None:
    sound = np.random.default_rng(0).integers(-9000, 9000, 24000).astype(np.int16)
    patches = logmel.patches_per_second(sound, 3)
    padded = logmel.patches_per_second(np.pad(sound, (0, 24000)), 3)
    torch.testing.assert_close(patches, padded, rtol=0, atol=0)
    torch.testing.assert_close(patches[2], torch.full((1, 96, 64), float(np.log(0.01))))


@pytest.mark.parametrize(
    "samples, frames", [(400, 1), (559, 1), (560, 2), (15600, 96), (16000, 98)]
)
def test_frames_of_a_stretch(samples: int, frames: int) -> None:
    assert logmel.log_mel(torch.zeros(2, samples)).shape == (2, frames, 64)
