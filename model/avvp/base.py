"""Base and its extensions Skip and GCAA (Lamba et al., Interspeech 2021, sections 3 and 4).

In: features of every second, as for `HAN`. Out: a `Parsing`, whose `joint_BTMD` an adversary may
read in training.

Legend: B videos, T seconds, M modalities (0 audio, 1 visual), D width, C classes, E size of a
feature.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from model.avvp.dropout import WordDropout
from model.avvp.gcaa import GlobalContextAttention
from model.avvp.han import FeatureMaps, Parsing, Pooling, PostNorm, both_ways


class AttentionLayer(PostNorm):
    """One post-norm layer with one attention, to the own or to the other modality.

    Parameters
    ----------
    attention
        Called as `torch.nn.MultiheadAttention` is, batch first.
    width, inner_width : int
        D, and the width of the feed-forward part.
    dropout : float
    """

    attention: nn.Module

    def __init__(self, attention: nn.Module, width: int, inner_width: int, dropout: float) -> None:
        super().__init__({"attention": attention}, width, inner_width, WordDropout(dropout))

    def forward(self, query_BTD: Tensor, other_BTD: Tensor, absent_BT: Tensor | None) -> Tensor:
        """Return the attended `query_BTD`, (B, T, D). `absent_BT` is True at padded seconds."""
        attended, _ = self.attention(
            query_BTD, other_BTD, other_BTD, key_padding_mask=absent_BT, need_weights=False
        )
        return self.finish(query_BTD + self.dropout(attended))


class Base(FeatureMaps):
    """Self-attention of each modality, then cross attention and a linear map that both share.

    Parameters
    ----------
    width, classes : int
        D, C.
    dropout : float
    gcaa : bool
        Global context aware attention in all three layers in the place of plain attention.
    first_step_broadcast : bool
        With the released defect, see `GlobalContextAttention`.
    skip : bool
        Add each modality's self-attended features to its joint ones and normalise the sum (as in
        the authors' release; the paper names the addition only).
    visual_dropout : float
        Of the visual features that the heads read.
    """

    def __init__(
        self,
        *,
        width: int,
        classes: int,
        dropout: float,
        gcaa: bool = False,
        first_step_broadcast: bool = False,
        skip: bool = False,
        visual_dropout: float = 0.0,
    ) -> None:
        super().__init__(width)

        def layer() -> AttentionLayer:
            attention: nn.Module
            if gcaa:
                attention = GlobalContextAttention(
                    width, 1, dropout=dropout, first_step_broadcast=first_step_broadcast
                )
            else:
                attention = nn.MultiheadAttention(width, 1, dropout=dropout, batch_first=True)
            return AttentionLayer(attention, width, width, dropout)

        self.self_audio = layer()
        self.self_visual = layer()
        self.cross = layer()
        self.shared = nn.Linear(width, width)
        self.skip = skip
        if skip:
            self.norm_audio = nn.LayerNorm(width)
            self.norm_visual = nn.LayerNorm(width)
        self.pooling = Pooling(width, classes, visual_dropout=visual_dropout)

    def forward(
        self,
        audio_BTE: Tensor,
        picture_BTE: Tensor,
        motion_BTE: Tensor,
        absent_BT: Tensor | None = None,
    ) -> Parsing:
        """Return the probabilities of every class; arguments as for `HAN.forward`."""
        audio_BTD, visual_BTD = self.mapped(audio_BTE, picture_BTE, motion_BTE)
        audio_BTD = self.self_audio(audio_BTD, audio_BTD, absent_BT)
        visual_BTD = self.self_visual(visual_BTD, visual_BTD, absent_BT)
        crossed = both_ways(self.cross, audio_BTD, visual_BTD, absent_BT)
        joint_audio, joint_visual = (self.shared(x_BTD) for x_BTD in crossed)
        if self.skip:
            joint_audio = self.norm_audio(joint_audio + audio_BTD)
            joint_visual = self.norm_visual(joint_visual + visual_BTD)
        return self.pooling(torch.stack([joint_audio, joint_visual], dim=2), absent_BT)
