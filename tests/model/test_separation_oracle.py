"""Oracle masks on a mix whose sources overlap: their order, their sums, their agreement."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from model.separation.bss import Projector
from model.separation.oracle import oracle_waves
from model.tribert.masks import MASKS
from model.tribert.mixing import mean_mixture
from model.tribert.spectrogram import SpectrogramConfig, stft, warp

SIZES = SpectrogramConfig(frames=64)


def overlapping(seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Two sources whose partials lie close together, and their mixture: waveforms."""
    rng = np.random.default_rng(seed)
    times = np.arange(SIZES.crop_samples) / SIZES.rate_hz
    waves = []
    for pitch in rng.uniform(200, 420, 2):
        partials = sum(
            np.sin(2 * np.pi * k * pitch * times + rng.random()) / k for k in range(1, 9)
        )
        swell = 0.55 + 0.45 * np.sin(2 * np.pi * rng.uniform(1, 4) * times)
        waves.append(0.2 * partials * swell + 0.01 * rng.normal(size=len(times)))
    return mean_mixture(torch.tensor(np.stack(waves), dtype=torch.float32))


@pytest.fixture(scope="module")
def figures() -> dict[str, tuple[float, float, float]]:
    """Mean SDR, SIR and SAR of each target over three mixes."""
    found: dict[str, list[tuple[float, float, float]]] = {name: [] for name in MASKS}
    for seed in range(3):
        sources_NS, mixture_S = overlapping(seed)
        sources_NLT, mixture_LT = stft(sources_NS, SIZES), stft(mixture_S, SIZES)
        waves = [oracle_waves(sources_NLT, mixture_LT, name, SIZES) for name in MASKS]
        kept = waves[0].shape[-1]
        got = Projector(sources_NS[:, :kept].numpy()).figures(np.stack(waves))
        for row, name in enumerate(MASKS):
            found[name].append(
                tuple(
                    float(np.diagonal(values[row]).mean())
                    for values in (got.sdr_RNN, got.sir_RNN, got.sar_RNN)
                )
            )
    return {name: tuple(np.mean(each, axis=0)) for name, each in found.items()}


def test_dominant_masks_are_the_better_binary_ones(figures) -> None:
    assert figures["dominant"][0] > figures["half"][0] > 5


def test_ratio_masks_trade_interference_for_artefacts(figures) -> None:
    assert figures["ratio"][1] < figures["dominant"][1] - 1
    assert figures["ratio"][2] > figures["half"][2]


def test_dominant_masks_add_up_to_one_and_half_masks_need_not() -> None:
    sources_NS, mixture_S = overlapping(0)
    sources_NQT = warp(stft(sources_NS, SIZES).abs(), SIZES.rows)
    mixture_QT = warp(stft(mixture_S, SIZES).abs(), SIZES.rows)
    assert bool((MASKS["dominant"](sources_NQT, mixture_QT).sum(0) == 1).all())
    assert {0.0, 1.0, 2.0} >= set(MASKS["half"](sources_NQT, mixture_QT).sum(0).unique().tolist())
    assert bool((MASKS["half"](sources_NQT, mixture_QT).sum(0) == 2).any())


def test_an_unknown_target_is_refused() -> None:
    sources_NS, mixture_S = overlapping(0)
    with pytest.raises(KeyError, match="loudest"):
        oracle_waves(stft(sources_NS, SIZES), stft(mixture_S, SIZES), "loudest", SIZES)
