"""Means over pairs and how far they can be trusted: seeded bootstrap intervals.

In: one figure a pair. Out: percentile intervals of the mean, of one row or of the difference of
two rows on the same pairs. Light: NumPy alone.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

RESAMPLES = 4000
COVERED = 0.95


def bootstrap_interval(values: Sequence[float], *, seed: int) -> tuple[float, float]:
    """Return the 95 % percentile interval of the mean of `values`, the same for the same seed.

    Parameters
    ----------
    values
        One figure a pair, at least one; a single pair gives an interval of no width.
    seed
        Draws the resamples; rows of one evaluation share it, so they share the drawn pairs.

    Raises
    ------
    ValueError
        No value, or one that is not a finite number.
    """
    given = np.asarray(values, dtype=np.float64)
    if not len(given) or not np.isfinite(given).all():
        raise ValueError(
            f"bootstrap: expected at least one value and finite ones only, got {len(given)}, of "
            f"which {int(np.isfinite(given).sum())} are finite"
        )
    generator = np.random.default_rng([seed, len(given)])
    means = given[generator.integers(0, len(given), (RESAMPLES, len(given)))].mean(axis=1)
    tail = (1 - COVERED) / 2
    low, high = np.quantile(means, [tail, 1 - tail])
    return float(low), float(high)


def paired_interval(
    first: Sequence[float], second: Sequence[float], *, seed: int
) -> tuple[float, float]:
    """Return the 95 % interval of the mean of `first` - `second`, pair by pair.

    It lies above 0 where the first row is better on these pairs beyond chance.

    Raises
    ------
    ValueError
        The rows have different numbers of pairs, or none, or a figure that is not finite.
    """
    if len(first) != len(second):
        raise ValueError(f"paired rows: {len(first)} and {len(second)} pairs, expected as many")
    return bootstrap_interval(np.subtract(first, second).tolist(), seed=seed)
