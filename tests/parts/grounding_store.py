"""A store with synthetic LLP, for what pre-trains on it and starts from that."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from model.avg.config import Config
from model.avg.jobs import grounding_job
from model.avvp.rows import Ground
from model.jobs import TrainJob
from pipeline.datasets.llp import read_llp
from pipeline.npy_features import FOLDERS
from pipeline.stages import STAGES, resolve
from pipeline.synthllp import read_synthllp
from pipeline.synthllp.write import write_synthllp
from storage.layout import Layout, open_store
from storage.models import write_snapshot
from storage.records import DatasetItem
from storage.views import write_dataset_view


@dataclass(frozen=True, slots=True, kw_only=True)
class GroundingStore:
    """A store, its stages, its items and their snapshot; one item has no rows."""

    layout: Layout
    stages: Mapping[str, str]
    items: tuple[DatasetItem, ...]
    snapshot: str
    dataset: str
    without_rows: str

    def job(self, config: Config, *, seed: int = 0) -> TrainJob:
        """The training of a grounding model."""
        return grounding_job(self.layout, config, seed=seed, device="cpu", **self.where())

    def ground(self) -> Ground:
        """What rows of the parsing tables are trained on."""
        return Ground(layout=self.layout, **self.where())

    def where(self) -> dict[str, Any]:
        """The dataset, its snapshot and its stages."""
        return {"dataset": self.dataset, "snapshot": self.snapshot, "stages": self.stages}

    def with_items(self, *items: DatasetItem) -> GroundingStore:
        """The same store with a snapshot of other items."""
        snapshot = write_snapshot(self.layout, self.dataset, items)
        return replace(self, items=items, snapshot=snapshot)


SIZES = {"train": 160, "val": 40, "test": 24}


def write_grounding_store(root: Path, lists: Path) -> GroundingStore:
    """Publish the first clips of synthetic LLP, small, and a view with one item without rows."""
    made = read_synthllp(read_llp(lists), "small")
    items = [entry.item for entry in made.dataset.items]
    kept = [
        item
        for split, size in SIZES.items()
        for item in [item for item in items if item.split == split][:size]
    ]
    wanted = {item.item_id for item in kept}
    layout = open_store(root, create=True)
    clips = tuple(clip for clip in made.clips if clip.item_id in wanted)
    list(write_synthllp(layout, replace(made, clips=clips)))
    preset = made.dataset.preset
    configs = {stage: STAGES[stage].config(weights=preset[stage]["weights"]) for stage in FOLDERS}
    stages = {stage: one.record.name for stage, one in resolve(configs).items() if stage in FOLDERS}
    absent = replace(kept[0], item_id=f"{made.source}/not_there__/0-10000")
    items = [absent, *kept]
    snapshot = write_snapshot(layout, made.dataset.name, items)
    write_dataset_view(layout, made.dataset.name, items)
    return GroundingStore(
        layout=layout,
        stages=stages,
        items=tuple(items),
        snapshot=snapshot,
        dataset=made.dataset.name,
        without_rows=absent.item_id,
    )
