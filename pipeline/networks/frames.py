"""The frames that a picture network reads: an item's inputs flow in, pictures in blocks flow out.

Shapes: N pictures, H height, W width, 3 colours (RGB).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

from pipeline.networks import pixels
from pipeline.networks.rows import frame_indices
from storage.records import TimeBase

if TYPE_CHECKING:
    from pipeline.extractors.base import Inputs


def picture_blocks(inputs: Inputs, sampling: str, size: int) -> Iterator[np.ndarray]:
    """Yield the sampled pictures in order, `size` at a time, (N, H, W, 3) uint8."""
    indices = frame_indices(inputs.length("frames"), sampling)
    for start in range(0, len(indices), size):
        chosen = indices[start : start + size]
        first, stop = int(chosen[0]), int(chosen[-1]) + 1
        if stop - first <= 2 * len(chosen):
            jpegs = inputs.rows("frames", "jpeg", first, stop)
            wanted = [jpegs[index - first] for index in chosen]
        else:
            wanted = [inputs.rows("frames", "jpeg", int(i), int(i) + 1)[0] for i in chosen]
        yield pixels.decode(wanted)


def picture_times(inputs: Inputs, sampling: str) -> TimeBase:
    """Return the time base of the sampled pictures: the frames', or even parts of their stretch."""
    stored = inputs.time_base("frames")
    length = inputs.length("frames")
    rows = len(frame_indices(length, sampling))
    return TimeBase(stored.t0_s, stored.hop_s * length / rows)
