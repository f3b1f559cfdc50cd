"""A separation baseline as a LightningModule: loss, what is logged, and the optimiser.

In: the same batches as TriBERT's. Out: a scalar to descend, and under `train/` and `val/` the mask
loss and that of the classes, where the system has one; for systems that see the video, also in
validation with pictures swapped; for the audio-only one, how often another order than the first was
the best.
"""

from __future__ import annotations

from typing import Any

import lightning
import torch
from torch import nn
from torch.optim import SGD, AdamW, Optimizer
from torch.optim.lr_scheduler import LambdaLR

from model.separation.coefficients import MaskCoefficients
from model.separation.config import BLIND, GESTURE, OBJECTS, Config, OptimConfig
from model.separation.gesture import MusicGesture
from model.separation.losses import Terms, loss_terms
from model.separation.objects import ObjectSeparation
from model.separation.pit import AudioOnly, invariant_mask_loss
from model.separation.pixels import SoundOfPixels
from model.tribert.batch import Batch

RATES = {
    "sound": "lr_sound",
    "fusion": "lr_sound",
    "classifier": "lr_sound",
    "synthesizer": "lr_synthesizer",
    "coefficients": "lr_synthesizer",
    "pictures.trunk": "lr_trunk",
    "vision.trunk": "lr_trunk",
    "pictures": "lr_frame",
    "vision": "lr_frame",
    "poses": "lr_frame",
    "tokens": "lr_frame",
}
"""Part of a network -> the setting of its learning rate; the first name that fits decides."""


def build_network(config: Config, classes: int) -> nn.Module:
    """Return the network of the configuration's system: `Batch` in, masks of its videos out.

    `classes` is the length of a label vector, which some systems learn from.
    """
    if config.system == "unet_pit":
        return AudioOnly(config.network, config.data.videos)
    if config.system in GESTURE:
        return MusicGesture(config)
    if config.system in OBJECTS:
        return ObjectSeparation(config, classes)
    if config.system == "mask_coefficients":
        return MaskCoefficients(config, classes)
    return SoundOfPixels(config.network)


class BaselineModule(lightning.LightningModule):
    """Trains one baseline."""

    def __init__(self, config: Config, classes: int) -> None:
        super().__init__()
        self.config = config
        self.network = build_network(config, classes)

    def training_step(self, batch: Batch, batch_idx: int) -> torch.Tensor:
        """Return the mask loss, with that of the classes where the system has one."""
        del batch_idx
        return self._loss("train", batch)

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        """Log the mask loss and, for a system that sees the video, that with pictures swapped."""
        del batch_idx
        self._loss("val", batch)
        if self.config.system in BLIND:
            return
        loss = self._terms(batch.swapped(), batch).mask
        self.log("val/mask_loss_swapped", loss, batch_size=len(batch))

    def configure_optimizers(self) -> Any:
        """Return the optimiser with the groups of `parameter_groups`, and its steps down."""
        optim = self.config.optim
        groups = parameter_groups(self.network, optim)
        optimiser: Optimizer = SGD(groups, momentum=0.9) if optim.method == "sgd" else AdamW(groups)
        schedule = LambdaLR(optimiser, lambda step: learning_rate_factor(step, optim))
        return {
            "optimizer": optimiser,
            "lr_scheduler": {"scheduler": schedule, "interval": "step"},
        }

    def _loss(self, split: str, batch: Batch) -> torch.Tensor:
        blind = self.config.system in BLIND
        terms = self._invariant(split, batch) if blind else self._terms(batch, batch)
        self.log(f"{split}/mask_loss", terms.mask, batch_size=len(batch), prog_bar=True)
        if terms.classes is None:
            return terms.mask
        self.log(f"{split}/class_loss", terms.classes, batch_size=len(batch))
        return terms.mask + self.config.class_weight * terms.classes

    def _terms(self, seen: Batch, targets: Batch) -> Terms:
        hinge = self.config.system == "av_mix_separate"
        return loss_terms(self.network(seen), targets, hinge=hinge)

    def _invariant(self, split: str, batch: Batch) -> Terms:
        logits = self.network(batch).mask_logits_BNQF
        loss, order_BN = invariant_mask_loss(logits, batch.masks_BNQF, batch.weight_B1QF)
        changed = (order_BN != torch.arange(order_BN.shape[1], device=order_BN.device)).any(1)
        self.log(f"{split}/other_order", changed.float().mean(), batch_size=len(batch))
        return Terms(loss)


def parameter_groups(network: nn.Module, optim: OptimConfig) -> list[dict[str, Any]]:
    """Return the optimiser's groups: a part's name, with the rate that `RATES` gives it.

    With adamw biases and norms do not decay; with sgd everything does, as published.
    """
    parts: dict[str, list[nn.Parameter]] = {part: [] for part in RATES}
    for name, tensor in network.named_parameters():
        part = next(part for part in RATES if name.startswith(f"{part}."))
        parts[part].append(tensor)
    groups = []
    for part, members in parts.items():
        for decays in (True, False):
            wanted = [t for t in members if (optim.method == "sgd" or t.ndim >= 2) == decays]
            if wanted:
                groups.append(
                    {
                        "name": f"{part}{'' if decays else '_no_decay'}",
                        "params": wanted,
                        "lr": getattr(optim, RATES[part]),
                        "weight_decay": optim.weight_decay if decays else 0.0,
                    }
                )
    return groups


def learning_rate_factor(step: int, optim: OptimConfig) -> float:
    """Return the factor of the learning rates at `step`: a tenth of it after each drop."""
    passed = sum(step >= round(share * optim.max_steps) for share in optim.drops)
    return 0.1**passed
