"""How far what is computed lies from a golden array."""

from __future__ import annotations

import numpy as np
import torch


def gap(actual: torch.Tensor, expected: np.ndarray) -> float:
    """Return the largest absolute difference of two arrays of one shape; NaN where either has one.

    Raises ValueError for another shape: nothing is broadcast.
    """
    if tuple(actual.shape) != expected.shape:
        raise ValueError(f"shape {tuple(actual.shape)}, the golden array has {expected.shape}")
    return float(np.abs(actual.detach().numpy() - expected).max())
