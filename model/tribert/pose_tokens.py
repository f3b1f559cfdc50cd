"""Pose tokens: one vector a person and step, from stored ST-GCN embeddings and boxes.

In: embeddings at the pictures' times, boxes and presence. Out: tokens with the SOS step first, and
which of them may be attended to (TriBERT section 3.2, keypoint representations; the box embedding
is in the released code only, tribert.md section 2).

Legend: B videos, T steps, S = T + 1 steps with SOS first, P persons, K channels, V joints, D width.
"""

from __future__ import annotations

import torch
from torch import nn

from model.tribert.attention import LAYER_NORM_EPS
from model.tribert.config import PoseConfig

BOX_NUMBERS = 5


def whole_picture(like: torch.Tensor) -> torch.Tensor:
    """Return the box (0, 0, 1, 1, 1) of a tensor's type, made where that tensor lies."""
    return (torch.arange(BOX_NUMBERS, device=like.device) > 1).to(like.dtype)


class PoseTokens(nn.Module):
    """Linear of the embedding plus Linear of the box, layer norm, dropout."""

    def __init__(self, config: PoseConfig, width: int) -> None:
        super().__init__()
        self.embedding = nn.Linear(config.channels * config.joints, width)
        self.box = nn.Linear(BOX_NUMBERS, width)
        self.norm = nn.LayerNorm(width, eps=LAYER_NORM_EPS)
        self.dropout = nn.Dropout(config.dropout)

    def forward(self, pose_BSPKV: torch.Tensor, box_BSP5: torch.Tensor) -> torch.Tensor:
        """Return tokens (B, S, P, D)."""
        embedded = self.embedding(pose_BSPKV.flatten(3)) + self.box(box_BSP5)
        return self.dropout(self.norm(embedded))


def with_sos(
    pose_BTPKV: torch.Tensor, box_BTP5: torch.Tensor, present_BTP: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return embeddings, boxes and presence with the SOS step in front.

    The SOS embedding is the mean over the steps where the person is present, its box the whole
    picture, and the person is there when present in any step. Where nobody is present, slot 0 of
    the SOS step (which then only says "nobody") stays valid, so that attention has a key.
    """
    weight = present_BTP[..., None, None].to(pose_BTPKV.dtype)
    count = weight.sum(1, keepdim=True).clamp(min=1)
    mean_B1PKV = (pose_BTPKV * weight).sum(1, keepdim=True) / count
    whole = whole_picture(box_BTP5).expand_as(box_BTP5[:, :1])
    anywhere_B1P = present_BTP.any(1, keepdim=True)
    nobody_B11 = ~anywhere_B1P.any(2, keepdim=True)
    first_B1P = torch.arange(anywhere_B1P.shape[2], device=present_BTP.device).eq(0)[None, None]
    return (
        torch.cat((mean_B1PKV, pose_BTPKV * weight), dim=1),
        torch.cat((whole, box_BTP5), dim=1),
        torch.cat((anywhere_B1P | (nobody_B11 & first_B1P), present_BTP), dim=1),
    )
