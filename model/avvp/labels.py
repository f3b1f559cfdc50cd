"""From training clips with tags to training clips with targets of their own.

In: clips, and which of their labels are not to be learnt from sound or from pictures. Out: the
clips with targets.

Legend: N clips, M modalities (0 audio, 1 visual), C classes, T seconds.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch

from model.avvp.config import Config
from model.avvp.data import Clip
from model.avvp.targets import ClipTargets, smoothed, without
from model.settings import ConfigError


@dataclass(frozen=True, slots=True, kw_only=True)
class Removed:
    """Which target entries are 0 whatever the tags say; bool (N, C) each."""

    audio_NC: np.ndarray
    visual_NC: np.ndarray
    video_NC: np.ndarray

    @classmethod
    def nothing(cls, clips: int, classes: int) -> Removed:
        """Return masks that remove nothing."""
        return cls(
            audio_NC=np.zeros((clips, classes), bool),
            visual_NC=np.zeros((clips, classes), bool),
            video_NC=np.zeros((clips, classes), bool),
        )


def never_seen(config: Config, removed: Removed, classes: Sequence[str]) -> Removed:
    """Return the masks with the classes of `drop_visual` taken out of all visual targets.

    Raises ConfigError for a class that the list does not have.
    """
    if unknown := sorted(set(config.drop_visual) - set(classes)):
        raise ConfigError(
            f"avvp.drop_visual names {', '.join(unknown)}: expected some of {', '.join(classes)}"
        )
    visual_NC = removed.visual_NC | np.isin(list(classes), config.drop_visual)
    return replace(removed, visual_NC=visual_NC)


def with_targets(
    config: Config,
    clips: Sequence[Clip],
    removed: Removed,
    second_NMCT: np.ndarray | None = None,
) -> list[Clip]:
    """Return the clips with their smoothed tags as targets, 0 where removed.

    `second_NMCT` are targets of seconds, of which a clip has those up to its end.
    """
    masks = [torch.from_numpy(m) for m in (removed.video_NC, removed.audio_NC, removed.visual_NC)]
    found = []
    for i, (clip, video_C, audio_C, visual_C) in enumerate(zip(clips, *masks, strict=True)):
        tags_C = clip.tags_C
        second_TMC = None
        if second_NMCT is not None:
            second_TMC = torch.from_numpy(second_NMCT[i]).permute(2, 0, 1)[: len(clip)]
        targets = ClipTargets(
            video_C=without(tags_C, video_C),
            audio_C=without(smoothed(tags_C, config.audio_smoothing), audio_C),
            visual_C=without(smoothed(tags_C, config.visual_smoothing), visual_C),
            second_TMC=second_TMC,
        )
        found.append(replace(clip, targets=targets))
    return found
