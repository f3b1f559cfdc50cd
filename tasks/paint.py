"""Figures of a published model, at any time: PNG files in a folder.

Flows in: the store, a model's name, pairs. Flows out: the paper's Figure 3 with attention maps and
poses for a model that separates, its Figure 4 for what retrieval found with it.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from storage.layout import Layout
from storage.models import list_evaluations, read_evaluation, read_model
from tasks.settings import SettingsError

SEPARATES = ("tribert", "separation")
RETRIEVES = ("tribert", "retrieval")


def paint(
    layout: Layout,
    model: str,
    out: Path,
    *,
    pairs: Sequence[tuple[str, str]],
    count: int,
    protocol: str,
    device: str,
) -> list[Path]:
    """Write a model's figures into `out` and return the PNG files that are there then.

    Parameters
    ----------
    pairs
        Items of its snapshot to mix, by id or a part of it; none: `count` test pairs.
    protocol
        How masks are applied and pairs chosen: a name in `evaluation_presets`.

    Raises
    ------
    SettingsError
        A model of another kind, or one of retrieval that has no published evaluation.
    model.tribert.errors.SeparationError
        A pair that cannot be shown.
    """
    recipe = read_model(layout, model)["record"]["recipe"]
    if recipe not in {*SEPARATES, *RETRIEVES}:
        known = ", ".join(dict.fromkeys([*SEPARATES, *RETRIEVES]))
        raise SettingsError(
            f"figures {model}: there are none for the recipe {recipe!r}; name a model of {known}"
        )
    if recipe in RETRIEVES:
        _paint_retrieval(layout, model, recipe, out)
    if recipe in SEPARATES:
        _paint_separation(layout, model, out, pairs, count, protocol, device)
    return sorted(out.glob("*.png"))


def _paint_separation(
    layout: Layout,
    model: str,
    out: Path,
    pairs: Sequence[tuple[str, str]],
    count: int,
    protocol: str,
    device: str,
) -> None:
    from model.tribert.evaluation_config import evaluation_presets
    from model.tribert.show import show
    from tasks.report.examples import separation_example
    from tasks.report.gallery import Gallery

    settings = replace(evaluation_presets[protocol], pairs=count)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        examples = show(layout, model, folder, pairs=pairs, settings=settings, device=device)
        for number, example in enumerate(examples):
            separation_example(folder, example, Gallery(out), f"pair{number}")


def _paint_retrieval(layout: Layout, model: str, recipe: str, out: Path) -> None:
    from tasks.report.examples import retrieval_figures
    from tasks.report.gallery import Gallery

    for name in list_evaluations(layout):
        if not name.startswith("retrieval-"):
            continue
        results = read_evaluation(layout, name)
        if model in _searched(layout, results) and results.get("pictures"):
            retrieval_figures(layout.evaluation(name), results, Gallery(out), "retrieval")
            return
    if recipe == "retrieval":
        raise SettingsError(
            f"figures {model}: no published evaluation with pictures holds it; run `soundstage "
            f"evaluate --model {model} --dataset ...`, or FullPipeline with [tribert] retrieval = "
            "true"
        )


def _searched(layout: Layout, results: Mapping[str, Any]) -> set[str]:
    """Return the scorers of an evaluation, and the TriBERTs whose embeddings they read."""
    scorers = {row["model"] for row in results["rows"]}
    records = [read_model(layout, name)["record"] for name in scorers]
    return scorers | {record["configuration"]["tribert"] for record in records}
