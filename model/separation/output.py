"""What an evaluation of separation leaves behind: the summary of its rows and a file of its pairs.

In: judged mixes. Out: JSON values and `pairs.csv`. Means are over pairs, never over batches.
"""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from model.separation.scoring import Judged
from model.separation.statistics import bootstrap_interval, paired_interval
from model.tribert.metrics import mean

METRICS = ("sdr", "sir", "sar")
PAIRS_FILE = "pairs.csv"


def summary(judged: Sequence[Judged], *, seed: int) -> dict[str, dict[str, Any]]:
    """Return for each row its means over pairs and what they are worth.

    `sdr`, `sir`, `sar` count an empty prediction as the mixture, `pairs` is their number, `silent`
    that of empty predictions, `interval_95` the bootstrap interval of each mean. `official` has
    the same means over the pairs without an empty prediction, as the published scripts take
    them (None where no pair is left); `permutation` says how estimates were named.
    """
    return {row: _row(judged, row, seed) for row in judged[0].rows}


def _row(judged: Sequence[Judged], row: str, seed: int) -> dict[str, Any]:
    found = [each.rows[row] for each in judged]
    filled = [each.scores for each in found if not any(each.silent)]
    return {
        **mean([each.scores for each in found]),
        "pairs": len(found),
        "silent": sum(sum(each.silent) for each in found),
        "interval_95": {
            metric: _interval(per_pair(judged, row, metric), seed) for metric in METRICS
        },
        "official": {
            **(mean(filled) if filled else dict.fromkeys(METRICS)),
            "pairs": len(filled),
        },
        "permutation": found[0].permutation,
    }


def _interval(values: Sequence[float], seed: int) -> list[float] | None:
    """Return the interval, None where a figure is infinite (a clip mixed with itself)."""
    return list(bootstrap_interval(values, seed=seed)) if np.isfinite(values).all() else None


def per_pair(judged: Sequence[Judged], row: str, metric: str) -> list[float]:
    """Return one figure a pair: the mean over the sources of the mix."""
    return [float(np.mean(getattr(each.rows[row].scores, metric))) for each in judged]


def differences(judged: Sequence[Judged], first: str, *, seed: int) -> dict[str, dict[str, Any]]:
    """Return for every other row how far `first` lies above it in SDR on the same pairs.

    `sdr` is the mean difference, `interval_95` its paired bootstrap interval.
    """
    own = per_pair(judged, first, "sdr")
    found = {}
    for row in judged[0].rows:
        if row != first:
            other = per_pair(judged, row, "sdr")
            finite = np.isfinite([own, other]).all()
            interval = list(paired_interval(own, other, seed=seed)) if finite else None
            value = float(np.mean(own) - np.mean(other))
            found[row] = {"sdr": value, "interval_95": interval}
    return found


def pair_json(each: Judged, predicted: str) -> dict[str, Any]:
    """Return one mix as JSON values; `silent` tells what of the row `predicted` was empty."""
    first, second = each.pair
    orders = {row: list(r.order) for row, r in each.rows.items() if r.permutation == "best"}
    return {
        "a": first,
        "b": second,
        "rows": {row: found.scores.as_json() for row, found in each.rows.items()},
        "silent": list(each.rows[predicted].silent),
        "silent_rows": {row: list(r.silent) for row, r in each.rows.items() if any(r.silent)},
        "orders": orders,
    }


def write_pairs(folder: Path, judged: Sequence[Judged]) -> Path:
    """Write `pairs.csv`, one line a pair and row, and return its path.

    Columns: pair (from 0), a, b, row, permutation, then sdr, sir, sar as means over the sources
    in dB with empty predictions counted as the mixture, the same of each source (`sdr_a`, ...),
    `silent_a`, `silent_b` (1 where the prediction was empty) and `official` (0: the published
    scripts would skip the pair).
    """
    path = folder / PAIRS_FILE
    sides = ("a", "b")
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(
            ["pair", *sides, "row", "permutation", *METRICS]
            + [f"{metric}_{side}" for metric in METRICS for side in sides]
            + [f"silent_{side}" for side in sides]
            + ["official"]
        )
        for number, each in enumerate(judged):
            for row, found in each.rows.items():
                values = found.scores.as_json()
                writer.writerow(
                    [number, *each.pair, row, found.permutation]
                    + [repr(float(np.mean(values[metric]))) for metric in METRICS]
                    + [repr(value) for metric in METRICS for value in values[metric]]
                    + [int(empty) for empty in found.silent]
                    + [int(not any(found.silent))]
                )
    return path
