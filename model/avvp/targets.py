"""What the pooled probabilities of a clip are trained towards, where that is not its tags alone.

In: tags, and what was found not to be heard or seen. Out: targets of each clip and of a batch.

Legend: B clips, T seconds, M modalities (0 audio, 1 visual), C classes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence


@dataclass(frozen=True, slots=True, kw_only=True)
class ClipTargets:
    """Targets of one clip, float32 in [0, 1]; `second_TMC` where its seconds have some."""

    video_C: Tensor
    audio_C: Tensor
    visual_C: Tensor
    second_TMC: Tensor | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Targets:
    """Targets of a batch, float32 in [0, 1]; those of seconds are 0 after a clip's end."""

    video_BC: Tensor
    audio_BC: Tensor
    visual_BC: Tensor
    second_BTMC: Tensor | None = None

    def to(self, *args: Any, **kwargs: Any) -> Targets:
        """Return the targets moved as `torch.Tensor.to` moves."""
        second_BTMC = self.second_BTMC
        return Targets(
            video_BC=self.video_BC.to(*args, **kwargs),
            audio_BC=self.audio_BC.to(*args, **kwargs),
            visual_BC=self.visual_BC.to(*args, **kwargs),
            second_BTMC=None if second_BTMC is None else second_BTMC.to(*args, **kwargs),
        )

    @classmethod
    def stacked(cls, clips: Sequence[ClipTargets]) -> Targets:
        """Return the targets of clips as those of their batch."""
        seconds = [clip.second_TMC for clip in clips if clip.second_TMC is not None]
        return cls(
            video_BC=torch.stack([clip.video_C for clip in clips]),
            audio_BC=torch.stack([clip.audio_C for clip in clips]),
            visual_BC=torch.stack([clip.visual_C for clip in clips]),
            second_BTMC=pad_sequence(seconds, batch_first=True) if seconds else None,
        )


def smoothed(tags: Tensor, weight: float) -> Tensor:
    """Return tags, 0 or 1, moved towards 0.5 by `weight`."""
    return (1 - weight) * tags + weight * 0.5


def tag_targets(tags_BC: Tensor, *, audio_smoothing: float, visual_smoothing: float) -> Targets:
    """Return the published targets: the tags for all, smoothed for the modalities."""
    return Targets(
        video_BC=tags_BC,
        audio_BC=smoothed(tags_BC, audio_smoothing),
        visual_BC=smoothed(tags_BC, visual_smoothing),
    )


def without(target: Tensor, removed: Tensor) -> Tensor:
    """Return a target that is 0 where a label was removed (bool), whatever its smoothing."""
    return target.masked_fill(removed, 0.0)
