"""How a parsing model is trained: weak tags in, the best epoch by validation out.

In: a `TrainJob` and the items of its snapshot. Out: `TrainParts`. Only the tags of training items
are learnt from; the dense events of validation items choose the epoch.

Legend: T seconds, M modalities, C classes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from model.avvp.config import Config, stages_needed
from model.avvp.data import (
    Clip,
    ClipDataset,
    Scale,
    check_loaded,
    class_list,
    collate,
    event_array,
    load_clips,
    permuted_tags,
)
from model.avvp.initial import Source, read_source
from model.avvp.module import ParsingModule
from model.avvp.parse import Parser
from model.avvp.pretrained import Pretrained
from model.avvp.refine import Refined, Study, refine
from model.avvp.shelf import Shelf
from model.jobs import TrainJob
from model.train.errors import RecipeError
from model.train.parts import TrainParts, steps_per_epoch
from storage.records import DatasetItem
from storage.store import FeatureStore


def build(job: TrainJob, store: FeatureStore, items: list[DatasetItem]) -> TrainParts:
    """Return what `fit` needs to train the job's model on the snapshot's items.

    Clips that cannot be used are left out, told, and kept in the model's record. Raises RecipeError
    when a stage is not named, no training clip can be used, or an item is not what it is said to
    be (`BadItem`).
    """
    config = Config.from_json(job.configuration)
    if absent := sorted(set(stages_needed) - set(job.stages)):
        raise RecipeError(f"{job.name}: the job names no stage {', '.join(absent)}")
    items = [item for item in items if not item.tasks or "avvp" in item.tasks]
    classes = class_list(items)
    by_id = {item.item_id: item for item in items}
    shelf = Shelf(config.resident_gib, job.run_dir)
    clips: dict[str, list[Clip]] = {}
    missing: dict[str, str] = {}
    for split in ("train", "val"):
        wanted = [item for item in items if item.split == split]
        clips[split], why = load_clips(store, job.stages, wanted, classes, shelf)
        missing |= why
    check_loaded(job.name, clips["train"], missing, shelf)
    learnt = permuted_tags(clips["train"], job.seed) if config.label_permutation else clips["train"]
    val, truth = _validation(clips["val"], by_id, classes)
    source = read_source(
        store.layout,
        config,
        stages=job.stages,
        test_ids=[item.item_id for item in items if item.split == "test"],
    )
    if not config.refines_labels:
        return _parts(config, classes, learnt, val, truth, missing, source=source)
    study = Study(
        config=config,
        classes=classes,
        train=learnt,
        val=val,
        truth=truth,
        seed=job.seed,
        folder=job.run_dir / "labels",
        device=job.device,
        stage=lambda stage: _parts(stage, classes, learnt, val, truth, missing, source=source),
    )
    return _parts(config, classes, learnt, val, truth, missing, refine(study), source)


def _validation(
    clips: list[Clip], items: Mapping[str, DatasetItem], classes: Sequence[str]
) -> tuple[list[Clip], np.ndarray | None]:
    """Return the clips to validate on and their dense events (clip, M, C, T).

    Where some have dense events, those alone; where none has, all of them and no truth.
    """
    dense = [clip for clip in clips if items[clip.item_id].events is not None]
    if not dense:
        return clips, None
    longest = max(len(clip) for clip in dense)
    truth = [event_array(items[c.item_id].events or (), classes, longest) for c in dense]
    return dense, np.stack(truth)


def _parts(
    config: Config,
    classes: tuple[str, ...],
    train: list[Clip],
    val: list[Clip],
    truth: np.ndarray | None,
    missing: Mapping[str, str],
    refined: Refined | None = None,
    source: Source | None = None,
) -> TrainParts:
    scale = Scale.of(train) if config.standardise else None
    parser = Parser(config, len(classes), source.over(scale) if source else scale)
    if source and isinstance(parser.network, Pretrained):
        source.load_into(parser.network)
    per_epoch = steps_per_epoch(len(train), config.batch_size)
    steps = config.max_steps or config.epochs * per_epoch
    every = config.val_every_epochs * per_epoch
    module = ParsingModule(
        parser,
        config,
        steps_per_epoch=per_epoch,
        steps=steps,
        truth=truth,
        seconds=[len(clip) for clip in val],
        rates_MC=refined.rates_MC if refined else None,
    )
    return TrainParts(
        module=module,
        train=ClipDataset(clips=refined.clips if refined else train),
        val=ClipDataset(clips=val) if val else None,
        val_every_steps=every if steps % every == 0 else steps,
        monitor=_monitor(config, truth) if val else None,
        mode="max" if truth is not None else "min",
        collate=collate,
        batch_size=config.batch_size,
        max_steps=steps,
        precision=config.precision,
        clip_norm=config.clip_norm or None,
        export=parser.state_dict,
        classes=classes,
        ids_used={
            "train": [clip.item_id for clip in train],
            "val": [clip.item_id for clip in val],
            **({"pretraining": source.ids} if source else {}),
        },
        ids_missing=missing,
        summary={
            "parameters": sum(p.numel() for p in parser.parameters()),
            "control": "labels permuted among the training clips"
            if config.label_permutation
            else None,
            **({"labels": refined.summary} if refined else {}),
        },
    )


def _monitor(config: Config, truth: np.ndarray | None) -> str | None:
    """Return what chooses the epoch, None for the last one."""
    if config.select == "last":
        return None
    return f"val/{config.select}" if truth is not None else "val/loss"
