"""The models of a run: their configurations, their jobs, and whether they are there.

Flows in: presets (`model/<recipe>/config.py`), the dataset's own overrides, luigi.cfg. Flows
out: `TrainJob`s and `EvaluateJob`s, by which the trainer and the evaluator know what to do.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from model.jobs import EvaluateJob, TrainJob
from storage.models import ModelRecord, list_models, model_complete, read_model
from tasks.context import DEMO_SOURCES, POSE_EMBED, Context, stages_needed
from tasks.settings import SettingsError, TribertSettings
from tasks.snapshots import Choice, choose

POSE_MODEL = "stgcn"
EVALUATIONS = {"tribert": "separation", "avvp": "parsing"}
CONTROL = "label_permutation"
MICRO = ("demo:micro", "synthmusic:micro", "synthmusic11:micro")
MICRO_STEPS = {"stgcn": 8, "tribert": 8, "avvp": 20}
"""The micro datasets show that everything runs; their models learn next to nothing."""
MICRO_SEPARATION = {"pairs": 2, "examples": 1}


def configuration(context: Context, recipe: str) -> dict[str, Any]:
    """Return a recipe's configuration: preset, then the dataset's overrides, then luigi.cfg.

    Raises
    ------
    SettingsError
        An unknown preset.
    """
    module = importlib.import_module(f"model.{recipe}.config")
    chosen = context.settings.models[recipe]
    if chosen.preset not in module.presets:
        raise SettingsError(
            f"luigi.cfg: [{recipe}] preset = {chosen.preset!r}: "
            f"expected one of {', '.join(sorted(module.presets))}"
        )
    values = module.presets[chosen.preset].as_json()
    values = merged(values, context.dataset.preset.get(recipe, {}))
    if recipe == "tribert":
        tribert = context.settings.tribert
        values = merged(
            values, {"data": {"spectrogram": tribert.spectrogram, "flip": tribert.flip}}
        )
        if tribert.audio_encoder == "vggish":
            values = merged(values, module.vggish_override(values["data"]["spec_frames"]))
        values = merged(values, _fine_tuning(tribert))
        values = merged(values, {"optim": tribert.training})
    steps = chosen.max_steps or (MICRO_STEPS[recipe] if is_micro(context) else 0)
    if steps:
        values = merged(values, module.steps_override(steps))
    return module.Config.from_json(values).as_json()


def _fine_tuning(tribert: TribertSettings) -> dict[str, Any]:
    """Return the settings of a TriBERT that starts from a published one, or nothing."""
    from model.tribert.config import InitialConfig, finetune_override

    if not tribert.initial:
        return {}
    initial = InitialConfig(
        model=tribert.initial,
        maps=tribert.initial_maps,  # type: ignore[arg-type]
        overlap=tribert.initial_overlap,  # type: ignore[arg-type]
    )
    return finetune_override(tribert.preset, initial)


def is_micro(context: Context) -> bool:
    """Whether the run is on the micro demo."""
    return context.dataset.name in MICRO


def merged(values: Mapping[str, Any], overrides: Mapping[str, Any]) -> dict[str, Any]:
    """Return nested `values` with `overrides` on top."""
    result = dict(values)
    for key, value in overrides.items():
        nested = isinstance(value, Mapping) and isinstance(result.get(key), Mapping)
        result[key] = merged(result[key], value) if nested else value
    return result


def stage_names(context: Context, recipe: str) -> dict[str, str]:
    """Return stage -> `name-<fingerprint>` for what a model reads.

    Raises
    ------
    LookupError
        The recipe reads pose_embed and no ST-GCN is pinned yet.
    """
    needed = ("pose",) if recipe == POSE_MODEL else stages_needed(recipe, context.settings)
    return {name: context.resolved(name).record.name for name in needed}


def draft_job(context: Context, recipe: str, *, permuted: bool = False) -> TrainJob:
    """Return a recipe's training job, its snapshot not chosen yet."""
    version = importlib.import_module(f"model.{recipe}.config").RECIPE_VERSION
    values = configuration(context, recipe)
    if permuted:
        values[CONTROL] = True
    chosen = context.settings.models[recipe]
    return TrainJob(
        recipe=recipe,
        recipe_version=version,
        configuration=values,
        seed=chosen.seed,
        stages=stage_names(context, recipe),
        snapshot="",
        dataset=context.name,
        store_root=context.layout.root,
        run_dir=context.layout.root,
        device=context.settings.run.device,
        loader_workers=chosen.loader_workers,
        weights_dir=context.settings.run.weights_dir,
    )


def chosen_job(
    context: Context, recipe: str, *, latest: bool, permuted: bool = False
) -> tuple[TrainJob, Choice]:
    """Return a recipe's training job with its snapshot, and how the snapshot was chosen."""
    draft = draft_job(context, recipe, permuted=permuted)
    served = "tribert" if recipe == POSE_MODEL else recipe
    choice = choose(context, draft.record, served, latest=latest)
    job = replace(draft, snapshot=choice.snapshot)
    return replace(job, run_dir=context.layout.run(job.name)), choice


def is_trained(context: Context, job: TrainJob) -> bool:
    """Whether the job's model is published."""
    return model_complete(context.layout, job.name)


def evaluation_job(context: Context, recipe: str, jobs: list[TrainJob]) -> EvaluateJob:
    """Return the evaluation of a recipe's model on its snapshot's test items.

    `jobs` trained the model, then its control or the baselines beside it.
    """
    what = EVALUATIONS[recipe]
    extra = sorted(context.closure(stages_needed(recipe, context.settings)) - {POSE_EMBED})
    stages = {**{s: context.stages[s].record.name for s in extra}, **jobs[0].stages}
    version, settings = _evaluation_settings(context, recipe, alone=len(jobs) == 1)
    return EvaluateJob.beside(
        context.layout,
        replace(jobs[0].record, stages=stages),
        what=what,
        version=version,
        models=[j.name for j in jobs],
        configuration=settings,
        device=context.settings.run.device,
    )


def published_records(context: Context, recipe: str) -> list[ModelRecord]:
    """Return the records of the dataset's published models of a recipe."""
    records = [
        ModelRecord.from_json(read_model(context.layout, name)["record"])
        for name in list_models(context.layout)
    ]
    return [r for r in records if r.recipe == recipe and r.dataset == context.name]


def _evaluation_settings(
    context: Context, recipe: str, *, alone: bool
) -> tuple[int, dict[str, Any]]:
    """Return the declared version of a recipe's figures, and how they are taken.

    Beside baselines stand the rows, too, that need no training.
    """
    if recipe == "avvp":
        from model.avvp.config import EVALUATION_VERSION

        return EVALUATION_VERSION, {}
    from model.tribert.evaluation_config import EVALUATION_VERSION, ORACLES, evaluation_presets

    settings = evaluation_presets[context.settings.models[recipe].preset].as_json()
    settings |= {} if alone else {"oracles": list(ORACLES), "nmf": True}
    return EVALUATION_VERSION, settings | (MICRO_SEPARATION if is_micro(context) else {})


def wants_control(context: Context, recipe: str) -> bool:
    """Whether the recipe's control (the same network on permuted labels) is trained too.

    The demo does: its report shows that the figures come from the labels.
    """
    return recipe == "avvp" and context.dataset.name in DEMO_SOURCES
