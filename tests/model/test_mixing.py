"""Mixtures are means."""

from __future__ import annotations

import torch

from model.tribert.mixing import mean_mixture
from model.tribert.spectrogram import SpectrogramConfig, stft


def test_sources_are_divided_before_they_are_added() -> None:
    waves = torch.tensor([[1.0, 0.5], [-0.5, 0.5]])
    sources, mixture = mean_mixture(waves)
    assert sources.tolist() == [[0.5, 0.25], [-0.25, 0.25]]
    assert mixture.tolist() == [0.25, 0.5]


def test_mixing_spectra_equals_mixing_sound() -> None:
    config = SpectrogramConfig(frames=16)
    waves = torch.randn(2, config.crop_samples, generator=torch.Generator().manual_seed(1))
    _, mixture = mean_mixture(stft(waves, config))
    torch.testing.assert_close(mixture, stft(mean_mixture(waves)[1], config), atol=1e-4, rtol=0)
