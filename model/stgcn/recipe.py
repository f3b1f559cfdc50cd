"""The recipe `stgcn`: from a job and a snapshot to what the trainer needs.

In: a `TrainJob`, a feature store, the snapshot's items. Out: `TrainParts` with windows of training
clips, validation clips and a `StgcnModule`. Test items are never looked at.
"""

from __future__ import annotations

from collections.abc import Sequence

from model.jobs import TrainJob
from model.stgcn.config import Config
from model.stgcn.data import Clip, PoseWindows, collate, find_clips
from model.stgcn.module import StgcnModule
from model.train.errors import RecipeError
from model.train.parts import TrainParts
from pipeline.datasets.classes import order_classes
from pipeline.pose.joints68 import JOINT_ORDER_VERSION
from storage.records import DatasetItem
from storage.store import FeatureStore

SERVES = frozenset({"stgcn", "tribert"})
"""Recipes whose items ST-GCN learns from: it is TriBERT's pose stream."""


def build(job: TrainJob, store: FeatureStore, items: Sequence[DatasetItem]) -> TrainParts:
    """Return everything that training an ST-GCN needs.

    Raises
    ------
    RecipeError
        No pose stage in the job, poses of another number of persons, or fewer than two classes
        among the training clips that can be used.
    """
    config = Config.from_json(job.configuration)
    pose = _pose_stage(job, store, config)
    used, left_out = _usable(store, pose, items, config)
    classes = order_classes(label for clip in used["train"] for label in clip.labels)
    if len(classes) < 2:
        raise RecipeError(
            f"{job.name}: {len(used['train'])} training clips with {len(classes)} classes "
            f"({', '.join(classes)}) can be used, classification needs two; {len(left_out)} were "
            f"left out, such as {dict(list(left_out.items())[:3])}"
        )
    train, val = (
        PoseWindows(
            store=store,
            pose=pose,
            clips=used[split],
            classes=classes,
            config=config,
            seed=job.seed,
            augment=split == "train",
        )
        for split in ("train", "val")
    )
    module = StgcnModule(config, len(classes))
    return TrainParts(
        module=module,
        train=train,
        val=val if len(val) else None,
        collate=collate,
        batch_size=config.batch_size,
        max_steps=config.max_steps,
        val_every_steps=config.val_every_steps,
        monitor="val/map" if len(val) else None,
        clip_norm=config.clip_norm,
        export=module.network.state_dict,
        classes=classes,
        ids_used={split: [clip.item_id for clip in clips] for split, clips in used.items()},
        ids_missing=left_out,
        summary=_summary(module),
    )


def _usable(
    store: FeatureStore, pose: str, items: Sequence[DatasetItem], config: Config
) -> tuple[dict[str, list[Clip]], dict[str, str]]:
    """Training and validation clips, and why other items of these splits are left out."""
    used, left_out = {}, {}
    for split in ("train", "val"):
        members = [i for i in items if i.split == split and (not i.tasks or SERVES & set(i.tasks))]
        used[split], missing = find_clips(
            store, pose, members, min_present_rows=config.min_present_rows
        )
        left_out.update(missing)
    return used, left_out


def _summary(module: StgcnModule) -> dict[str, int]:
    network = module.config.network
    return {
        "parameters": sum(p.numel() for p in module.network.parameters()),
        "channels": network.channels[-1],
        "stride": network.stride,
        "joint_order_version": JOINT_ORDER_VERSION,
    }


def _pose_stage(job: TrainJob, store: FeatureStore, config: Config) -> str:
    """`pose-<fingerprint>` of the job, checked to have the configured number of persons."""
    if "pose" not in job.stages:
        raise RecipeError(f"{job.name}: the job names {sorted(job.stages)}, ST-GCN reads pose")
    pose = job.stages["pose"]
    persons = store.schema(pose)["keypoints"].row_shape[0]
    if persons != config.persons:
        raise RecipeError(
            f"{pose} has {persons} persons a row, stgcn.persons is {config.persons}: "
            "set one to the other"
        )
    return pose
