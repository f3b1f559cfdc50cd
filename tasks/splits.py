"""Which split an item is in: the list's own, else the one drawn before, else drawn now."""

from __future__ import annotations

from dataclasses import replace

from pipeline.datasets.splits import draw_splits
from storage import DatasetItem
from storage.errors import ItemNotFound
from storage.views import read_dataset_view
from tasks.context import Context


def latest_view(context: Context) -> list[DatasetItem]:
    """Return the items of the dataset's view in the store; none before its first run."""
    try:
        return read_dataset_view(context.layout, context.name)
    except ItemNotFound:
        return []


def items_with_splits(context: Context) -> list[DatasetItem]:
    """Return every item of the dataset with its split.

    A split once drawn is frozen in the dataset's view: items that come later do not move it.
    Items without labels train nothing and keep an empty split.
    """
    items = [entry.item for entry in context.dataset.items]
    drawn = {i.item_id: i.split for i in latest_view(context)}
    known = [i if i.split else replace(i, split=drawn.get(i.item_id, "")) for i in items]
    labelled = [i for i in known if i.labels]
    split = {i.item_id: i.split for i in draw_splits(labelled, seed=context.settings.run.seed)}
    return [replace(i, split=split.get(i.item_id, i.split)) for i in known]
