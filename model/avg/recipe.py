"""How a grounding model is trained: unlabelled clips in, the weights with the least loss out.

In: a `TrainJob` and the items of its snapshot, of which training ones are learnt from and
validation ones choose the epoch. Out: `TrainParts`.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence

from model.avg.config import Config, stages_needed
from model.avg.data import Anchored, GroundedClip, collate, load_grounded, matching_share
from model.avg.module import Grounder, GroundingModule
from model.avvp.data import Scale, check_loaded
from model.avvp.shelf import Shelf
from model.jobs import TrainJob
from model.train.errors import RecipeError
from model.train.parts import TrainParts, steps_per_epoch
from storage.records import DatasetItem
from storage.store import FeatureStore

log = logging.getLogger("model.avg.recipe")


def build(job: TrainJob, store: FeatureStore, items: list[DatasetItem]) -> TrainParts:
    """Return what `fit` needs to train the job's model on the snapshot's items.

    Items that serve other recipes only are passed over; those whose features cannot be used are
    left out, told, and kept in the model's record.

    Raises
    ------
    RecipeError
        A stage is not named, no training clip can be used, or rows cannot be what they are said to
        be (`BadItem`).
    """
    config = Config.from_json(job.configuration)
    if absent := sorted(set(stages_needed) - set(job.stages)):
        raise RecipeError(f"{job.name}: the job names no stage {', '.join(absent)}")
    shelf = Shelf(config.resident_gib, job.run_dir)
    clips: dict[str, list[GroundedClip]] = {}
    missing: dict[str, str] = {}
    for split in ("train", "val"):
        wanted = [
            item
            for item in items
            if item.split == split and (not item.tasks or "avvp" in item.tasks)
        ]
        clips[split], why = load_grounded(store, job.stages, wanted, config, shelf)
        missing |= why
    check_loaded(job.name, clips["train"], missing, shelf)
    _tell_truth(job.name, clips["train"])
    return _parts(config, clips["train"], clips["val"], missing, job.seed)


def _tell_truth(name: str, clips: Sequence[GroundedClip]) -> None:
    """Tell how much of the clips belongs together, and warn where the thresholds tell nothing."""
    share = matching_share(clips)
    log.info("%.1f %% of the pairs of a clip's seconds belong together", 100 * share)
    if share in (0.0, 1.0):
        log.warning(
            "%s: %s second of the %d training clips belongs to another one of its clip: %s "
            "picture_threshold and audio_threshold to tell seconds apart",
            name,
            "every" if share else "no",
            len(clips),
            "raise" if share else "lower",
        )


def _parts(
    config: Config,
    train: list[GroundedClip],
    val: list[GroundedClip],
    missing: Mapping[str, str],
    seed: int,
) -> TrainParts:
    scale = Scale.of(train, stages_needed) if config.standardise else None
    grounder = Grounder(config, scale)
    per_epoch = steps_per_epoch(len(train), config.batch_size)
    steps = config.max_steps or config.epochs * per_epoch
    every = config.val_every_epochs * per_epoch
    module = GroundingModule(grounder, config, steps_per_epoch=per_epoch, steps=steps)
    return TrainParts(
        module=module,
        train=Anchored(clips=train, seed=seed),
        val=Anchored(clips=val, seed=seed) if val else None,
        val_every_steps=every if steps % every == 0 else steps,
        monitor="val/loss" if val else None,
        mode="min",
        collate=collate,
        batch_size=config.batch_size,
        max_steps=steps,
        precision=config.precision,
        clip_norm=config.clip_norm or None,
        export=grounder.state_dict,
        ids_used={
            "train": [clip.item_id for clip in train],
            "val": [clip.item_id for clip in val],
        },
        ids_missing=missing,
        summary={
            "parameters": sum(p.numel() for p in grounder.parameters()),
            "matching_share": {"train": matching_share(train), "val": matching_share(val)},
        },
    )
