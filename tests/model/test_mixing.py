"""Mixtures are means; lists of pairs depend on a seed only."""

from __future__ import annotations

import json
from itertools import combinations
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from model.tribert.errors import SeparationError
from model.tribert.mixing import (
    disjoint_pairs,
    disjoint_partners,
    mean_mixture,
    official_pairs,
)
from model.tribert.spectrogram import SpectrogramConfig, stft

PAIRS = Path(__file__).parents[2].parent / "shared" / "golden" / "tribert" / "test_pairs.json"
LABELS = st.lists(st.frozensets(st.sampled_from("abcd"), min_size=1, max_size=2), max_size=8)


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


def test_official_pairs_of_the_paper() -> None:
    assert official_pairs(211)[:8] == [
        (0, 98), (1, 34), (2, 14), (3, 60), (4, 60), (5, 159), (6, 203), (7, 82),
    ]  # fmt: skip


def test_official_pairs_equal_the_whole_published_list() -> None:
    if not PAIRS.exists():
        pytest.skip(f"no golden numbers at {PAIRS}")
    expected = json.loads(PAIRS.read_text())["pairs"]
    assert official_pairs(len(expected)) == [tuple(pair) for pair in expected]


@given(LABELS)
def test_partners_share_no_label(labels: list[frozenset[str]]) -> None:
    for own, partners in zip(labels, disjoint_partners(labels), strict=True):
        expected = [i for i, other in enumerate(labels) if not own & other]
        assert partners.tolist() == expected


@given(labels=LABELS, count=st.integers(1, 12), seed=st.integers(0, 3))
@settings(deadline=None)
def test_pairs_are_fixed_disjoint_and_distinct(
    labels: list[frozenset[str]], count: int, seed: int
) -> None:
    possible = sum(not a & b for a, b in combinations(labels, 2))
    if not possible:
        with pytest.raises(SeparationError, match="no two without a common label"):
            disjoint_pairs(labels, count, seed=seed)
        return
    pairs = disjoint_pairs(labels, count, seed=seed)
    assert pairs == disjoint_pairs(labels, count, seed=seed)
    assert len({frozenset(pair) for pair in pairs}) == len(pairs) == min(count, possible)
    assert all(not labels[a] & labels[b] for a, b in pairs)
