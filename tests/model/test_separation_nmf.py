"""Factorised spectra on a mix that it should be able to take apart, and on silence."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.signal import square

from model.separation.nmf import factorise, grouped, nmf_masks, oracle_groups, timbre
from model.separation.scoring import Estimate, judge
from model.tribert.mixing import mean_mixture
from model.tribert.spectrogram import SpectrogramConfig, istft, stft

SIZES = SpectrogramConfig()


@pytest.fixture(scope="module")
def mix() -> tuple[np.ndarray, np.ndarray]:
    """A trembling square wave and bursts of two high tones, and their mixture: spectra.

    Bursts are switched on and off. Tones that ring out are harder: 7 to 14 dB over seeds.
    """
    times = np.arange(SIZES.crop_samples) / SIZES.rate_hz
    drone = square(2 * np.pi * 220 * times) * (0.7 + 0.3 * np.sin(2 * np.pi * 0.7 * times))
    bursts = (3 * times) % 1 < 0.3
    chime = bursts * (np.sin(2 * np.pi * 1500 * times) + np.sin(2 * np.pi * 3100 * times))
    waves = torch.tensor(np.stack([0.2 * drone, 0.3 * chime]), dtype=torch.float32)
    sources, mixture = mean_mixture(waves)
    return stft(sources, SIZES).numpy(), stft(mixture, SIZES).numpy()


def scored(sources_NLT, mixture_LT, masks_NLT, permutation="best"):
    def waves(spectra):
        return istft(torch.from_numpy(spectra), SIZES).numpy()

    estimate = Estimate(waves_NS=waves(mixture_LT * masks_NLT), permutation=permutation)
    found = judge(("a", "b"), waves(sources_NLT), waves(mixture_LT), {"nmf": estimate})
    return found.rows["nmf"].scores


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_two_timbres_are_taken_apart(mix, seed: int) -> None:
    sources_NLT, mixture_LT = mix
    masks_NLT, factors = nmf_masks(mixture_LT, 2, SIZES, seed=seed)
    np.testing.assert_allclose(masks_NLT.sum(axis=0), 1.0, atol=1e-6)
    assert min(scored(sources_NLT, mixture_LT, masks_NLT).sdr) > 10
    oracle = factors.masks(oracle_groups(factors, sources_NLT), 2)
    assert min(scored(sources_NLT, mixture_LT, oracle, "named").sdr) > 10


def test_a_seed_gives_the_same_again(mix) -> None:
    first, _ = nmf_masks(mix[1][:, :40], 2, SIZES, seed=4)
    again, _ = nmf_masks(mix[1][:, :40], 2, SIZES, seed=4)
    assert np.array_equal(first, again)
    assert not np.array_equal(first, nmf_masks(mix[1][:, :40], 2, SIZES, seed=5)[0])


def test_silence_is_shared_out(caplog) -> None:
    masks_NLT, factors = nmf_masks(np.zeros((512, 20), np.complex64), 2, SIZES, seed=0)
    assert np.isfinite(masks_NLT).all()
    np.testing.assert_allclose(masks_NLT.sum(axis=0), 1.0, atol=1e-6)
    with caplog.at_level("INFO"):
        equal = factors.masks(np.zeros(25, dtype=np.int64), 3)
    assert np.array_equal(equal, np.full((3, 512, 20), 1 / 3, np.float32))
    assert "without a component" in caplog.text


def test_factors_approach_the_magnitudes(mix) -> None:
    magnitude_LT = np.abs(mix[1])
    factors = factorise(magnitude_LT, seed=0, components=8)
    np.testing.assert_allclose(factors.spectra_LR.sum(axis=0), 1.0, atol=1e-4)
    rest = np.abs(factors.spectra_LR @ factors.activations_RT - magnitude_LT).sum()
    assert rest < 0.2 * magnitude_LT.sum()


def test_timbre_does_not_hear_loudness() -> None:
    rng = np.random.default_rng(0)
    spectra = rng.random((512, 6)) + 0.1
    louder = spectra * 7.0
    np.testing.assert_allclose(timbre(louder, 11025), timbre(spectra, 11025), atol=1e-6)
    assert timbre(spectra, 11025).shape == (6, 12)


def test_equal_components_are_one_group() -> None:
    assert not grouped(np.zeros((5, 12)), 2, seed=0).any()
    two = np.repeat([[0.0], [9.0]], 4, axis=0) + np.linspace(0, 0.1, 8)[:, None]
    found = grouped(two, 2, seed=0)
    assert len(set(found[:4])) == len(set(found[4:])) == 1
    assert found[0] != found[-1]
