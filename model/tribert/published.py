"""A published TriBERT, ready to be used: its settings, its classes, its network.

In: a model's name. Out: a `Published`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from model.train.publish import read_weights
from model.tribert.config import Config
from model.tribert.described import class_names_of, read_tribert
from model.tribert.network import TriBERT
from storage.layout import Layout


@dataclass(frozen=True, slots=True, kw_only=True)
class Published:
    """What `model.json` and the weights of a TriBERT say."""

    name: str
    config: Config
    classes: tuple[str, ...]
    map_classes: tuple[str, ...]
    """Of the attention maps: others than `classes` where fine-tuning kept the maps."""
    stages: Mapping[str, str]
    network: TriBERT
    """In evaluation mode, on the CPU."""


def load_published(layout: Layout, name: str) -> Published:
    """Return a published TriBERT with its weights.

    Raises
    ------
    storage.errors.ItemNotFound
        There is no such model.
    SeparationError
        It is a model of another recipe.
    """
    described = read_tribert(layout, name)
    config = Config.from_json(described["record"]["configuration"])
    classes, map_classes = class_names_of(described)
    network = TriBERT(config, len(classes), map_classes=len(map_classes))
    network.load_state_dict(read_weights(layout, name))
    return Published(
        name=name,
        config=config,
        classes=classes,
        map_classes=map_classes,
        stages=described["record"]["stages"],
        network=network.eval(),
    )
