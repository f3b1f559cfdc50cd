"""How many rows an item has, and from which frames they come: lengths flow in, counts and indices
flow out."""

from __future__ import annotations

import numpy as np

from pipeline.failures import ItemFailure

LLP_FRAMES = 80
SPARSE_STEP = 8


def row_count(length: int, per_row: int) -> int:
    """Return how many rows cover `length` samples or frames: rounded, halves up, at least one.

    So a clip that misses a little of its last second keeps it, and a clip that runs a little over
    gets no row that is mostly padding.

    Raises
    ------
    ItemFailure
        There is nothing to make a row of ('empty').
    """
    if length < 1:
        raise ItemFailure("empty", "the stage upstream has no rows for this item")
    return max(1, (2 * length + per_row) // (2 * per_row))


def frame_indices(length: int, sampling: str) -> np.ndarray:
    """Return which stored frames are used, ascending, int64.

    Parameters
    ----------
    length
        Stored frames.
    sampling
        'exact': every frame. 'llp': 80 frames spread evenly from the first to the last, whatever
        the number there is, as the published LLP features were made from clips of ten seconds
        (extract_rgb_feat.py of Tian et al., ECCV 2020). 'sparse': the middle one of every 8, an
        eighth of the work where a picture a second will do.

    Raises
    ------
    ItemFailure
        There are no frames ('empty').
    ValueError
        Another sampling.
    """
    if length < 1:
        raise ItemFailure("empty", "the stage upstream has no rows for this item")
    if sampling == "exact":
        return np.arange(length)
    if sampling == "llp":
        return np.rint(np.linspace(0, length - 1, LLP_FRAMES)).astype(np.int64)
    if sampling == "sparse":
        return np.arange(min(SPARSE_STEP // 2, length - 1), length, SPARSE_STEP)
    raise ValueError(f"sampling {sampling!r}: expected 'exact', 'llp' or 'sparse'")
