"""Figures of a model under both gates, with and without the class whose labels are wrong most.

In: predictions and truths of test clips; later the figures of several seeds. Out: figures by view,
and the text of a table of Type@AV. Light: no torch.

LLP's tag Speech is not seen in four of five clips, and it is the commonest: a gain may be nothing
but that. Views: all classes; all but Speech; Speech alone (a clip without it scores 100); and all
classes with visual Speech struck from the answers, a rule that needs no training.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import mean, stdev
from typing import Any

import numpy as np

from model.avvp.metrics import LEVELS, parsing_scores
from model.text import aligned

NOISY = "Speech"
ALL = "all classes"
WITHOUT = f"without {NOISY}"
ALONE = f"{NOISY} alone"
STRUCK = f"no visual {NOISY} answered"
VIEWS = (ALL, WITHOUT, ALONE, STRUCK)
GATES = ("video", "modality")


def class_views(
    found_NMCT: np.ndarray, truth_NMCT: np.ndarray, classes: Sequence[str]
) -> dict[str, Any]:
    """Return view -> level -> figures in percent; all classes alone where Speech is none of them.

    Arrays are (clips, modalities, classes, seconds), 0 or 1.
    """
    pairs = {ALL: (found_NMCT, truth_NMCT)}
    if NOISY in classes:
        noisy_C = np.array([name == NOISY for name in classes])
        struck_NMCT = found_NMCT.copy()
        struck_NMCT[:, 1, noisy_C] = 0
        pairs[ALONE] = (found_NMCT[:, :, noisy_C], truth_NMCT[:, :, noisy_C])
        pairs[STRUCK] = (struck_NMCT, truth_NMCT)
        if not noisy_C.all():
            pairs[WITHOUT] = (found_NMCT[:, :, ~noisy_C], truth_NMCT[:, :, ~noisy_C])
    return {view: _levels(*pairs[view]) for view in VIEWS if view in pairs}


def _levels(found: np.ndarray, truth: np.ndarray) -> dict[str, Any]:
    compared = (found[:, 0], found[:, 1], truth[:, 0], truth[:, 1])
    return {level: parsing_scores(*compared, level=level).as_json() for level in LEVELS}


def views_table(rows: Mapping[str, Sequence[Mapping[str, Any]]]) -> str:
    """Return the text of Type@AV by gate and view.

    `rows` maps a row to the views of each seed: gate -> view -> level -> figures.
    """
    parts = []
    for level in LEVELS:
        lines: list[tuple[str, ...]] = [("row", *(f"{g}: {v}" for g in GATES for v in _short))]
        for name, seeds in rows.items():
            cells = []
            for gate in GATES:
                for view in _short.values():
                    have = [
                        one[gate][view][level]["type_at_av"] for one in seeds if view in one[gate]
                    ]
                    cells.append(spread(have))
            lines.append((name, *cells))
        title = f"Type@AV by gate and classes, percent, {level}s"
        parts.append("\n".join([title, *aligned(lines)]))
    return "\n\n".join(parts)


_short = {"all": ALL, f"no {NOISY}": WITHOUT, NOISY: ALONE, "struck": STRUCK}


def spread(values: Sequence[float]) -> str:
    """Return mean ± deviation (of a sample) over the seeds, or the one value."""
    if not values:
        return "-"
    if len(values) == 1:
        return f"{values[0]:.1f}"
    return f"{mean(values):.1f} ± {stdev(values):.1f}"
