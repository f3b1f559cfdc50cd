"""Ranks of the right candidate, and what they come to.

In: logits of a query against a whole pool. Out: ranks, top-k shares and bootstrap intervals.

Legend: B queries, N candidates.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from model.retrieval.errors import RetrievalError

TOP = (1, 5, 10)


def ranks(logits_BN: torch.Tensor, right_B: torch.Tensor) -> torch.Tensor:
    """Return the rank, 1 for the best, of the right candidate of each query: int64 (B,).

    Ties count against it, so that a scorer that says the same of all is last, not first.

    Raises
    ------
    RetrievalError
        A score is not a finite number.
    """
    if not torch.isfinite(logits_BN).all():
        raise RetrievalError(
            "a retrieval score is not a finite number: train again with a lower "
            "retrieval.learning_rate"
        )
    own_B1 = logits_BN.gather(1, right_B[:, None])
    return (logits_BN >= own_B1).sum(1)


def figures(ranks_N: np.ndarray, *, resamples: int, seed: int) -> dict[str, Any]:
    """Return top-1, 5 and 10 in percent, their 95 % intervals and the median rank.

    An interval holds the 2.5 % and 97.5 % quantiles over `resamples` draws of the queries.
    """
    rng = np.random.default_rng(seed)
    drawn_RN = ranks_N[rng.integers(len(ranks_N), size=(resamples, len(ranks_N)))]
    result: dict[str, Any] = {"queries": len(ranks_N), "median_rank": float(np.median(ranks_N))}
    for top in TOP:
        result[f"top{top}"] = 100 * float((ranks_N <= top).mean())
        low, high = np.quantile(100 * (drawn_RN <= top).mean(1), [0.025, 0.975])
        result[f"top{top}_interval"] = [float(low), float(high)]
    return result


def chance(pool: int) -> dict[str, Any]:
    """Return what guessing reaches in a pool of so many candidates, in percent."""
    shares = {f"top{top}": 100 * min(top, pool) / pool for top in TOP}
    return {"median_rank": (pool + 1) / 2, **shares}
