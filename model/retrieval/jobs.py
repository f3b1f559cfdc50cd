"""The jobs behind a TriBERT's retrieval table: scorers, and their evaluation. Loads no torch.

In: a store and the name of a published TriBERT. Out: `TrainJob`s of one scorer a kind of embedding,
on the TriBERT's own snapshot and stages, and the `EvaluateJob` of published scorers.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from model.jobs import EvaluateJob, TrainJob
from model.retrieval.config import EVALUATION_VERSION, RECIPE, RECIPE_VERSION, Config
from model.tribert.described import tribert_record
from storage.layout import Layout
from storage.models import ModelRecord, read_model

KINDS: tuple[Mapping[str, str], ...] = (
    {"embedding": "transformer", "protocol": "joint"},
    {"embedding": "transformer", "protocol": "alone"},
    {"embedding": "input", "protocol": "joint"},
)
"""Rows of the table: the paper's, the leak-free one, the paper's baseline."""


def train_jobs(
    layout: Layout, tribert: str, config: Config, *, seed: int = 0, device: str = "auto"
) -> list[TrainJob]:
    """Return the jobs of a table's scorers, one a kind of embedding.

    Parameters
    ----------
    tribert
        Name of the published TriBERT; its snapshot and stages are taken over.
    config
        `tribert`, `embedding` and `protocol` are filled in.

    Raises
    ------
    storage.errors.ItemNotFound
        There is no such model.
    SeparationError
        It is a model of another recipe.
    """
    record = tribert_record(layout, tribert)
    configs = [replace(config, tribert=tribert, **kind) for kind in KINDS]  # type: ignore[arg-type]
    return [
        TrainJob.beside(
            layout,
            record,
            recipe=RECIPE,
            recipe_version=RECIPE_VERSION,
            configuration=each.as_json(),
            seed=seed,
            device=device,
        )
        for each in configs
    ]


def job_for(layout: Layout, models: Sequence[str], *, device: str = "auto") -> EvaluateJob:
    """Return the evaluation of published scorers on the snapshot that the first was trained on."""
    return EvaluateJob.beside(
        layout,
        ModelRecord.from_json(read_model(layout, models[0])["record"]),
        what=RECIPE,
        version=EVALUATION_VERSION,
        models=models,
        device=device,
    )
