"""Target masks, the weight of the loss, and how a mask is applied."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from model.tribert.masks import (
    MASKS,
    applied_mask,
    dominant_masks,
    half_masks,
    loss_weight,
    ratio_masks,
)


def random_mix(seed: int, sources: int = 2) -> tuple[torch.Tensor, torch.Tensor]:
    """Magnitudes of sources and of their sum, with random phases."""
    generator = torch.Generator().manual_seed(seed)
    spectra = torch.randn(sources, 6, 5, generator=generator, dtype=torch.complex64)
    return spectra.abs(), spectra.sum(0).abs()


def test_half_mask_compares_with_half_the_mixture() -> None:
    sources = torch.tensor([[[0.6, 0.5, 0.1]], [[0.4, 0.5, 0.1]]])
    mixture = torch.tensor([[1.0, 0.9, 2.0]])
    assert half_masks(sources, mixture).tolist() == [[[1, 1, 0]], [[0, 1, 0]]]


def test_dominant_mask_is_the_loudest_source() -> None:
    sources = torch.tensor([[[0.6, 0.5]], [[0.4, 0.7]]])
    assert dominant_masks(sources, sources.sum(0)).tolist() == [[[1, 0]], [[0, 1]]]


@given(st.integers(0, 10_000), st.integers(2, 4))
@settings(deadline=None)
def test_masks_lie_between_zero_and_one(seed: int, count: int) -> None:
    sources, mixture = random_mix(seed, count)
    for name, make in MASKS.items():
        masks = make(sources, mixture)
        assert masks.shape == sources.shape, name
        assert masks.min() >= 0, name
        assert masks.max() <= 1, name


@given(st.integers(0, 10_000), st.integers(2, 4))
@settings(deadline=None)
def test_dominant_and_ratio_masks_add_up_to_one(seed: int, count: int) -> None:
    sources, mixture = random_mix(seed, count)
    one = torch.ones_like(mixture)
    torch.testing.assert_close(dominant_masks(sources, mixture).sum(0), one)
    torch.testing.assert_close(ratio_masks(sources, mixture).sum(0), one)


def test_silence_has_finite_masks() -> None:
    silence = torch.zeros(2, 3, 3)
    for make in MASKS.values():
        assert torch.isfinite(make(silence, silence[0])).all()


def test_batched_masks_equal_single_ones() -> None:
    mixes = [random_mix(seed) for seed in range(3)]
    sources = torch.stack([each for each, _ in mixes])
    mixture = torch.stack([mix for _, mix in mixes])
    for make in MASKS.values():
        torch.testing.assert_close(make(sources, mixture)[1], make(*mixes[1]))


def test_weight_is_clamped() -> None:
    weight = loss_weight(torch.tensor([0.0, 1.0, 1e9]))
    torch.testing.assert_close(weight, torch.tensor([1e-3, 0.6931472, 10.0]))


def test_application() -> None:
    mask = torch.tensor([0.5, 0.51, 0.2])
    assert applied_mask(mask, "threshold").tolist() == [0, 1, 0]
    assert applied_mask(mask, "soft") is mask
    with pytest.raises(ValueError, match="'round': expected 'threshold' or 'soft'"):
        applied_mask(mask, "round")
