"""Trainings of grounding models, and what a parsing row says of the one it starts from.

In: where to train (a dataset's snapshot and stages), an objective, settings. Out: a `TrainJob`; the
parsing `Config` with what depends on it filled in. Loads no torch.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from model.avg.config import OBJECTIVES, RECIPE_VERSION, Config, objective_config, stages_needed
from model.avvp.config import Config as ParsingConfig
from model.jobs import TrainJob
from model.settings import ConfigError
from storage.layout import Layout
from storage.models import ModelRecord, read_model

RECIPE = "avg"
BESIDE_PRESET = {"tiny": "tiny", "release": "release"}
"""Preset of the parsing rows -> that of what they start from; 'paper' for others."""


def grounding_job(
    layout: Layout,
    config: Config,
    *,
    dataset: str,
    snapshot: str,
    stages: Mapping[str, str],
    seed: int,
    device: str = "auto",
) -> TrainJob:
    """Return the training of a grounding model.

    Parameters
    ----------
    layout, config
    dataset, snapshot : str
        Name of the dataset, digest of its items.
    stages
        Stage -> `<stage>-<fingerprint>`; of these, vggish and resnet152 are read.
    seed : int
    device : str
        As `TrainJob` has it.
    """
    return TrainJob.on(
        layout,
        dataset=dataset,
        snapshot=snapshot,
        stages={stage: stages[stage] for stage in stages_needed},
        recipe=RECIPE,
        recipe_version=RECIPE_VERSION,
        configuration=config.as_json(),
        seed=seed,
        device=device,
    )


def row_grounding(
    row: ParsingConfig, preset: str, settings: Mapping[str, Any] | None = None
) -> Config:
    """Return the configuration of the grounding model that a parsing row starts from.

    Parameters
    ----------
    row
        The row's configuration; its objective and whether it standardises features are followed.
    preset : str
        Of the row; 'tiny' and 'release' start from models of the same name, others from 'paper'.
    settings
        Of the grounding model, over those of its preset; `preset` names another one.

    Raises
    ------
    ConfigError
        No such preset or setting.
    """
    changes = {"standardise": row.standardise, **(settings or {})}
    chosen = str(changes.pop("preset", BESIDE_PRESET.get(preset, "paper")))
    return objective_config(row.grounding, chosen, changes)


def started_from(row: ParsingConfig, name: str, config: Config) -> ParsingConfig:
    """Return a parsing row's configuration that starts from the grounding model `name`."""
    return replace(row, initial=name, encoder=config.encoder, grounding=config.objective)


def published_grounding(layout: Layout, name: str) -> Config:
    """Return the configuration of a published grounding model.

    Raises
    ------
    storage.errors.ItemNotFound
        There is no such model.
    ConfigError
        It is a model of another recipe.
    """
    record = ModelRecord.from_json(read_model(layout, name)["record"])
    if record.recipe != RECIPE:
        raise ConfigError(
            f"{name}: expected a model of the recipe {RECIPE!r}, it is one of {record.recipe!r}; "
            "name a published grounding model"
        )
    return Config.from_json(record.configuration)


def split_settings(settings: Mapping[str, Any]) -> tuple[dict[str, str], dict[str, Any]]:
    """Return which published models rows start from, objective -> name, and the other settings.

    Raises
    ------
    ConfigError
        `models` names an objective that does not exist.
    """
    others = dict(settings)
    models = others.pop("models", {})
    if not isinstance(models, Mapping) or (set(models) - set(OBJECTIVES)):
        raise ConfigError(
            f"pre-training: models={models!r}: expected objective -> name of a published model, "
            f"objectives being {', '.join(OBJECTIVES)}"
        )
    return dict(models), others
