"""The hybrid attention network (Tian, Li, Xu, ECCV 2020) and its multimodal MIL pooling.

In: features of every second (VGGish, ResNet-152 averaged over the second, R(2+1)D). Out: event
probabilities of every second and modality, and their pooled values for audio, vision and video.

Legend: B videos, T seconds, M modalities (0 audio, 1 visual), D width, C classes, E size of a
feature (128, 2048, 512).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

AUDIO_SIZE = 128
PICTURE_SIZE = 2048
MOTION_SIZE = 512


@dataclass(frozen=True, slots=True, kw_only=True)
class Parsing:
    """Probabilities; `video_BC` is a weighted sum that may exceed 1."""

    video_BC: Tensor
    audio_BC: Tensor
    visual_BC: Tensor
    second_BTMC: Tensor


class HybridAttention(nn.Module):
    """One layer: attention to the own modality and to the other, feed-forward, post-norm.

    The same weights serve both directions. One head, no positions, so that a permutation of the
    seconds permutes the output.
    """

    def __init__(self, width: int, inner_width: int, dropout: float) -> None:
        super().__init__()
        self.own = nn.MultiheadAttention(width, 1, dropout=dropout, batch_first=True)
        self.other = nn.MultiheadAttention(width, 1, dropout=dropout, batch_first=True)
        self.inner = nn.Linear(width, inner_width)
        self.outer = nn.Linear(inner_width, width)
        self.norm_attention = nn.LayerNorm(width)
        self.norm_output = nn.LayerNorm(width)
        self.dropout = nn.Dropout(dropout)

    def forward(self, query_BTD: Tensor, other_BTD: Tensor, absent_BT: Tensor | None) -> Tensor:
        """Return the attended `query_BTD`, (B, T, D). `absent_BT` is True at padded seconds."""
        own, _ = self.own(
            query_BTD, query_BTD, query_BTD, key_padding_mask=absent_BT, need_weights=False
        )
        other, _ = self.other(
            query_BTD, other_BTD, other_BTD, key_padding_mask=absent_BT, need_weights=False
        )
        h_BTD = self.norm_attention(query_BTD + self.dropout(other) + self.dropout(own))
        change_BTD = self.outer(self.dropout(torch.relu(self.inner(h_BTD))))
        return self.norm_output(h_BTD + self.dropout(change_BTD))


class Pooling(nn.Module):
    """Attentive multimodal multiple-instance pooling over seconds and modalities (MMIL)."""

    def __init__(self, width: int, classes: int) -> None:
        super().__init__()
        self.probability = nn.Linear(width, classes)
        self.over_time = nn.Linear(width, classes)
        self.over_modalities = nn.Linear(width, classes)

    def forward(self, x_BTMD: Tensor, absent_BT: Tensor | None) -> Parsing:
        """Return the probabilities. A padded second has weight 0.

        The weights over time sum to 1 for each modality, those over modalities for each second;
        their product therefore sums to anything between 0 and 2.
        """
        p_BTMC = torch.sigmoid(self.probability(x_BTMD))
        score_BTMC = self.over_time(x_BTMD)
        if absent_BT is not None:
            score_BTMC = score_BTMC.masked_fill(absent_BT[:, :, None, None], -torch.inf)
        time_BTMC = torch.softmax(score_BTMC, dim=1)
        modality_BTMC = torch.softmax(self.over_modalities(x_BTMD), dim=2)
        single_BMC = (time_BTMC * p_BTMC).sum(1)
        return Parsing(
            video_BC=(time_BTMC * modality_BTMC * p_BTMC).sum((1, 2)),
            audio_BC=single_BMC[:, 0],
            visual_BC=single_BMC[:, 1],
            second_BTMC=p_BTMC,
        )


class HAN(nn.Module):
    """Linear maps of the features, one layer of hybrid attention, MMIL pooling.

    Both directions read the features before attention. The published class carries encoders that
    no output depends on; they are left out here (4,569,675 parameters at D = 512, C = 25).
    """

    def __init__(self, *, width: int, classes: int, dropout: float) -> None:
        super().__init__()
        self.from_audio = nn.Linear(AUDIO_SIZE, width)
        self.from_picture = nn.Linear(PICTURE_SIZE, width)
        self.from_motion = nn.Linear(MOTION_SIZE, width)
        self.fusion = nn.Linear(2 * width, width)
        self.attention = HybridAttention(width, width, dropout)
        self.pooling = Pooling(width, classes)

    def forward(
        self,
        audio_BTE: Tensor,
        picture_BTE: Tensor,
        motion_BTE: Tensor,
        absent_BT: Tensor | None = None,
    ) -> Parsing:
        """Return the probabilities of every class.

        `picture_BTE` holds ResNet-152 features averaged over each second: the published network
        averages after its linear map, which is the same. `absent_BT` is True at the padded seconds
        of shorter videos, None when there are none.
        """
        picture_BTD, motion_BTD = self.from_picture(picture_BTE), self.from_motion(motion_BTE)
        audio_BTD = self.from_audio(audio_BTE)
        visual_BTD = self.fusion(torch.cat([picture_BTD, motion_BTD], dim=-1))
        attended = [
            self.attention(audio_BTD, visual_BTD, absent_BT),
            self.attention(visual_BTD, audio_BTD, absent_BT),
        ]
        return self.pooling(torch.stack(attended, dim=2), absent_BT)
