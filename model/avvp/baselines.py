"""What a parsing model must beat, and what tags alone could reach.

In: tags of the training items, clips to answer for. Out: events per clip, like a model's:
uint8 (modality, class, second).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

import numpy as np

from model.avvp.data import MODALITIES, Clip
from storage.records import DatasetItem


def nothing(clips: Sequence[Clip], classes: Sequence[str]) -> list[np.ndarray]:
    """Return no event anywhere."""
    return [np.zeros((len(MODALITIES), len(classes), len(clip)), np.uint8) for clip in clips]


def always(label: str, clips: Sequence[Clip], classes: Sequence[str]) -> list[np.ndarray]:
    """Return one event through every clip, heard and seen."""
    answers = nothing(clips, classes)
    for events in answers:
        events[:, list(classes).index(label)] = 1
    return answers


def tag_oracle(clips: Sequence[Clip]) -> list[np.ndarray]:
    """Return each clip's true tags, on all the time in both modalities.

    A model that knew what happens, but not when or whether it is heard or seen.
    """
    return [
        np.broadcast_to(
            clip.tags_C.numpy().astype(np.uint8)[None, :, None],
            (len(MODALITIES), len(clip.tags_C), len(clip)),
        )
        for clip in clips
    ]


def commonest_label(items: Iterable[DatasetItem], classes: Sequence[str]) -> str | None:
    """Return the tag that most items have, the first in class order of equals; None without any."""
    counts = Counter(label for item in items for label in item.labels)
    return max(classes, key=lambda name: counts[name]) if counts else None
