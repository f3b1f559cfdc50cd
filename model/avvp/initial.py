"""Where a pre-trained parsing network starts: a published model of audio-visual grounding.

In: `Config.initial`, the test ids and stages of the new training. Out: a `Source` whose weights go
into the network's transformer. The source's name is part of the configuration, and so of the new
model's fingerprint.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from torch import Tensor

from model.avg.config import Config as GroundingConfig
from model.avg.jobs import published_grounding
from model.avvp.config import Config
from model.avvp.data import Scale
from model.avvp.pretrained import MOTION, Pretrained
from model.settings import ConfigError
from model.train.errors import RecipeError
from model.train.publish import read_weights
from pipeline.datasets.leaks import leak_report
from storage.fingerprint import json_differences
from storage.layout import Layout
from storage.models import read_model

ENCODER = "encoder."
"""Start of the names of the transformer's weights in a published model."""

log = logging.getLogger("model.avvp.initial")


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """A published grounding model to start from, and what it has seen."""

    name: str
    state: Mapping[str, Tensor]
    """Weights of the encoder, without motion"""
    scale: Scale | None
    ids: tuple[str, ...]
    """Of the items it was trained or selected on, sorted"""

    def load_into(self, network: Pretrained) -> None:
        """Give the network's transformer the weights; tokens of motion start anew.

        Raises
        ------
        RecipeError
            The weights do not fit.
        """
        own = {
            name: tensor
            for name, tensor in network.encoder.state_dict().items()
            if not name.startswith(MOTION)
        }
        wrong = [
            name
            for name in sorted(own.keys() | self.state.keys())
            if name not in own
            or name not in self.state
            or own[name].shape != self.state[name].shape
        ]
        if wrong:
            raise RecipeError(
                f"{self.name}: {len(wrong)} of its tensors do not fit the network (the first: "
                f"{wrong[0]}); it was published by other software: train it again"
            )
        network.encoder.load_state_dict(self.state, strict=False)

    def over(self, scale: Scale | None) -> Scale | None:
        """Return the scale of a parsing training, with the source's own where it has one."""
        if scale is None or self.scale is None:
            return scale
        return replace(
            scale,
            mean={**scale.mean, **self.scale.mean},
            deviation={**scale.deviation, **self.scale.deviation},
        )


def read_source(
    layout: Layout, config: Config, *, stages: Mapping[str, str], test_ids: Sequence[str]
) -> Source | None:
    """Return what `config.initial` names, or None where the network is no pre-trained one.

    Parameters
    ----------
    layout
    config
        Of the parsing network.
    stages
        That its training reads. Where they are not the source's, that is told: features that were
        published and such that were extracted here may stand for each other, but need not.
    test_ids
        Items that are tested on.

    Raises
    ------
    storage.errors.ItemNotFound
        There is no such model.
    RecipeError
        It is a model of another recipe, size or objective, it read scaled features where the
        parsing network does not or the other way round, or it has seen a test video.
    """
    if config.network != "pretrained":
        return None
    if not config.initial:
        raise ConfigError(
            "avvp.initial='': network 'pretrained' starts from a published model; name one of "
            "the recipe 'avg' (python -m model.avg.pretrain trains one)"
        )
    grounding = published_grounding(layout, config.initial)
    _refuse_other(config, grounding)
    described = read_model(layout, config.initial)
    ids = tuple(sorted({i for ids in described["ids_used"].values() for i in ids}))
    for leak in leak_report({config.initial: ids}, {"test": test_ids}):
        raise RecipeError(
            f"{config.initial} was trained or selected on {len(leak.ids)} of the test videos (the "
            f"first: {leak.ids[0]}): pre-train without them ([lists] exclude, audioset_exclude)"
        )
    for stage, read in described["record"]["stages"].items():
        if stages.get(stage) != read:
            log.warning("%s read %s, this training %s", config.initial, read, stages.get(stage))
    weights = read_weights(layout, config.initial)
    scale = Scale(mean=_named(weights, "mean_"), deviation=_named(weights, "deviation_"))
    return Source(
        name=config.initial,
        state=_named(weights, ENCODER),
        scale=scale if grounding.standardise else None,
        ids=ids,
    )


def _refuse_other(config: Config, grounding: GroundingConfig) -> None:
    """Raise RecipeError where the settings of the two models do not go together."""
    asked: dict[str, Any] = {
        "encoder": config.encoder.as_json(),
        "grounding": config.grounding or grounding.objective,
        "standardise": config.standardise,
    }
    has = {
        "encoder": {**grounding.encoder.as_json(), "dropout": config.encoder.dropout},
        "grounding": grounding.objective,
        "standardise": grounding.standardise,
    }
    if differing := json_differences(has, asked):
        raise RecipeError(
            f"{config.initial} is another model than this training asks for: "
            f"{'; '.join(differing[:4])}; give avvp.encoder, grounding and standardise its values"
        )


def _named(weights: Mapping[str, Tensor], start: str) -> dict[str, Tensor]:
    """Return the weights whose names begin with `start`, by the rest of the name."""
    return {n.removeprefix(start): w for n, w in weights.items() if n.startswith(start)}
