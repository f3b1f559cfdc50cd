"""What a table of parsing figures is read against: answers that need no network.

In: a data set's items with their labels and dense events. Out: binary arrays (videos, classes,
seconds) of heard and seen events, and the figures of each answer. On LLP's 1200 test videos
'predict nothing' has a type_at_av of 8.4 and the weak-tag oracle one of 63.0 at segment level.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from model.avvp.baselines import commonest_label
from model.avvp.data import MODALITIES, event_array
from model.avvp.metrics import LEVELS, ParsingScores, parsing_scores
from storage.records import DatasetItem

SECONDS = 10

Answer = tuple[np.ndarray, np.ndarray]
"""Heard and seen events, uint8 (videos, classes, seconds) each."""


def true_events(
    items: Sequence[DatasetItem], classes: Sequence[str], seconds: int = SECONDS
) -> Answer:
    """Return the dense events of the items.

    Raises
    ------
    ValueError
        An item has no dense events, or one of a class that is not in `classes`.
    """
    for item in items:
        if item.events is None:
            raise ValueError(f"{item.item_id}: expected dense events, it has weak labels only")
        if unknown := sorted({e.label for e in item.events} - set(classes)):
            raise ValueError(
                f"{item.item_id}: its events name {', '.join(unknown)}; expected "
                f"{', '.join(classes)}"
            )
    both = np.stack([event_array(item.events or (), classes, seconds) for item in items])
    return both[:, 0], both[:, 1]


def predict_nothing(videos: int, classes: int, seconds: int = SECONDS) -> Answer:
    """Return no event anywhere."""
    shape = videos, classes, seconds
    return np.zeros(shape, np.uint8), np.zeros(shape, np.uint8)


def always(
    index: int,
    videos: int,
    classes: int,
    seconds: int = SECONDS,
    *,
    modalities: Sequence[str] = MODALITIES,
) -> Answer:
    """Return class number `index` through every clip, in the modalities named."""
    answer = predict_nothing(videos, classes, seconds)
    for modality in modalities:
        answer[MODALITIES.index(modality)][:, index] = 1
    return answer


def tag_oracle(tags: np.ndarray, seconds: int = SECONDS) -> Answer:
    """Return the true tags, (videos, classes) of 0 and 1, on all the time, heard and seen."""
    on = np.repeat(np.asarray(tags, np.uint8)[..., None], seconds, axis=2)
    return on, on


def reference_rows(
    items: Sequence[DatasetItem],
    training_items: Sequence[DatasetItem],
    classes: Sequence[str],
    seconds: int = SECONDS,
) -> dict[str, Mapping[str, ParsingScores]]:
    """Return each reference row's figures on `items` at each level.

    'predict nothing', 'always <the tag that most training items have>' once heard and seen and once
    only heard, and 'weak-tag oracle'. Raises ValueError as `true_events` does.
    """
    truth = true_events(items, classes, seconds)
    size = len(items), len(classes), seconds
    tags = np.array([[name in item.labels for name in classes] for item in items])
    rows = {"predict nothing": predict_nothing(*size)}
    commonest = commonest_label(training_items, classes)
    if commonest is not None:
        index = list(classes).index(commonest)
        rows[f"always {commonest}"] = always(index, *size)
        rows[f"always {commonest}, heard only"] = always(index, *size, modalities=("audio",))
    rows["weak-tag oracle"] = tag_oracle(tags, seconds)
    return {
        name: {level: parsing_scores(*answer, *truth, level=level) for level in LEVELS}
        for name, answer in rows.items()
    }
