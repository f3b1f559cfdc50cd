"""The models that stand beside a run's TriBERT: its baselines, and the scorers of retrieval.

Flows in: what [tribert] asks for, and the name of the published TriBERT. Flows out: `TrainJob`s and
the `EvaluateJob` of retrieval. A dataset that trains no TriBERT has none of them.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, cast

from model.jobs import EvaluateJob, TrainJob
from model.retrieval.config import Config as RetrievalConfig
from model.retrieval.config import presets as retrieval_presets
from model.retrieval.config import steps_override
from model.retrieval.jobs import KINDS, job_for, train_jobs
from model.separation.jobs import baseline_jobs
from model.settings import ConfigError
from tasks.context import Context
from tasks.models import MICRO_STEPS, is_micro, merged
from tasks.settings import SettingsError

if TYPE_CHECKING:
    from model.separation.config import System

TRIBERT = "tribert"
MICRO_RETRIEVAL = {"pair_ways": 3, "pair_skips": 0, "hidden": [16]}
"""The micro demo has few clips to be told from."""


def baseline_systems(context: Context) -> tuple[System, ...]:
    """Return the baselines that the run trains, in the order of the table."""
    return context.settings.tribert.systems if TRIBERT in context.recipes else ()


def wants_retrieval(context: Context) -> bool:
    """Whether the run trains and judges retrieval."""
    return context.settings.tribert.retrieval and TRIBERT in context.recipes


def baseline_job(context: Context, tribert: str, system: str) -> TrainJob:
    """Return the job of one baseline of a published TriBERT.

    Raises
    ------
    SettingsError
        The baseline cannot be trained with this TriBERT's settings.
    """
    try:
        (job,) = baseline_jobs(
            context.layout,
            tribert,
            [cast("System", system)],
            device=context.settings.run.device,
        )
    except ConfigError as error:
        raise SettingsError(
            f"[tribert] baselines: {system} cannot stand beside {tribert}: {error}; leave it out"
        ) from error
    return replace(job, loader_workers=context.settings.tribert.loader_workers)


def scorer_job(context: Context, tribert: str, kind: int) -> TrainJob:
    """Return the job of retrieval's scorer on the embeddings `KINDS[kind]`."""
    chosen = context.settings.tribert
    jobs = train_jobs(
        context.layout,
        tribert,
        RetrievalConfig.from_json(_retrieval_settings(context)),
        seed=chosen.seed,
        device=context.settings.run.device,
    )
    return jobs[kind]


def retrieval_job(context: Context, scorers: list[str]) -> EvaluateJob:
    """Return the evaluation of published scorers on the test items of their own snapshot."""
    return job_for(context.layout, scorers, device=context.settings.run.device)


def kind_name(kind: int) -> str:
    """Return what a scorer's embeddings are, such as `transformer, joint`."""
    return ", ".join(KINDS[kind].values())


def _retrieval_settings(context: Context) -> dict[str, Any]:
    """Return the settings for embeddings of this size: small ones for the preset `tiny`."""
    size = "tiny" if context.settings.tribert.preset == "tiny" else "paper"
    values = retrieval_presets[size].as_json()
    if is_micro(context):
        values = merged(values, {**steps_override(MICRO_STEPS[TRIBERT]), **MICRO_RETRIEVAL})
    return values
