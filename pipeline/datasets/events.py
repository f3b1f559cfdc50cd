"""Dense events in, arrays of which class is on in which second out."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from storage.records import Event

MODALITIES = ("audio", "visual")


def event_array(events: Iterable[Event], classes: Sequence[str], seconds: int) -> np.ndarray:
    """Return the dense events as uint8 (modality, class, second); modality 0 audio, 1 visual.

    An event covers the seconds onset:offset, both in whole seconds; overlapping events unite, an
    event that ends before it starts covers nothing, and what lies beyond `seconds` is left out.
    """
    present = np.zeros((len(MODALITIES), len(classes), seconds), np.uint8)
    index = {name: i for i, name in enumerate(classes)}
    for event in events:
        row = present[MODALITIES.index(event.modality), index[event.label]]
        row[int(event.onset_s) : int(event.offset_s)] = 1
    return present
