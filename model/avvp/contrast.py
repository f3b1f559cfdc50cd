"""Contrast of the seconds of one clip: sound finds its own second among those of the pictures.

In: features of every second of sound and pictures. Out: the mean loss over all seconds.

No other clip is a negative, and there is one direction only. 'cross_entropy' is the term of MA (Wu
and Yang, "Exploring heterogeneous clues", CVPR 2021); 'expected', the log of the expected
probability, is JoMoLD's (Cheng et al., ECCV 2022), which is bounded where a second has no match.

Legend: B clips, T seconds (of sound), U seconds (of pictures), D width.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

LEAST = 1e-30
"""Below it an expected probability has no gradient."""


def contrast(
    audio_BTD: Tensor,
    visual_BTD: Tensor,
    absent_BT: Tensor | None,
    *,
    kind: str,
    temperature: float = 0.2,
    smoothing: float = 0.1,
) -> Tensor:
    """Return the mean loss over the seconds that are there, float32 at least.

    Parameters
    ----------
    audio_BTD, visual_BTD : Tensor [shape=(B, T, D)]
    absent_BT : Tensor [shape=(B, T)], bool, optional
        True at padded seconds: neither asked for nor offered.
    kind
        'cross_entropy', -sum_u q_u log p_u, or 'expected', -log sum_u q_u p_u; p is the softmax of
        cosines over `temperature`.
    smoothing : float [0, 1)
        q is 1 - `smoothing` for the own second; the others share the rest. A clip of one second has
        nothing to share it.
    """
    with torch.autocast(audio_BTD.device.type, enabled=False):
        kind_of = torch.promote_types(audio_BTD.dtype, torch.float32)
        heard = F.normalize(audio_BTD.to(kind_of), dim=-1)
        seen = F.normalize(visual_BTD.to(kind_of), dim=-1)
        score_BTU = heard @ seen.transpose(1, 2) / temperature
        if absent_BT is not None:
            score_BTU = score_BTU.masked_fill(absent_BT[:, None], -torch.inf)
        q_BTU = _targets(score_BTU, absent_BT, smoothing)
        logp_BTU = torch.log_softmax(score_BTU, dim=-1)
        if kind == "expected":
            # a padded second beside a single one has no target at all
            loss_BT = -(q_BTU * logp_BTU.exp()).sum(-1).clamp(min=LEAST).log()
        else:
            loss_BT = -torch.where(q_BTU > 0, q_BTU * logp_BTU, 0.0).sum(-1)
        return loss_BT.mean() if absent_BT is None else loss_BT[~absent_BT].mean()


def _targets(score_BTU: Tensor, absent_BT: Tensor | None, smoothing: float) -> Tensor:
    """Return q, which sums to 1 over the seconds that are there; a padded second has none."""
    clips, seconds = score_BTU.shape[:2]
    own_TU = torch.eye(seconds, dtype=torch.bool, device=score_BTU.device)
    if absent_BT is None:
        there_BU = torch.ones(clips, seconds, dtype=torch.bool, device=score_BTU.device)
    else:
        there_BU = ~absent_BT
    others_B11 = (there_BU.sum(1) - 1)[:, None, None].to(score_BTU.dtype)
    share_B11 = torch.where(others_B11 > 0, smoothing / others_B11.clamp(min=1), 0.0)
    own_B11 = torch.where(others_B11 > 0, 1.0 - smoothing, 1.0)
    return torch.where(own_TU, own_B11, share_B11) * there_BU[:, None]
