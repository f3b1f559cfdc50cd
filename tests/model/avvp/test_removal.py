"""The rules that remove labels, on batches made by hand and on drawn ones."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from model.avvp.removal import (
    AUDIO,
    VISUAL,
    bag_losses,
    batch_flags,
    contrasted_rates,
    one_kept,
    partners,
    rank_flags,
    ratio_rates,
    swap_flags,
)


def drawn(seed: int, clips: int = 40, classes: int = 4) -> tuple[torch.Tensor, torch.Tensor]:
    """Probabilities (N, M, C) and tags (N, C); class 0 is in every clip, class 3 in none."""
    torch.manual_seed(seed)
    tags = (torch.rand(clips, classes) < 0.4).double()
    tags[:, 0], tags[:, -1] = 1, 0
    return torch.rand(clips, 2, classes, dtype=torch.float64), tags


SIX = torch.tensor(
    [[6.0, 1.0], [5.0, 2.0], [4.0, 3.0], [3.0, 4.0], [2.0, 5.0], [1.0, 6.0], [9.0, 0.0]]
)[:, :, None]
"""Losses of seven clips, (7, 2, 1); the last does not have the tag."""
TAGGED = torch.tensor([1.0, 1, 1, 1, 1, 1, 0])[:, None]


@pytest.mark.parametrize(
    "audio, visual, not_heard, not_seen",
    [
        (0.0, 0.0, [], []),
        (0.34, 0.0, [0, 1], []),
        (0.0, 0.5, [], [3, 4, 5]),
        (0.16, 0.33, [], [5]),
        (1.0, 1.0, [0, 1, 2, 3, 4, 5], [0, 1, 2, 3, 4, 5]),
    ],
)
def test_jomold_in_a_batch_of_six(audio, visual, not_heard, not_seen) -> None:
    """0.34 of six are two; 0.16 of them none. A rate of 1 takes the label from both modalities."""
    rates = torch.tensor([[audio], [visual]])
    flags = batch_flags(SIX, TAGGED, rates)[:, :, 0]
    assert torch.nonzero(flags[:, AUDIO])[:, 0].tolist() == not_heard
    assert torch.nonzero(flags[:, VISUAL])[:, 0].tolist() == not_seen


def test_a_clip_that_is_hard_for_both_keeps_its_label() -> None:
    loss = torch.tensor([[9.0, 9.0], [1.0, 1.0], [2.0, 0.5], [3.0, 2.0]])[:, :, None]
    flags = batch_flags(loss, torch.ones(4, 1), torch.tensor([[0.5], [0.0]]))
    assert torch.nonzero(flags)[:, :2].tolist() == []
    flags = batch_flags(loss, torch.ones(4, 1), torch.tensor([[0.75], [0.0]]))
    assert torch.nonzero(flags)[:, :2].tolist() == [[2, AUDIO], [3, AUDIO]]


def test_ranks_over_all_clips_have_a_cap_and_keep_one_modality() -> None:
    flags = rank_flags(SIX, TAGGED, torch.tensor([[1.0], [1.0]]))[:, :, 0]
    assert not bool(flags.all(1).any())
    assert flags[:, AUDIO].tolist() == [True, True, True, False, False, False, False]
    assert flags[:, VISUAL].tolist() == [False, False, False, True, True, True, False]
    easy = torch.tensor([[0.17], [0.66]])
    assert rank_flags(SIX, TAGGED, easy)[:, VISUAL, 0].tolist() == [False] * 2 + [True] * 4 + [
        False
    ]
    few = rank_flags(SIX, TAGGED, torch.tensor([[0.0], [0.17]]))[:, :, 0]
    assert torch.nonzero(few).tolist() == [[5, VISUAL]]


def test_the_rest_leaves_out_only_what_is_doubtful_in_the_other_modality() -> None:
    """The hardest two for vision are the fourth and fifth easiest of six for sound."""
    loss = SIX.clone()
    loss[:6, AUDIO, 0] = torch.tensor([1.0, 2.0, 3.0, 6.0, 5.0, 4.0])
    rates = torch.tensor([[0.17], [0.34]])
    half = rank_flags(loss, TAGGED, rates)[:, VISUAL, 0]
    rest = rank_flags(loss, TAGGED, rates, rest=True)[:, VISUAL, 0]
    assert torch.nonzero(half).tolist() == []
    assert torch.nonzero(rest)[:, 0].tolist() == [4, 5]
    doubtful = rank_flags(loss, TAGGED, torch.tensor([[0.34], [0.34]]), rest=True)[:, VISUAL, 0]
    assert torch.nonzero(doubtful)[:, 0].tolist() == [5]


@given(seed=st.integers(0, 2**31), audio=st.floats(0, 1), visual=st.floats(0, 1))
@settings(max_examples=25, deadline=None)
def test_only_tags_are_removed_and_never_from_both(seed: int, audio: float, visual: float) -> None:
    p, tags = drawn(seed)
    loss = bag_losses(p, tags[:, None].expand_as(p))
    rates = torch.tensor([[audio], [visual]], dtype=torch.float64).expand(2, 4)
    flags = rank_flags(loss, tags, rates)
    assert not bool((flags & (tags[:, None] == 0)).any())
    assert not bool(flags.all(1).any())
    assert bool((flags.sum(0) <= (rates.clamp(max=0.9) * tags.sum(0)).round()).all())
    order = torch.randperm(len(p))
    torch.testing.assert_close(rank_flags(loss[order], tags[order], rates), flags[order])


def test_jomolds_rates_are_shares_under_a_ratio_to_the_mean() -> None:
    p = torch.zeros(4, 2, 1)
    p[:, AUDIO, 0] = torch.tensor([0.9, 0.9, 0.2, 0.0])
    p[:, VISUAL, 0] = torch.tensor([0.9, 0.3, 0.3, 0.0])
    tags = torch.tensor([[1.0], [1.0], [1.0], [0.0]])
    rates = ratio_rates(p, tags)
    assert rates[AUDIO, 0] == pytest.approx(1 / 3)
    assert rates[VISUAL, 0] == pytest.approx(2 / 3)
    assert ratio_rates(p, torch.zeros(4, 1)).tolist() == [[0.0], [0.0]]


def test_rates_by_comparison_find_the_share_that_looks_untagged() -> None:
    torch.manual_seed(0)
    clips, wrong = 4000, 0.3
    tags = (torch.arange(clips) % 2 == 0).double()[:, None]
    there = tags.clone()
    there[: int(clips * wrong)] = 0
    p = torch.full((clips, 2, 1), 0.0, dtype=torch.float64)
    p[:, AUDIO] = tags * 0.5 + 0.4 * torch.rand(clips, 1, dtype=torch.float64)
    p[:, VISUAL] = there * 0.5 + 0.4 * torch.rand(clips, 1, dtype=torch.float64)
    rates = contrasted_rates(p, tags)
    assert rates[AUDIO, 0] == 0.0
    assert rates[VISUAL, 0] == pytest.approx(wrong, abs=0.03)


def test_rates_by_comparison_are_one_where_nothing_stands_out() -> None:
    torch.manual_seed(1)
    p = torch.rand(4000, 2, 1, dtype=torch.float64)
    tags = (torch.arange(4000) % 3 == 0).double()[:, None]
    assert contrasted_rates(p, tags).min() > 0.9
    assert contrasted_rates(p, torch.ones(4000, 1)).tolist() == [[0.0], [0.0]]


def test_swaps_flag_what_neither_modality_shows_under_the_relative_error() -> None:
    """Class 0 errs in 2 of 4 clips, class 1 in 1: half the relative errors are 0.5 and 0.25."""
    tags = torch.tensor([[1.0, 1], [1, 0], [0, 1], [0, 0]])
    own = torch.where(tags > 0, 0.9, 0.1)[:, None].repeat(1, 2, 1)
    own[:2, :, 0], own[0, :, 1] = 0.2, 0.2
    high = torch.full((4, 2, 2), 0.9)
    foreign_audio = high.clone()
    foreign_audio[0] = torch.tensor([[0.49, 0.24], [0.4, 0.26]])
    foreign_audio[1] = torch.tensor([[0.51, 0.0], [0.4, 0.0]])
    flags = swap_flags(own, foreign_audio, high, tags)
    assert torch.nonzero(flags).tolist() == [[0, VISUAL, 0]]
    mirrored = swap_flags(own, high, foreign_audio, tags)
    assert torch.nonzero(mirrored).tolist() == [[0, AUDIO, 0]]
    nobody = torch.full((4, 2, 2), torch.nan)
    assert not bool(swap_flags(own, nobody, nobody, tags).any())


def test_a_network_without_errors_flags_nothing() -> None:
    _, tags = drawn(2)
    p = tags[:, None].repeat(1, 2, 1)
    assert not bool(swap_flags(p, torch.zeros_like(p), torch.zeros_like(p), tags).any())


def test_of_two_flags_that_of_the_stronger_belief_goes() -> None:
    flags = torch.ones(3, 2, 1, dtype=torch.bool)
    flags[2, AUDIO] = False
    belief = torch.tensor([[0.2, 0.1], [0.1, 0.3], [0.9, 0.1]])[:, :, None]
    kept = one_kept(flags, belief)[:, :, 0]
    assert kept.tolist() == [[False, True], [True, False], [False, True]]


def test_partners_are_seeded_and_share_neither_tag_nor_length() -> None:
    _, tags = drawn(3)
    tags = tags[:, 1:]
    lengths = torch.tensor([10] * 30 + [6] * 10)

    def found(seed: int) -> torch.Tensor:
        return partners(tags, lengths, 4, torch.Generator().manual_seed(seed))

    first = found(0)
    assert torch.equal(first, found(0))
    assert not torch.equal(first, found(1))
    assert first.shape == (40, 4)
    for i, row in enumerate(first):
        for j in row:
            assert float(tags[i] @ tags[j]) == 0
            assert lengths[i] == lengths[j]


def test_a_clip_that_shares_a_tag_with_all_has_no_partner() -> None:
    tags = torch.tensor([[1.0, 1.0], [1.0, 0.0], [0.0, 1.0]])
    found = partners(tags, torch.full((3,), 10), 2, torch.Generator().manual_seed(0))
    assert found.tolist() == [[-1, -1], [2, 2], [1, 1]]
