"""The jobs behind a TriBERT's table: its baselines, and the evaluation of all. Loads no torch.

In: a store and the name of a published TriBERT. Out: `TrainJob`s of baselines that share its
snapshot, stages, seed, mixes, steps and batch, and the `EvaluateJob` of all of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import get_args

from model.jobs import EvaluateJob, TrainJob
from model.separation.config import RECIPE, RECIPE_VERSION, System, twin
from model.tribert.config import Config as TribertConfig
from model.tribert.described import tribert_record
from model.tribert.evaluation_config import EVALUATION_VERSION, EvaluationConfig
from storage.layout import Layout

SYSTEMS: tuple[System, ...] = get_args(System)


def baseline_jobs(
    layout: Layout, tribert: str, systems: Sequence[System] = SYSTEMS, *, device: str = "auto"
) -> list[TrainJob]:
    """Return the training jobs of a TriBERT's baselines, with its snapshot, stages and seed.

    Raises
    ------
    storage.errors.ItemNotFound
        There is no such model.
    SeparationError
        It is a model of another recipe.
    """
    record = tribert_record(layout, tribert)
    config = TribertConfig.from_json(record.configuration)
    return [
        TrainJob.beside(
            layout,
            record,
            recipe=RECIPE,
            recipe_version=RECIPE_VERSION,
            configuration=twin(config, system).as_json(),
            seed=record.seed,
            device=device,
        )
        for system in systems
    ]


def table_job(
    layout: Layout,
    tribert: str,
    baselines: Sequence[str],
    settings: EvaluationConfig,
    *,
    device: str = "auto",
) -> EvaluateJob:
    """Return the evaluation of a TriBERT and of published baselines on its own test items.

    Raises as `baseline_jobs`.
    """
    return EvaluateJob.beside(
        layout,
        tribert_record(layout, tribert),
        what="separation",
        version=EVALUATION_VERSION,
        models=[tribert, *baselines],
        configuration=settings.as_json(),
        device=device,
    )
