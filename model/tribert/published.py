"""A published TriBERT, ready to be used: its settings, its classes, its network, what it has seen.

In: a model's name. Out: a `Published`. What a model has seen includes what the models that it
started from have seen.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from model.train.publish import read_weights
from model.tribert.config import Config
from model.tribert.errors import SeparationError
from model.tribert.network import TriBERT
from pipeline.datasets.leaks import Leak, leak_report
from storage.layout import Layout
from storage.models import read_model

RECIPE = "tribert"


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


def read_tribert(layout: Layout, name: str) -> dict[str, Any]:
    """Return the `model.json` of a published TriBERT; raises as `load_published`."""
    described = read_model(layout, name)
    if described["record"]["recipe"] != RECIPE:
        raise SeparationError(
            f"{name}: expected a model of the recipe {RECIPE!r}, it is one of "
            f"{described['record']['recipe']!r}; name a published TriBERT"
        )
    return described


def class_names_of(described: Mapping[str, Any]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the classes of the heads and of the attention maps that a `model.json` names."""
    classes = tuple(described["classes"])
    return classes, tuple(described.get("summary", {}).get("map_classes", classes))


def seen_items(layout: Layout, name: str, *, admitted: bool = True) -> list[str]:
    """Return the ids, sorted, that a model was trained or validated on.

    The models that it started from, or whose embeddings it reads, count with all that they saw;
    without `admitted` not those that a fine-tuning was allowed to start from although they saw test
    videos (`initial.overlap`).
    """
    seen: set[str] = set()
    waiting, known = [name], {name}
    while waiting:
        described = read_model(layout, waiting.pop())
        used = described["ids_used"]
        seen.update(used.get("train", ()), used.get("val", ()))
        sources = set(_sources(described["record"]["configuration"], admitted)) - known
        known |= sources
        waiting.extend(sorted(sources))
    return sorted(seen)


def _sources(configuration: Mapping[str, Any], admitted: bool) -> Iterable[str]:
    """Return the names of the models that a configuration builds on."""
    initial = configuration.get("initial", {})
    follow = admitted or initial.get("overlap") != "allow"
    names = (initial.get("model", "") if follow else "", configuration.get("tribert", ""))
    return [name for name in names if name]


def seen_of(
    layout: Layout, name: str, test_ids: Iterable[str], *, admitted: bool = True
) -> Leak | None:
    """Return which test videos a model has seen, or None; `admitted` as in `seen_items`.

    Videos are compared, not windows: another window of a test video gives it away, too.
    """
    seen = seen_items(layout, name, admitted=admitted)
    leaks = leak_report({name: seen}, {"test": tuple(test_ids)})
    return leaks[0] if leaks else None
