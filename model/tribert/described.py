"""What the `model.json` of a published TriBERT says: its classes, what it has seen. Loads no torch.

In: a model's name. Out: its description. What a model has seen includes what the models that it
started from have seen.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from model.tribert.errors import SeparationError
from pipeline.datasets.leaks import Leak, leak_report
from storage.layout import Layout
from storage.models import ModelRecord, read_model

RECIPE = "tribert"


def read_tribert(layout: Layout, name: str) -> dict[str, Any]:
    """Return the `model.json` of a published TriBERT.

    Raises
    ------
    storage.errors.ItemNotFound
        There is no such model.
    SeparationError
        It is a model of another recipe.
    """
    described = read_model(layout, name)
    if described["record"]["recipe"] != RECIPE:
        raise SeparationError(
            f"{name}: expected a model of the recipe {RECIPE!r}, it is one of "
            f"{described['record']['recipe']!r}; name a published TriBERT"
        )
    return described


def tribert_record(layout: Layout, name: str) -> ModelRecord:
    """Return the record of a published TriBERT; raises as `read_tribert`."""
    return ModelRecord.from_json(read_tribert(layout, name)["record"])


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
