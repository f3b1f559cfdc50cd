"""Which items a model is trained and tested on, and whether a finished model still stands.

Flows in: the dataset's view and the outcomes of the stages that a recipe reads. Flows out: the
items of a snapshot, with their splits and labels. A finished model is kept when items are added;
a changed label or split makes a new snapshot, and with it a new model.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from model.jobs import TrainJob
from pipeline.datasets.leaks import leak_report
from storage import DatasetItem
from storage.errors import StageNotFound
from storage.models import (
    ModelRecord,
    list_models,
    read_model,
    read_snapshot,
    snapshot_digest,
    write_snapshot,
)
from tasks.context import Context, serves
from tasks.splits import items_with_splits

SPLITS = ("train", "val", "test")


class TooFewItems(Exception):
    """A model cannot be trained: a split or a class has fewer items than `min_items`."""


class LeakedTestVideos(Exception):
    """The lists train a model on videos that it is tested on."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """The snapshot a model belongs to, and how many usable items it does not hold."""

    snapshot: str
    newer_items: int
    model: str | None = None


def usable_items(context: Context, recipe: str, stages: Sequence[str]) -> list[DatasetItem]:
    """Return the recipe's labelled items whose every stage in `stages` (full names) is ok."""
    good: set[str] | None = None
    for name in stages:
        try:
            ids = set(context.store.items(name))
        except StageNotFound:
            ids = set()
        good = ids if good is None else good & ids
    serving = {e.item.item_id for e in context.dataset.items if serves(e, recipe)}
    return [
        i
        for i in items_with_splits(context)
        if i.item_id in serving and i.labels and i.split and i.item_id in (good or set())
    ]


def choose(
    context: Context, draft: ModelRecord, served: str, *, latest: bool, write: bool = True
) -> Choice:
    """Return the snapshot to use for a model like `draft` (whose own snapshot is ignored).

    `served` is the recipe whose items the model is trained on; without `write` a new snapshot is
    named but not put into the store.

    A published model of the same recipe, configuration and stages stands as long as its items
    have the labels and splits that they have now, unless `latest` asks for the newest items.
    """
    items = usable_items(context, served, list(draft.stages.values()))
    if not latest:
        kept = _standing_model(context, draft, items)
        if kept is not None:
            return kept
    digest = snapshot_digest(items)
    if write:
        write_snapshot(context.layout, context.name, items)
    return Choice(snapshot=digest, newer_items=0)


def check_enough(context: Context, recipe: str, items: Sequence[DatasetItem]) -> None:
    """Raise when a model cannot be trained from `items`.

    Raises
    ------
    TooFewItems
        Fewer than two classes, or a class or split below `min_items`; the message says which.
    """
    least = context.settings.run.min_items
    splits = Counter(i.split for i in items)
    classes = Counter(label for i in items if i.split == "train" for label in i.labels)
    wrong = [f"{splits[s]} {s} items" for s in SPLITS if splits[s] < least]
    wrong += [f"{n} training items of {c}" for c, n in classes.items() if n < least]
    if len(classes) < 2:
        wrong.append(f"{len(classes)} class(es) among the training items, 2 needed")
    if wrong:
        raise TooFewItems(
            f"{context.dataset.name}: not enough to train {recipe}: {'; '.join(wrong)} "
            f"(min_items = {least}). Add videos or labels, or run with --recipe features."
        )


def check_leaks(context: Context, items: Sequence[DatasetItem]) -> None:
    """Raise when a video is both trained and tested on.

    Raises
    ------
    LeakedTestVideos
        The lists put videos into both parts; the message names them and says how to go on.
    """
    used = {item.item_id for item in items}
    trained = [item.item_id for item in items if item.split != "test"]
    trained += [item_id for item_id in context.dataset.overlap if item_id in used]
    tested = [item.item_id for item in items if item.split == "test"]
    leaks = leak_report({"train": trained}, {"test": tested})
    leaked = sorted({video for leak in leaks for video in leak.ids})
    if leaked:
        named = ", ".join(leaked[:10]) + (", ..." if len(leaked) > 10 else "")
        raise LeakedTestVideos(
            f"{context.dataset.name}: {len(leaked)} video(s) are listed for training and for the "
            f"test: {named}. Set [lists] overlap to 'test' (they are only tested on) or 'train' "
            "(they are only trained on) and start the run again."
        )


def _standing_model(
    context: Context, draft: ModelRecord, items: Sequence[DatasetItem]
) -> Choice | None:
    """Return the published model with the most items that agree with the present labels."""
    now = {i.item_id: i for i in items_with_splits(context)}
    best: tuple[int, Choice] | None = None
    for name in list_models(context.layout):
        record = ModelRecord.from_json(read_model(context.layout, name)["record"])
        if replace(record, snapshot="") != replace(draft, snapshot=""):
            continue
        held = read_snapshot(context.layout, record.dataset, record.snapshot)
        if not still_stands(held, now):
            continue
        ids = {i.item_id for i in held}
        newer = sum(i.item_id not in ids for i in items)
        if best is None or len(held) > best[0]:
            best = len(held), Choice(snapshot=record.snapshot, newer_items=newer, model=name)
    return best[1] if best else None


def still_stands(held: Sequence[DatasetItem], now: Mapping[str, DatasetItem]) -> bool:
    """Whether a snapshot's items that are listed now have the labels and splits they have there."""
    return all(now.get(item.item_id, item) == item for item in held)


def read_items(context: Context, job: TrainJob) -> list[DatasetItem]:
    """Return the items of a job's snapshot."""
    return read_snapshot(context.layout, job.dataset, job.snapshot)
