"""The recipe `separation`: from a job and a snapshot to a baseline that the trainer can train.

In: a `TrainJob`, a feature store, the snapshot's items. Out: `TrainParts` whose mixes are those of
a TriBERT with the same data settings and seed: the same clips, pairs, moments, gains and crops.
"""

from __future__ import annotations

from collections.abc import Sequence

from model.jobs import TrainJob
from model.separation.config import Config
from model.separation.module import BaselineModule
from model.train.parts import TrainParts
from model.tribert.batch import collate
from model.tribert.clips import stages_read
from model.tribert.recipe import RECIPE as TRIBERT
from model.tribert.recipe import DatasetMaker, class_names, readable_clips
from storage.records import DatasetItem
from storage.store import FeatureStore


def build(job: TrainJob, store: FeatureStore, items: Sequence[DatasetItem]) -> TrainParts:
    """Return everything that training a baseline needs.

    Items that are meant for TriBERT are meant for its baselines, too.

    Raises
    ------
    SeparationError
        Fewer than two classes to train on, or no clip that can be read.
    ConfigError
        A setting that does not exist or cannot work.
    """
    config = Config.from_json(job.configuration)
    served = [item for item in items if not item.tasks or TRIBERT in item.tasks]
    classes = class_names(served)
    stages = stages_read(store, job.stages, config.data.spectrogram)
    found = readable_clips(store, stages, served, config.data)
    make = DatasetMaker(store, stages, classes, job.seed)
    val = make.validation(found["val"], config.data)
    train = make(found["train"], config.data, augment=True, mixes=config.data.epoch_mixes)
    module = BaselineModule(config, len(classes))
    optim = config.optim
    return TrainParts(
        module=module,
        train=train,
        val=val,
        collate=collate,
        batch_size=optim.batch_size,
        drop_last=len(train) >= optim.batch_size,
        max_steps=optim.max_steps,
        val_every_steps=optim.val_every_steps,
        monitor="val/mask_loss" if val else None,
        mode="min",
        clip_norm=optim.clip_norm or None,
        export=module.network.state_dict,
        classes=classes,
        ids_used={split: [clip.item_id for clip in each.clips] for split, each in found.items()},
        ids_missing={key: why for each in found.values() for key, why in each.left_out.items()},
        summary={
            "system": config.system,
            "train_clips": len(found["train"].clips),
            "val_clips": len(found["val"].clips) if val else 0,
            "parameters": sum(p.numel() for p in module.network.parameters()),
        },
    )
