"""The recipe `tribert`: from a job and a snapshot to what the trainer needs.

In: a `TrainJob`, a feature store, the snapshot's items. Out: `TrainParts` with mixes of training
clips, fixed mixes of validation clips, and a `TriBERTModule`. Test items are only looked at to
make sure that nothing was trained on them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from model.jobs import TrainJob
from model.train.parts import TrainParts
from model.tribert.batch import collate
from model.tribert.clips import (
    ClipSet,
    find_clips,
    spectrogram_config,
    stage_record,
    stages_read,
    videos_of,
)
from model.tribert.config import Config, DataConfig, PoseConfig
from model.tribert.data import MixDataset
from model.tribert.errors import SeparationError
from model.tribert.finetune import read_source
from model.tribert.module import TriBERTModule
from model.tribert.vggish_tokens import VggishTokens, frozen_vggish
from pipeline.datasets.pairs import disjoint_partners
from pipeline.pose.config import MIRRORED_EMBEDDING
from storage.errors import ItemNotFound
from storage.models import ModelRecord, read_model, read_snapshot
from storage.records import DatasetItem
from storage.store import FeatureStore

RECIPE = "tribert"
VAL_MIXES = 32
"""Validation mixes at least: so that a few clips give a figure that does not jump."""


def build(job: TrainJob, store: FeatureStore, items: Sequence[DatasetItem]) -> TrainParts:
    """Return everything that training a TriBERT needs.

    Raises
    ------
    SeparationError
        Fewer than two classes to train on, no clip that can be read, or pose embeddings made by
        an ST-GCN that saw this snapshot's test videos; or a model to start from that does not fit.
    ConfigError
        A setting that does not exist or cannot work.
    """
    config = Config.from_json(job.configuration)
    served = [item for item in items if not item.tasks or RECIPE in item.tasks]
    classes = class_names(served)
    patches = config.data.sound_patches
    stages = stages_read(store, job.stages, config.data.spectrogram, sound_patches=patches)
    refuse_other_shape(store, stages["pose_embed"], config.pose)
    if config.data.flip:
        refuse_unmirrored(store, stages["pose_embed"])
    if not (config.initial.model and config.initial.overlap == "allow"):
        refuse_seen_test(store, stages["pose_embed"], served)
    source = read_source(
        store.layout,
        config,
        classes=classes,
        test_ids=[item.item_id for item in served if item.split == "test"],
        pose_embed=stages["pose_embed"],
    )
    found = readable_clips(store, stages, served, config.data)
    make = DatasetMaker(store, stages, classes, job.seed)
    val = make.validation(found["val"], config.data)
    train = make(found["train"], config.data, augment=True, mixes=config.data.epoch_mixes)
    module = TriBERTModule(config, classes, map_classes=source.map_classes if source else None)
    if isinstance(module.network.audio, VggishTokens):
        frozen = frozen_vggish(store, stages, job.weights_dir)
        module.network.audio.network.load_state_dict(frozen)
    if source:
        source.load_into(module.network)
    return TrainParts(
        module=module,
        train=train,
        val=val,
        collate=collate,
        batch_size=config.optim.batch_size,
        drop_last=len(train) >= config.optim.batch_size,
        max_steps=config.optim.max_steps,
        val_every_steps=config.optim.val_every_steps,
        monitor="val/mask_loss" if val else None,
        mode="min",
        precision=config.optim.precision,
        accumulate=config.optim.accumulate,
        clip_norm=config.optim.clip_norm,
        export=module.network.state_dict,
        classes=classes,
        ids_used={split: [clip.item_id for clip in each.clips] for split, each in found.items()},
        ids_missing={key: why for each in found.values() for key, why in each.left_out.items()},
        summary={
            **({"initial": source.summary()} if source else {}),
            "map_classes": list(module.map_classes),
            "train_clips": len(found["train"].clips),
            "val_clips": len(found["val"].clips) if val else 0,
            "val_mixes": len(val) if val else 0,
            "parameters": sum(p.numel() for p in module.network.parameters()),
        },
    )


def readable_clips(
    store: FeatureStore,
    stages: Mapping[str, str],
    items: Sequence[DatasetItem],
    data: DataConfig,
) -> dict[str, ClipSet]:
    """Return the clips of `train` and `val` that can be mixed.

    Raises
    ------
    SeparationError
        The training clips have fewer than two classes.
    """
    found = {
        split: find_clips(store, stages, [i for i in items if i.split == split], data)
        for split in ("train", "val")
    }
    if len({label for clip in found["train"].clips for label in clip.labels}) < 2:
        raise SeparationError(_too_few(found["train"], class_names(items)))
    return found


class DatasetMaker:
    """Makes the data sets of one job: what they share is given once."""

    def __init__(
        self, store: FeatureStore, stages: Mapping[str, str], classes: Sequence[str], seed: int
    ) -> None:
        self.store = store
        self.stages = stages
        self.classes = classes
        self.seed = seed

    def __call__(
        self, found: ClipSet, data: DataConfig, *, augment: bool, mixes: int
    ) -> MixDataset:
        """Return mixes of the clips, as `MixDataset` describes them."""
        return MixDataset(
            store=self.store,
            stages=self.stages,
            clips=found.clips,
            classes=self.classes,
            data=data,
            sizes=spectrogram_config(self.store, self.stages, data),
            seed=self.seed,
            augment=augment,
            mixes=mixes,
        )

    def validation(self, found: ClipSet, data: DataConfig) -> MixDataset | None:
        """Return fixed mixes of different classes, or None where no clip has a partner."""
        partners = disjoint_partners([clip.labels for clip in found.clips])
        mixable = tuple(
            clip for clip, others in zip(found.clips, partners, strict=True) if len(others)
        )
        if not mixable:
            return None
        return self(
            ClipSet(clips=mixable),
            replace(data, other_class=1.0),
            augment=False,
            mixes=max(VAL_MIXES, len(mixable)),
        )


def class_names(items: Sequence[DatasetItem]) -> tuple[str, ...]:
    """Return every label of the snapshot, sorted: the order of the label vector."""
    return tuple(sorted({label for item in items for label in item.labels}))


def _too_few(found: ClipSet, classes: Sequence[str]) -> str:
    missing = [f"{item_id}: {why}" for item_id, why in list(found.left_out.items())[:5]]
    return (
        f"separation needs training clips of at least two classes; {len(found.clips)} clips can "
        f"be read, {len(found.left_out)} cannot (the first: {missing}), the snapshot has the "
        f"classes {list(classes)}; add clips, or longer ones"
    )


def refuse_other_shape(store: FeatureStore, pose_embed: str, pose: PoseConfig) -> None:
    """Raise SeparationError when the stored embeddings are not what the network expects."""
    stored = store.schema(pose_embed)["embedding"].row_shape
    expected = (pose.persons, pose.channels, pose.joints)
    if stored != expected:
        raise SeparationError(
            f"{pose_embed}: embeddings are {stored} (persons, channels, joints), the configuration "
            f"expects {expected}; set pose.persons, pose.channels and pose.joints"
        )


def refuse_unmirrored(store: FeatureStore, pose_embed: str) -> None:
    """Raise SeparationError when nothing is stored that mirrored pictures could go with."""
    if MIRRORED_EMBEDDING not in {spec.name for spec in store.schema(pose_embed).arrays}:
        raise SeparationError(
            f"{pose_embed}: holds no embeddings of mirrored poses, which data.flip needs; run "
            "with [tribert] flip set, which computes them, or set it to 0"
        )


def refuse_seen_test(store: FeatureStore, pose_embed: str, items: Sequence[DatasetItem]) -> None:
    """Raise when the embeddings come from an ST-GCN that was trained on a test video of `items`.

    Videos are compared, not windows: another window of a test video gives it away, too.

    Raises
    ------
    SeparationError
        Naming the model and the videos.
    """
    model = stage_record(store, pose_embed).parameters["model"]
    test = videos_of(item.item_id for item in items if item.split == "test")
    if seen := sorted(test & videos_of(trained_on(store, model))):
        raise SeparationError(
            f"{pose_embed}: its ST-GCN {model} was trained on {len(seen)} of the {len(test)} test "
            f"videos (the first: {seen[0]}), so test figures would be flattered; run with --repin "
            "to train an ST-GCN on this snapshot's training items"
        )


def trained_on(store: FeatureStore, model: str) -> list[str]:
    """Return the ids of the training and validation items of a published model's snapshot.

    Raises
    ------
    SeparationError
        The model is not in the store, so that nobody can tell.
    """
    try:
        record = ModelRecord.from_json(read_model(store.layout, model)["record"])
    except ItemNotFound as error:
        raise SeparationError(
            f"the pose embeddings name the model {model}, which is not in {store.layout.root}: "
            "what it was trained on cannot be told; copy its folder into models/, or run with "
            "--repin"
        ) from error
    items = read_snapshot(store.layout, record.dataset, record.snapshot)
    return [item.item_id for item in items if item.split in ("train", "val")]
