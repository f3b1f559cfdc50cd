"""A parsing network that starts from a model of audio-visual grounding (Lamba et al. 2021, 3.2).

In: features of every second, as for `HAN`. Out: a `Parsing`. The transformer stands in the place of
HAN's attention, and reads motion besides; linear maps and pooling are HAN's. Its first weights come
from a model of `model.avg`: see `model.avvp.initial`.

Legend: B videos, T seconds, D width, C classes, E size of a feature.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from model.avg.config import EncoderConfig
from model.avg.encoder import Encoder
from model.avvp.han import AUDIO_SIZE, MOTION_SIZE, PICTURE_SIZE, FeatureMaps, Parsing, Pooling

MOTION = "streams.motion."
"""Start of the names of what pre-training does not know."""


class Pretrained(FeatureMaps):
    """The transformer of audio-visual grounding, linear maps of its seconds, MMIL pooling.

    Parameters
    ----------
    encoder
        Sizes of the transformer.
    width, classes : int
        D, of what is pooled; C.
    frozen : bool
        What pre-training knows has no gradient and no dropout; tokens of motion still learn.
    """

    def __init__(
        self, *, encoder: EncoderConfig, width: int, classes: int, frozen: bool = False
    ) -> None:
        super().__init__(width, sizes=(encoder.width,) * 3)
        sizes = {"picture": PICTURE_SIZE, "audio": AUDIO_SIZE, "motion": MOTION_SIZE}
        self.encoder = Encoder(encoder, sizes)
        self.pooling = Pooling(width, classes)
        self.frozen = frozen
        for parameter in self.learnt_before() if frozen else ():
            parameter.requires_grad_(False)

    def learnt_before(self) -> list[nn.Parameter]:
        """Return the parameters that pre-training knows."""
        return [p for name, p in self.encoder.named_parameters() if not name.startswith(MOTION)]

    def train(self, mode: bool = True) -> Pretrained:
        """Switch dropout on or off; where frozen, the transformer's stays off."""
        super().train(mode)
        if self.frozen:
            self.encoder.eval()
        return self

    def forward(
        self,
        audio_BTE: Tensor,
        picture_BTE: Tensor,
        motion_BTE: Tensor,
        absent_BT: Tensor | None = None,
    ) -> Parsing:
        """Return the probabilities of every class; arguments as for `HAN.forward`."""
        features = {"picture": picture_BTE, "audio": audio_BTE, "motion": motion_BTE}
        found = self.encoder(features, absent_BT)
        both = self.mapped(found["audio"], found["picture"], found["motion"])
        return self.pooling(torch.stack(both, dim=2), absent_BT)
