"""A store of features made from class prototypes, with known events, through the storage API."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest

from model.avvp.config import RECIPE_VERSION, Config, presets
from model.jobs import TrainJob
from storage.fingerprint import StageRecord
from storage.layout import Layout, open_store
from storage.models import write_snapshot
from storage.records import ArraySpec, DatasetItem, Event, Outcome, StageSchema, TimeBase
from storage.shard_writer import write_shard
from storage.staging import ItemWriter, stage_failure

SOURCE = "made"
SECONDS = 10
CLASSES = ("Speech", "Dog", "Cello", "Blender", "Cat", "Car")
SIZES = {"vggish": 128, "resnet152": 2048, "r2plus1d": 512}
PER_SECOND = {"vggish": 1, "resnet152": 8, "r2plus1d": 1}
MEDIA = "0" * 64

Rows = Mapping[str, np.ndarray]
"""Stage -> rows of one item."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ParsingStore:
    """A store, its stages, its items and their snapshot."""

    layout: Layout
    stages: Mapping[str, str]
    items: tuple[DatasetItem, ...]
    snapshot: str

    def job(self, run_dir: Path, *, config: Config = presets["tiny"], seed: int = 0) -> TrainJob:
        return TrainJob(
            recipe="avvp",
            recipe_version=RECIPE_VERSION,
            configuration=config.as_json(),
            seed=seed,
            stages=self.stages,
            snapshot=self.snapshot,
            dataset="made",
            store_root=self.layout.root,
            run_dir=run_dir,
            device="cpu",
        )


def write_store(
    root: Path,
    items: Sequence[DatasetItem],
    rows: Callable[[int, DatasetItem], Rows],
    shapes: Mapping[str, tuple[int, ...]] | None = None,
) -> ParsingStore:
    """Publish one shard a stage; a stage that `rows` leaves out failed for that item.

    `shapes` names the stages whose rows are not what they should be.
    """
    layout = open_store(root, create=True)
    found = [rows(number, item) for number, item in enumerate(items)]
    stages = {}
    for stage, size in SIZES.items():
        record = StageRecord(stage=stage, stage_version=1, weights={"network": "random:0"})
        shape = (shapes or {}).get(stage, (size,))
        schema = StageSchema(
            arrays=(ArraySpec(name="feature", dtype="float32", row_shape=shape),), anchor="start"
        )
        base = TimeBase(0.0, 1 / PER_SECOND[stage])
        for item, values in zip(items, found, strict=True):
            path = layout.staged_item(record.name, SOURCE, 0, item.item_id)
            path.parent.mkdir(parents=True, exist_ok=True)
            if stage not in values:
                stage_failure(path, Outcome(item_id=item.item_id, reason="no_audio"), MEDIA)
                continue
            with ItemWriter(path, schema, base, MEDIA, item_id=item.item_id) as writer:
                writer.append({"feature": values[stage].astype(np.float32)})
        ids = [item.item_id for item in items]
        write_shard(layout, record, SOURCE, 0, ids, provenance={}, schema=schema)
        stages[stage] = record.name
    snapshot = write_snapshot(layout, "made", items)
    return ParsingStore(layout=layout, stages=stages, items=tuple(items), snapshot=snapshot)


def made_item(number: int, split: str) -> DatasetItem:
    """A clip with one to three events, each heard, seen, or both, at times of its own."""
    rng = np.random.default_rng([7, number])
    events = []
    for label in rng.choice(CLASSES, size=rng.integers(1, 4), replace=False):
        where = rng.choice(["audio", "visual", "both"], p=[0.25, 0.25, 0.5])
        for modality in ("audio", "visual"):
            if where in (modality, "both"):
                onset = int(rng.integers(0, 5))
                offset = onset + int(rng.integers(3, SECONDS - onset + 1))
                events.append(
                    Event(modality=modality, label=str(label), onset_s=onset, offset_s=offset)
                )
    return DatasetItem(
        item_id=f"{SOURCE}/v{number:04d}/0-{SECONDS * 1000}",
        labels=tuple(sorted({event.label for event in events})),
        split=split,
        events=None if split == "train" else tuple(events),
    )


def made_rows(number: int, item: DatasetItem) -> Rows:
    """The prototype of every event that is on, and noise, for each second of each modality."""
    events = made_item(number, "test").events or ()
    rng = np.random.default_rng([8, number])
    rows = {}
    for stage, size in SIZES.items():
        prototypes = np.random.default_rng([9, size]).normal(size=(len(CLASSES), size))
        modality = "audio" if stage == "vggish" else "visual"
        second = np.zeros((SECONDS, size))
        for event in events:
            if event.modality == modality:
                on = slice(int(event.onset_s), int(event.offset_s))
                second[on] += prototypes[CLASSES.index(event.label)]
        frames = np.repeat(second, PER_SECOND[stage], axis=0)
        rows[stage] = 3.0 + frames + rng.normal(scale=1.0, size=frames.shape)
    return rows


@pytest.fixture(scope="session")
def parsing_store(tmp_path_factory: pytest.TempPathFactory) -> ParsingStore:
    """64 training, 12 validation and 24 test clips of six classes; dense events but in training."""
    splits = ["train"] * 64 + ["val"] * 12 + ["test"] * 24
    items = [made_item(number, split) for number, split in enumerate(splits)]
    return write_store(tmp_path_factory.mktemp("parsing") / "store", items, made_rows)


@pytest.fixture
def make_store() -> Callable[..., ParsingStore]:
    """Makes a store of given items and rows."""
    return write_store


@pytest.fixture
def without_events(parsing_store: ParsingStore) -> ParsingStore:
    """The same store with a snapshot in which no item has dense events."""
    items = tuple(replace(item, events=None) for item in parsing_store.items)
    snapshot = write_snapshot(parsing_store.layout, "made", items)
    return replace(parsing_store, items=items, snapshot=snapshot)
