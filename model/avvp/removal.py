"""Which labels of a clip are not heard, or not seen: the rules of MA and JoMoLD, and ours.

In: pooled probabilities of each modality and tags. Out: rates of wrong labels of each class, and
flags: True where a tag shall not be a target of that modality. Nothing is drawn here and nothing is
learnt; a label is only ever removed where the tag is there.

MA: Wu and Yang, "Exploring heterogeneous clues", CVPR 2021. JoMoLD: Cheng et al., ECCV 2022. Facts
that the papers leave open are those of the released codes.

Legend: N clips, M modalities (0 audio, 1 visual), C classes, K partners.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

AUDIO, VISUAL = 0, 1
RATIOS = (0.6, 0.95, 1.8)
"""JoMoLD's: the audio threshold, what the visual probability is multiplied by, its threshold."""
QUANTILES = ((0.5, 0.6, 0.7, 0.8, 0.9), (0.9,))
"""Of the clips without the tag, at which a class's rate is read off, in sound and in pictures.

Where labels are wrong often, the clips that have them wrongly are still not quite like those
without the tag, least at a high quantile; where they are hardly ever wrong, the smallest of several
shares errs least. Chosen on synthetic LLP, where the training clips' truth is known.
"""
CLAMP = 1e-7


def ratio_rates(p_NMC: Tensor, tags_NC: Tensor) -> Tensor:
    """Return JoMoLD's rates of wrong labels, (M, C) in [0, 1].

    The share of a class's clips whose probability, over its mean of all clips, is under 0.6 (audio)
    or, times 0.95, under 1.8 (visual). A class without clips has rate 0.
    """
    least_audio, factor, least_visual = RATIOS
    ratio_NMC = p_NMC / p_NMC.mean(0).clamp(min=CLAMP)
    low_NMC = torch.stack(
        [ratio_NMC[:, AUDIO] < least_audio, factor * ratio_NMC[:, VISUAL] < least_visual], dim=1
    )
    return _share(low_NMC, tags_NC)


def contrasted_rates(p_NMC: Tensor, tags_NC: Tensor) -> Tensor:
    """Return rates of wrong labels by comparison with the clips without the tag, (M, C) in [0, 1].

    Where a share r of a class's clips does not have the class in a modality, their probabilities
    are those of the clips without the tag, of which a share q lies under the q-quantile: so of the
    class's clips at least r q do. The rate is the least of that share over q for the modality's
    `QUANTILES`. It is 0 where every tagged clip stands out, whatever the class's frequency. Ours;
    needs probabilities that were not trained on the clip.
    """
    rates_MC = torch.zeros(p_NMC.shape[1:], dtype=p_NMC.dtype)
    for c in range(p_NMC.shape[2]):
        tagged_N = tags_NC[:, c] > 0
        if not tagged_N.any() or tagged_N.all():
            continue
        for m, quantiles in enumerate(QUANTILES):
            with_tag, without_tag = p_NMC[tagged_N, m, c], p_NMC[~tagged_N, m, c]
            share = torch.tensor(quantiles, dtype=p_NMC.dtype)
            bounds = torch.quantile(without_tag, share)
            under = (with_tag[:, None] <= bounds).to(p_NMC.dtype).mean(0)
            rates_MC[m, c] = (under / share).min().clamp(max=1)
    return rates_MC


def _share(flag_NMC: Tensor, tags_NC: Tensor) -> Tensor:
    """Return the share of each class's clips that are flagged, (M, C)."""
    tagged_N1C = tags_NC[:, None] > 0
    number_1C = tagged_N1C.sum(0).clamp(min=1)
    return (flag_NMC & tagged_N1C).sum(0) / number_1C


def bag_losses(p_NMC: Tensor, targets_NMC: Tensor) -> Tensor:
    """Return the binary cross-entropy of each pooled probability, (N, M, C)."""
    return F.binary_cross_entropy(p_NMC.clamp(CLAMP, 1 - CLAMP), targets_NMC, reduction="none")


def opposed(loss_NMC: Tensor, tags_NC: Tensor, top_MC: Tensor, bottom_MC: Tensor) -> Tensor:
    """Return JoMoLD's flags, bool (N, M, C): hard for one modality and easy for the other.

    Of the clips with a tag, those whose own loss is among the `top_MC` largest and whose loss of
    the other modality is among the `bottom_MC` smallest; counts (M, C) of the modality whose label
    is in question. Of equal losses the earlier clip comes first, from both ends.
    """
    tagged_N1C = tags_NC[:, None] > 0
    hardest_NMC = _rank(loss_NMC.masked_fill(~tagged_N1C, -torch.inf), descending=True)
    easiest_NMC = _rank(loss_NMC.masked_fill(~tagged_N1C, torch.inf), descending=False)
    return tagged_N1C & (hardest_NMC < top_MC) & (easiest_NMC.flip(1) < bottom_MC)


def _rank(x_NMC: Tensor, *, descending: bool) -> Tensor:
    """Return each value's place along the clips, counted from 0."""
    order = torch.argsort(x_NMC, dim=0, descending=descending, stable=True)
    places = torch.arange(len(x_NMC), device=x_NMC.device)[:, None, None].expand_as(order)
    return torch.empty_like(order).scatter_(0, order, places)


def batch_flags(loss_NMC: Tensor, tags_NC: Tensor, rates_MC: Tensor) -> Tensor:
    """Return JoMoLD's flags within one batch, bool (N, M, C).

    Both counts are rate times the batch's clips with the tag, rounded down: at small batches only
    classes with high rates are touched. With a rate of 1 both modalities lose the label.
    """
    count_MC = (rates_MC * tags_NC.sum(0)).floor()
    return opposed(loss_NMC, tags_NC, count_MC, count_MC)


def rank_flags(
    loss_NMC: Tensor,
    tags_NC: Tensor,
    rates_MC: Tensor,
    *,
    rest: bool = False,
    cap: float = 0.9,
    least: float = 0.5,
) -> Tensor:
    """Return flags by rank over all clips, bool (N, M, C); never both modalities of a label.

    A label is removed where its loss is in the top share min(rate, `cap`) of the class's clips and
    the other modality's in the bottom share, which is the same but at least `least`; with `rest` at
    least all but the other modality's own rate, as it is right there. Where both modalities
    qualify, the one with the smaller loss is kept.
    """
    number_C = tags_NC.sum(0)
    rates_MC = rates_MC.clamp(max=cap)
    bottom_MC = rates_MC.clamp(min=least)
    if rest:
        bottom_MC = torch.maximum(bottom_MC, 1 - rates_MC.flip(0))
    flags_NMC = opposed(
        loss_NMC, tags_NC, (rates_MC * number_C).round(), (bottom_MC * number_C).round()
    )
    return one_kept(flags_NMC, -loss_NMC)


def swap_flags(
    p_NMC: Tensor, foreign_audio_NMC: Tensor, foreign_visual_NMC: Tensor, tags_NC: Tensor
) -> Tensor:
    """Return MA's flags, bool (N, M, C).

    Parameters
    ----------
    p_NMC
        Of the clips as they are.
    foreign_audio_NMC, foreign_visual_NMC
        Of the clips with the sound, or the pictures, of clips that share no tag with them; NaN
        where there is no such clip, which flags nothing.
    tags_NC

    A label is not seen where, under foreign sound, neither modality's probability reaches half the
    class's relative error in vision: the share of all clips on whose wrong side of 0.5 the
    probability lies, over that of the worst class. Not heard likewise, under foreign pictures.
    """
    error_MC = ((p_NMC > 0.5) != (tags_NC[:, None] > 0)).to(p_NMC.dtype).mean(0)
    worst_M1 = error_MC.max(dim=1, keepdim=True).values
    least_MC = 0.5 * error_MC / worst_M1.clamp(min=CLAMP)
    heard_NC = (foreign_visual_NMC < least_MC[AUDIO]).all(1)
    seen_NC = (foreign_audio_NMC < least_MC[VISUAL]).all(1)
    return torch.stack([heard_NC, seen_NC], dim=1) & (tags_NC[:, None] > 0)


def one_kept(flags_NMC: Tensor, belief_NMC: Tensor) -> Tensor:
    """Return the flags, of two for one label only that of the modality with the smaller belief.

    Audio is kept where both are equal.
    """
    both_NC = flags_NMC.all(1)
    audio_kept_NC = belief_NMC[:, AUDIO] >= belief_NMC[:, VISUAL]
    kept_NMC = torch.stack([both_NC & audio_kept_NC, both_NC & ~audio_kept_NC], dim=1)
    return flags_NMC & ~kept_NMC


def partners(tags_NC: Tensor, lengths_N: Tensor, count: int, generator: torch.Generator) -> Tensor:
    """Return for each clip `count` clips of its length that share no tag with it, int64 (N, K).

    Drawn uniformly and independently; -1 throughout where there is none.
    """
    found_NK = torch.full((len(tags_NC), count), -1, dtype=torch.int64)
    for i, tags_C in enumerate(tags_NC):
        strangers = torch.nonzero((tags_NC @ tags_C == 0) & (lengths_N == lengths_N[i]))[:, 0]
        if len(strangers):
            drawn = torch.randint(len(strangers), (count,), generator=generator)
            found_NK[i] = strangers[drawn]
    return found_NK
