"""The hybrid attention network (Tian, Li, Xu, ECCV 2020) and its multimodal MIL pooling.

In: features of every second (VGGish, ResNet-152 averaged over the second, R(2+1)D). Out: event
probabilities of every second and modality, and their pooled values for audio, vision and video.

Legend: B videos, T seconds, M modalities (0 audio, 1 visual), D width, C classes, E size of a
feature (128, 2048, 512).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from model.avvp.dropout import WordDropout

AUDIO_SIZE = 128
PICTURE_SIZE = 2048
MOTION_SIZE = 512


@dataclass(frozen=True, slots=True, kw_only=True)
class Parsing:
    """Probabilities; `video_BC` is a weighted sum that may exceed 1.

    `joint_BTMD` is what they were read from, `mapped_visual_BTD` vision before attention (of HAN).
    """

    video_BC: Tensor
    audio_BC: Tensor
    visual_BC: Tensor
    second_BTMC: Tensor
    joint_BTMD: Tensor
    mapped_visual_BTD: Tensor | None = None


class PostNorm(nn.Module):
    """What every layer does after its attention: feed-forward, residuals, norms after them.

    `attentions` become the layer's own modules, under their names.
    """

    def __init__(
        self,
        attentions: Mapping[str, nn.Module],
        width: int,
        inner_width: int,
        dropout: nn.Module,
    ) -> None:
        super().__init__()
        for name, attention in attentions.items():
            self.add_module(name, attention)
        self.inner = nn.Linear(width, inner_width)
        self.outer = nn.Linear(inner_width, width)
        self.norm_attention = nn.LayerNorm(width)
        self.norm_output = nn.LayerNorm(width)
        self.dropout = dropout

    def finish(self, summed_BTD: Tensor) -> Tensor:
        """Return the layer's output, (B, T, D), from its input plus what was attended."""
        h_BTD = self.norm_attention(summed_BTD)
        change_BTD = self.outer(self.dropout(torch.relu(self.inner(h_BTD))))
        return self.norm_output(h_BTD + self.dropout(change_BTD))


class HybridAttention(PostNorm):
    """One layer: attention to the own modality and to the other, feed-forward, post-norm.

    The same weights serve both directions. One head, no positions, so that a permutation of the
    seconds permutes the output. With `words` dropout is `WordDropout`.
    """

    own: nn.MultiheadAttention
    other: nn.MultiheadAttention

    def __init__(
        self, width: int, inner_width: int, dropout: float, *, words: bool = False
    ) -> None:
        attentions = {
            name: nn.MultiheadAttention(width, 1, dropout=dropout, batch_first=True)
            for name in ("own", "other")
        }
        drop = WordDropout(dropout) if words else nn.Dropout(dropout)
        super().__init__(attentions, width, inner_width, drop)

    def forward(
        self, query_BTD: Tensor, other_BTD: Tensor | None, absent_BT: Tensor | None
    ) -> Tensor:
        """Return the attended `query_BTD`, (B, T, D). `absent_BT` is True at padded seconds.

        Without `other_BTD` there is neither attention to it nor its residual, as in JoMoLD's
        estimator of noise.
        """
        own, _ = self.own(
            query_BTD, query_BTD, query_BTD, key_padding_mask=absent_BT, need_weights=False
        )
        if other_BTD is None:
            return self.finish(query_BTD + self.dropout(own))
        other, _ = self.other(
            query_BTD, other_BTD, other_BTD, key_padding_mask=absent_BT, need_weights=False
        )
        return self.finish(query_BTD + self.dropout(other) + self.dropout(own))


class Pooling(nn.Module):
    """Attentive multimodal multiple-instance pooling over seconds and modalities (MMIL).

    `visual_dropout` is of the visual features that the heads read, in training (JoMoLD: 0.5).
    """

    def __init__(self, width: int, classes: int, *, visual_dropout: float = 0.0) -> None:
        super().__init__()
        self.visual_dropout = visual_dropout
        self.probability = nn.Linear(width, classes)
        self.over_time = nn.Linear(width, classes)
        self.over_modalities = nn.Linear(width, classes)

    def forward(self, x_BTMD: Tensor, absent_BT: Tensor | None) -> Parsing:
        """Return the probabilities, float32 at least. A padded second has weight 0.

        The weights over time sum to 1 for each modality, those over modalities for each second;
        their product therefore sums to anything between 0 and 2.
        """
        with torch.autocast(x_BTMD.device.type, enabled=False):
            return self._pooled(
                x_BTMD.to(torch.promote_types(x_BTMD.dtype, torch.float32)), absent_BT
            )

    def _pooled(self, joint_BTMD: Tensor, absent_BT: Tensor | None) -> Parsing:
        x_BTMD = joint_BTMD
        if self.training and self.visual_dropout:
            audio_BTD, visual_BTD = joint_BTMD.unbind(2)
            x_BTMD = torch.stack([audio_BTD, F.dropout(visual_BTD, self.visual_dropout)], dim=2)
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
            joint_BTMD=joint_BTMD,
        )


class FeatureMaps(nn.Module):
    """Linear maps of the three features to one width; the two of vision are fused.

    `sizes` are those of audio, pictures and motion.
    """

    def __init__(
        self, width: int, sizes: tuple[int, int, int] = (AUDIO_SIZE, PICTURE_SIZE, MOTION_SIZE)
    ) -> None:
        super().__init__()
        self.from_audio = nn.Linear(sizes[0], width)
        self.from_picture = nn.Linear(sizes[1], width)
        self.from_motion = nn.Linear(sizes[2], width)
        self.fusion = nn.Linear(2 * width, width)

    def mapped(
        self, audio_BTE: Tensor, picture_BTE: Tensor, motion_BTE: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Return audio and vision, (B, T, D) each.

        `picture_BTE` holds ResNet-152 features averaged over each second: the published networks
        average after their linear map, which is the same for eight times the work.
        """
        seen_BTD = torch.cat([self.from_picture(picture_BTE), self.from_motion(motion_BTE)], dim=-1)
        return self.from_audio(audio_BTE), self.fusion(seen_BTD)


def both_ways(
    layer: nn.Module,
    audio_BTD: Tensor,
    visual_BTD: Tensor,
    absent_BT: Tensor | None,
    *,
    alone: bool = False,
) -> list[Tensor]:
    """Return audio attended to vision and vision attended to audio, by one call of the layer.

    With `alone` (of `HybridAttention`) neither attends to the other.
    """
    query = torch.cat([audio_BTD, visual_BTD])
    other = None if alone else torch.cat([visual_BTD, audio_BTD])
    absent = None if absent_BT is None else torch.cat([absent_BT, absent_BT])
    return list(layer(query, other, absent).chunk(2))


class HAN(FeatureMaps):
    """Linear maps of the features, one layer of hybrid attention, MMIL pooling.

    Both directions read the features before attention. The published class carries encoders that
    no output depends on; they are left out here (4,569,675 parameters at D = 512, C = 25).
    """

    def __init__(
        self,
        *,
        width: int,
        classes: int,
        dropout: float,
        together: bool = False,
        visual_dropout: float = 0.0,
        cross_attention: bool = True,
    ) -> None:
        super().__init__(width)
        self.attention = HybridAttention(width, width, dropout, words=together)
        self.pooling = Pooling(width, classes, visual_dropout=visual_dropout)
        self.together = together
        self.cross_attention = cross_attention

    def forward(
        self,
        audio_BTE: Tensor,
        picture_BTE: Tensor,
        motion_BTE: Tensor,
        absent_BT: Tensor | None = None,
        *,
        alone: bool = False,
    ) -> Parsing:
        """Return the probabilities of every class.

        `picture_BTE` as for `mapped`. `absent_BT` is True at the padded seconds of shorter videos,
        None when there are none. With `together` both directions are one call and dropout is drawn
        in words: the same function, faster, with other draws. With `alone`, as always without
        `cross_attention`, no modality attends to the other.
        """
        audio_BTD, visual_BTD = self.mapped(audio_BTE, picture_BTE, motion_BTE)
        alone = alone or not self.cross_attention
        if self.together:
            attended = both_ways(self.attention, audio_BTD, visual_BTD, absent_BT, alone=alone)
        else:
            attended = [
                self.attention(audio_BTD, None if alone else visual_BTD, absent_BT),
                self.attention(visual_BTD, None if alone else audio_BTD, absent_BT),
            ]
        parsing = self.pooling(torch.stack(attended, dim=2), absent_BT)
        return replace(parsing, mapped_visual_BTD=visual_BTD)
