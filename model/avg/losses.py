"""Hinge losses of audio-visual grounding (Lamba et al. 2021, equations 3 to 5).

In: seconds in context of both modalities, the number of each second's group, one anchor second a
video. Out: a loss per video; and how close seconds are that belong together, and others.

Legend: B videos, T seconds, H width, A anchors.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from model.avg.config import Config


def grounding_loss(
    audio_BTH: Tensor,
    picture_BTH: Tensor,
    group_BT: Tensor,
    anchor_BA: Tensor | None,
    *,
    objective: str,
    positive_margin: float,
    negative_margin: float,
    absent_BT: Tensor | None = None,
) -> Tensor:
    """Return the loss of a batch, float32 at least.

    For each anchor second, its row of cosines with every second of the same video is compared with
    whether they belong together: cosines below `positive_margin` and above `negative_margin` cost
    their distance. The mean over seconds and videos is taken (the equations have sums), and added
    over the two anchors (heard and seen) and, for 'multi', over the two objectives.

    Parameters
    ----------
    audio_BTH, picture_BTH : Tensor [shape=(B, T, H)]
    group_BT : Tensor [shape=(B, T)], integer
        Seconds with one number belong together.
    anchor_BA : Tensor [shape=(B, A)], integer, or None
        Anchor seconds of each video, whose mean counts; None for all of them.
    objective : {'uni', 'cross', 'multi'}
        What an anchor is compared with: its own modality, the other one, or both.
    positive_margin, negative_margin : float
        p and n.
    absent_BT : Tensor [shape=(B, T)], bool, optional
        True at padded seconds, which do not count and are no anchors.
    """
    with torch.autocast(audio_BTH.device.type, enabled=False):
        audio, picture = unit(audio_BTH), unit(picture_BTH)
        weight_BT = seconds_weight(group_BT, absent_BT).to(audio.dtype)
        if anchor_BA is None:
            anchor_BA = torch.arange(group_BT.shape[1], device=group_BT.device)
            anchor_BA, weight_BA = anchor_BA.expand_as(group_BT), weight_BT
        else:
            weight_BA = torch.full_like(anchor_BA, 1, dtype=audio.dtype) / anchor_BA.shape[1]
        belongs_BAT = group_BT.gather(1, anchor_BA)[:, :, None] == group_BT[:, None]
        weight_BAT = weight_BA[:, :, None] * weight_BT[:, None]
        index_BAH = anchor_BA[:, :, None].expand(-1, -1, audio.shape[2])

        def term(anchors_BTH: Tensor, others_BTH: Tensor) -> Tensor:
            cosine_BAT = anchors_BTH.gather(1, index_BAH) @ others_BTH.transpose(1, 2)
            too_far = F.relu(positive_margin - cosine_BAT)
            too_close = F.relu(cosine_BAT - negative_margin)
            cost_BAT = torch.where(belongs_BAT, too_far, too_close)
            return (cost_BAT * weight_BAT).sum() / len(cost_BAT)

        pairs = {
            "uni": ((picture, picture), (audio, audio)),
            "cross": ((picture, audio), (audio, picture)),
        }
        asked = ("uni", "cross") if objective == "multi" else (objective,)
        return torch.stack([term(*pair) for name in asked for pair in pairs[name]]).sum()


def unit(x_BTH: Tensor) -> Tensor:
    """Return vectors of length 1, float32 at least."""
    return F.normalize(x_BTH.to(torch.promote_types(x_BTH.dtype, torch.float32)), dim=-1)


def seconds_weight(group_BT: Tensor, absent_BT: Tensor | None) -> Tensor:
    """Return what a second counts in the mean over its video, float (B, T): 0 where padded."""
    present = torch.ones_like(group_BT) if absent_BT is None else (~absent_BT).long()
    return present / present.sum(1, keepdim=True)


def objective_of_epoch(config: Config, epoch: int) -> str:
    """Return the objective of an epoch: with `alternate` even ones are 'cross', odd ones 'uni'."""
    if not config.alternate:
        return config.objective
    return "uni" if epoch % 2 else "cross"


@dataclass(frozen=True, slots=True, kw_only=True)
class Closeness:
    """Sums of cosines between heard and seen seconds of one video, and how many pairs there are."""

    matching: Tensor
    other: Tensor
    matching_pairs: Tensor
    other_pairs: Tensor

    def __add__(self, more: Closeness) -> Closeness:
        return Closeness(
            matching=self.matching + more.matching,
            other=self.other + more.other,
            matching_pairs=self.matching_pairs + more.matching_pairs,
            other_pairs=self.other_pairs + more.other_pairs,
        )

    def means(self) -> dict[str, Tensor]:
        """Return 'cosine_matching' and 'cosine_other', those of which there are pairs."""
        found = {
            "cosine_matching": (self.matching, self.matching_pairs),
            "cosine_other": (self.other, self.other_pairs),
        }
        return {name: total / pairs for name, (total, pairs) in found.items() if pairs > 0}


def closeness(
    audio_BTH: Tensor, picture_BTH: Tensor, group_BT: Tensor, absent_BT: Tensor | None = None
) -> Closeness:
    """Return how close heard and seen seconds of each video are; arguments as `grounding_loss`."""
    with torch.autocast(audio_BTH.device.type, enabled=False):
        cosine_BTT = unit(audio_BTH) @ unit(picture_BTH).transpose(1, 2)
    belongs_BTT = group_BT[:, :, None] == group_BT[:, None]
    counts_BTT = torch.ones_like(belongs_BTT)
    if absent_BT is not None:
        counts_BTT = ~(absent_BT[:, :, None] | absent_BT[:, None])
    matching, other = belongs_BTT & counts_BTT, ~belongs_BTT & counts_BTT
    return Closeness(
        matching=(cosine_BTT * matching).sum(),
        other=(cosine_BTT * other).sum(),
        matching_pairs=matching.sum(),
        other_pairs=other.sum(),
    )
