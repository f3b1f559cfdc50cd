from __future__ import annotations

from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.extractors import stft
from pipeline.failures import ItemFailure
from pipeline.stages import StftConfig
from storage.records import TimeBase


class FakeInputs:
    """Sound in memory in the place of an upstream stage."""

    def __init__(self, pcm: np.ndarray) -> None:
        self.pcm = pcm
        self.largest_read = 0

    def length(self, stage: str) -> int:
        return len(self.pcm)

    def time_base(self, stage: str) -> TimeBase:
        return TimeBase(0.0, 1 / 11025)

    def rows(self, stage: str, array: str, start: int, stop: int) -> np.ndarray:
        assert 0 <= start < stop <= len(self.pcm)
        self.largest_read = max(self.largest_read, stop - start)
        return self.pcm[start:stop]


def extract(pcm: np.ndarray, config: StftConfig | None = None) -> np.ndarray:
    extractor = stft.build(SimpleNamespace(config=config or StftConfig()))
    blocks: Iterator[Any] = extractor.extract(FakeInputs(pcm))
    return np.concatenate([block["stft"] for block in blocks])


def reference(pcm: np.ndarray, config: StftConfig | None = None) -> np.ndarray:
    config = config or StftConfig()
    spectra = torch.stft(
        torch.from_numpy(pcm.astype(np.float32) / 32768),
        config.n_fft,
        config.hop_samples,
        window=torch.hann_window(config.n_fft),
        center=True,
        pad_mode="reflect",
        return_complex=True,
    )
    return torch.view_as_real(spectra).transpose(0, 1).numpy()


def noise(count: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(-32768, 32768, count).astype(np.int16)


@settings(max_examples=25, deadline=None)
@given(
    count=st.integers(512, 6000),
    hop=st.sampled_from([64, 128, 256, 300, 512]),
    seed=st.integers(0, 1000),
)
def test_equals_torch_on_the_whole_signal(count: int, hop: int, seed: int) -> None:
    config = StftConfig(hop_samples=hop)
    got, expected = extract(noise(count, seed), config), reference(noise(count, seed), config)
    assert got.shape == expected.shape
    np.testing.assert_allclose(got, expected, atol=1e-4, rtol=1e-5)


def test_equals_torch_across_blocks_and_at_both_ends() -> None:
    pcm = (noise(256 * 700 + 131) // 30).astype(np.int16)
    got, expected = extract(pcm), reference(pcm)
    assert got.shape == (1 + len(pcm) // 256, 512, 2)
    np.testing.assert_allclose(got, expected, atol=1e-5)


def test_reads_are_bounded() -> None:
    inputs = FakeInputs(noise(11025 * 60))
    for _ in stft.build(SimpleNamespace(config=StftConfig())).extract(inputs):
        pass
    assert inputs.largest_read <= 256 * stft.BLOCK_FRAMES + 1022


def test_times_are_those_of_the_centres() -> None:
    extractor = stft.build(SimpleNamespace(config=StftConfig()))
    assert extractor.time_base(FakeInputs(noise(1))) == TimeBase(0.0, 256 / 11025)
    assert extractor.schema.anchor == "centre"
    click = np.zeros(11025, np.int16)
    click[round(0.5 * 11025)] = 20000
    energy = (extract(click) ** 2).sum((1, 2))
    assert energy.argmax() * 256 / 11025 == pytest.approx(0.5, abs=128 / 11025)


def test_half_precision_is_an_option() -> None:
    got = extract(noise(4000), StftConfig(dtype="float16"))
    assert got.dtype == np.float16
    np.testing.assert_allclose(got, reference(noise(4000)), rtol=2e-3, atol=0.05)


def test_less_than_half_a_window_is_too_short() -> None:
    with pytest.raises(ItemFailure, match="too_short: 511 samples"):
        extract(noise(511))


def test_golden_magnitudes(shared_dir: Any) -> None:
    folder = shared_dir / "golden" / "spectrogram"
    signals = np.load(folder / "signals.npz")
    golden = np.load(folder / "stft_reflect.npz")
    mixture = (signals["s1"] + signals["s2"]) / 2
    scale = 32767 / max(1.0, np.abs(mixture).max())
    spectra = extract(np.round(mixture * scale).astype(np.int16)) * (32768 / scale)
    magnitude = np.hypot(spectra[..., 0], spectra[..., 1]).T
    assert magnitude.shape == golden["mix_mag"].shape == (512, 256)
    # 16 bits leave noise of 1 / 32768 / sqrt(12) a sample, over a window of energy 383
    np.testing.assert_allclose(magnitude, golden["mix_mag"], atol=1.5e-3)
