"""How a parsing model is trained: weak tags in, the best epoch by validation out.

In: a `TrainJob` and the items of its snapshot. Out: `TrainParts`. Only the tags of training items
are learnt from; the dense events of validation items choose the epoch.

Legend: B clips, T seconds, M modalities, C classes.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any

import lightning
import numpy as np
import torch
from torch import Tensor
from torch.optim.lr_scheduler import StepLR

from model.avvp.adversary import Discriminator, Told, reversal_weight, tell_modalities
from model.avvp.config import Config, stages_needed
from model.avvp.data import (
    Batch,
    Clip,
    ClipDataset,
    Scale,
    class_list,
    collate,
    event_array,
    load_clips,
    permuted_tags,
)
from model.avvp.han import Parsing
from model.avvp.losses import WeakLoss, weak_loss
from model.avvp.metrics import LEVELS, parsing_scores
from model.avvp.parse import Parser, cut, gated, stacked
from model.avvp.shelf import GIB, Shelf
from model.jobs import TrainJob
from model.train.errors import RecipeError
from model.train.parts import TrainParts, steps_per_epoch
from storage.records import DatasetItem
from storage.store import FeatureStore

log = logging.getLogger("model.avvp.recipe")

MONITOR = "val/segment_type_at_av"


class ParsingModule(lightning.LightningModule):
    """Trains a `Parser`; `truth` holds the dense events of the validation clips, in order.

    Logs `train/loss` and its terms, `val/loss` and, with dense events, the benchmark's type and
    event averages at both levels; with an adversary also its loss and how often it is right. The
    adversary is no part of the parser.
    """

    def __init__(
        self,
        parser: Parser,
        config: Config,
        *,
        steps_per_epoch: int,
        steps: int,
        truth: np.ndarray | None = None,
        seconds: Sequence[int] = (),
    ) -> None:
        super().__init__()
        self.parser = parser
        self.config = config
        self.steps_per_epoch = steps_per_epoch
        self.steps = steps
        self.discriminator = Discriminator(config.width) if config.adversarial else None
        self.truth = truth
        self.seconds = seconds
        self._found: list[np.ndarray] = []

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """Return the loss of the batch; log it and its terms."""
        parsing = self.parser(batch)
        loss = self._weak_loss(parsing, batch)
        total = loss.total
        terms = {"loss_video": loss.video, "loss_audio": loss.audio, "loss_visual": loss.visual}
        told = self._tell(parsing, batch)
        if told is not None:
            total = total + self.config.adversarial_weight * told.loss
            terms |= {"loss_modality": told.loss, "modality_accuracy": told.accuracy}
        terms["loss"] = total
        self.log_dict({f"train/{name}": v.detach() for name, v in terms.items()})
        return total

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        """Log the loss on the tags; keep the events for the end of the validation."""
        parsing = self.parser(batch)
        found = gated(parsing, self.config.gate)
        loss = self._weak_loss(parsing, batch)
        self.log("val/loss", loss.total, batch_size=len(batch.tags_BC))
        first = len(self._found)
        self._found += cut(found, self.seconds[first : first + len(found)])

    def on_validation_epoch_end(self) -> None:
        """Log the benchmark's figures."""
        found, self._found = self._found, []
        if self.truth is None:
            return
        events = stacked(found, self.truth.shape[-1])
        for level in LEVELS:
            scores = parsing_scores(
                events[:, 0], events[:, 1], self.truth[:, 0], self.truth[:, 1], level=level
            )
            self.log(f"val/{level}_type_at_av", scores.type_at_av)
            self.log(f"val/{level}_event_at_av", scores.event_at_av)

    def configure_optimizers(self) -> Any:
        """Return Adam and the published staircase, counted in steps."""
        optimiser = torch.optim.Adam(
            self.parameters(), lr=self.config.learning_rate, fused=self.config.fused or None
        )
        stair = self.config.lr_every_epochs * self.steps_per_epoch
        schedule = StepLR(optimiser, step_size=stair, gamma=self.config.lr_factor)
        return {"optimizer": optimiser, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def _weak_loss(self, parsing: Parsing, batch: Batch) -> WeakLoss:
        return weak_loss(
            parsing,
            batch.tags_BC,
            audio_smoothing=self.config.audio_smoothing,
            visual_smoothing=self.config.visual_smoothing,
            modality_weight=self.config.modality_weight,
        )

    def _tell(self, parsing: Parsing, batch: Batch) -> Told | None:
        """Return what the adversary says of the batch, None without one."""
        if self.discriminator is None:
            return None
        alpha = 0.0 if self.config.reversal == "none" else 1.0
        if self.config.reversal == "ramp":
            alpha = reversal_weight(
                self.global_step, steps_per_epoch=self.steps_per_epoch, steps=self.steps
            )
        return tell_modalities(self.discriminator, parsing.joint_BTMD, batch.absent_BT, alpha=alpha)


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
    if shelf.mapped_bytes:
        mapped, limit = shelf.mapped_bytes / GIB, config.resident_gib
        log.info("%.1f GiB of features are mapped from disk, %g GiB stay in memory", mapped, limit)
    if missing:
        item, reason = next(iter(missing.items()))
        log.warning("%d clips are left out, such as %s: %s", len(missing), item, reason)
    if not clips["train"]:
        said = next((f": {item} {why}" for item, why in missing.items()), "; the split is empty")
        raise RecipeError(f"{job.name}: no training clip can be used{said}")
    learnt = permuted_tags(clips["train"], job.seed) if config.label_permutation else clips["train"]
    val, truth = _validation(clips["val"], by_id, classes)
    return _parts(config, classes, learnt, val, truth, missing)


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
) -> TrainParts:
    scale = Scale.of(train) if config.standardise else None
    parser = Parser(config, len(classes), scale)
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
    )
    return TrainParts(
        module=module,
        train=ClipDataset(clips=train),
        val=ClipDataset(clips=val) if val else None,
        val_every_steps=every if steps % every == 0 else steps,
        monitor=(MONITOR if truth is not None else "val/loss") if val else None,
        mode="max" if truth is not None else "min",
        collate=collate,
        batch_size=config.batch_size,
        max_steps=steps,
        precision=config.precision,
        export=parser.state_dict,
        classes=classes,
        ids_used={
            "train": [clip.item_id for clip in train],
            "val": [clip.item_id for clip in val],
        },
        ids_missing=missing,
        summary={
            "parameters": sum(p.numel() for p in parser.parameters()),
            "control": "labels permuted among the training clips"
            if config.label_permutation
            else None,
        },
    )
