"""TriBERT as a LightningModule: losses, what is logged, and the optimiser.

In: batches. Out: a scalar to descend, and under `train/` and `val/` every term of it, the
accuracy of each stream and, in validation, the mask loss with the conditioning swapped.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import lightning
import torch
from torch import nn
from torch.nn import functional
from torch.optim.lr_scheduler import LambdaLR

from model.tribert.batch import Batch
from model.tribert.config import Config, OptimConfig
from model.tribert.graphed import GraphedLoss
from model.tribert.losses import LossTerms, loss_terms, mask_loss, top_class_hit
from model.tribert.network import Outputs, TriBERT
from model.tribert.network_memory import checkpoint_activations


class TriBERTModule(lightning.LightningModule):
    """Trains `TriBERT` on the classes named by `classes` (their order is the labels' order).

    `map_classes` names those of the attention maps where they are others.
    """

    def __init__(
        self,
        config: Config,
        classes: tuple[str, ...],
        *,
        map_classes: tuple[str, ...] | None = None,
    ) -> None:
        super().__init__()
        self.config = config
        self.classes = classes
        self.map_classes = map_classes or classes
        self.network = TriBERT(config, len(classes), map_classes=len(self.map_classes))
        if config.optim.checkpoint_activations:
            checkpoint_activations(self.network)
        self._graphed: GraphedLoss | None = None

    def forward(self, batch: Batch) -> Outputs:
        """Return the network's outputs."""
        return self.network(batch)

    def training_step(self, batch: Batch, batch_idx: int) -> torch.Tensor:
        """Return the weighted loss; log every term."""
        del batch_idx
        terms = self._graphed_terms(batch) if self._may_graph(batch) else self._terms(batch)
        self._log_terms("train", terms, len(batch))
        return terms.total

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        """Log the loss, its terms, each stream's accuracy and the loss with swapped conditioning.

        `val/mask_loss_swapped` - `val/mask_loss` is what pictures and poses are worth; near 0
        means that the U-Net ignores them.
        """
        del batch_idx
        outputs = self.named_alike(self.network(batch))
        self._log_terms("val", loss_terms(outputs, batch, self.config.loss), len(batch))
        swapped = self.network(batch.swapped()).mask_logits_BNQF
        scores = {
            "vision": outputs.vision_BNC,
            "pose": outputs.pose_BNC,
            "audio": outputs.audio_BNC,
            "maps": outputs.scores_BNSC[:, :, 1:].mean(2),
        }
        values = {
            f"val/{stream}_accuracy": top_class_hit(score_BNC, batch.labels_BNC)
            for stream, score_BNC in scores.items()
        }
        values["val/mask_loss_swapped"] = mask_loss(swapped, batch.masks_BNQF, batch.weight_B1QF)
        self.log_dict(values, batch_size=len(batch))

    def named_alike(self, outputs: Outputs) -> Outputs:
        """Return the outputs with the maps' scores in the order of `classes`.

        A class that no map knows has the score 0 there, which nothing is learned from.
        """
        if self.map_classes == self.classes:
            return outputs
        columns = [
            self.map_classes.index(name) if name in self.map_classes else len(self.map_classes)
            for name in self.classes
        ]
        scores_BNSM = functional.pad(outputs.scores_BNSC, (0, 1))
        return replace(outputs, scores_BNSC=scores_BNSM[..., columns])

    def configure_optimizers(self) -> Any:
        """Return AdamW with the groups of `parameter_groups` and a schedule over the steps."""
        optim = self.config.optim
        optimiser = torch.optim.AdamW(parameter_groups(self.network, optim))
        schedule = LambdaLR(optimiser, lambda step: learning_rate_factor(step, optim))
        return {
            "optimizer": optimiser,
            "lr_scheduler": {"scheduler": schedule, "interval": "step"},
        }

    def _terms(self, batch: Batch) -> LossTerms:
        return loss_terms(self.named_alike(self.network(batch)), batch, self.config.loss)

    def _may_graph(self, batch: Batch) -> bool:
        """Whether a step is one forward and one backward pass of this process alone, on a GPU."""
        optim = self.config.optim
        return (
            optim.cuda_graphs
            and batch.mix_B1QF.is_cuda
            and optim.accumulate == 1
            and not optim.checkpoint_activations
            and self.trainer.world_size == 1
        )

    def _graphed_terms(self, batch: Batch) -> LossTerms:
        """Return the loss of a batch by replaying graphs of its first one, if it fits them."""
        if self._graphed is None:
            dtype = torch.get_autocast_dtype("cuda") if torch.is_autocast_enabled("cuda") else None
            self._graphed = GraphedLoss(self.network, self._terms, batch, dtype)
        return self._graphed(batch) if self._graphed.fits(batch) else self._terms(batch)

    def _log_terms(self, split: str, terms: LossTerms, size: int) -> None:
        named = terms.named()
        self.log(f"{split}/loss", named.pop("total"), batch_size=size, prog_bar=True)
        self.log_dict(
            {f"{split}/{name}_loss": value for name, value in named.items()}, batch_size=size
        )


def parameter_groups(network: TriBERT, optim: OptimConfig) -> list[dict[str, Any]]:
    """Return AdamW's groups: backbone, U-Net with fusion, and the rest.

    Each is split in two: matrices and kernels decay, biases and norms do not. What is frozen is in
    none.
    """
    rates = {"backbone": optim.lr_backbone, "unet": optim.lr_unet, "encoder": optim.lr_encoder}
    members: dict[str, list[nn.Parameter]] = {name: [] for name in rates}
    for name, parameter in network.named_parameters():
        if parameter.requires_grad:
            members[_group_of(name)].append(parameter)
    return [
        {
            "name": f"{name}{'' if decays else '_no_decay'}",
            "params": [tensor for tensor in parameters if (tensor.ndim >= 2) == decays],
            "lr": rates[name],
            "weight_decay": optim.weight_decay if decays else 0.0,
        }
        for name, parameters in members.items()
        for decays in (True, False)
    ]


def learning_rate_factor(step: int, optim: OptimConfig) -> float:
    """Return the factor of the learning rate at `step`: linear up, then down to 0 at the end."""
    warmup = max(1, round(optim.warmup * optim.max_steps))
    if step < warmup:
        return (step + 1) / warmup
    left = max(0.0, (optim.max_steps - step) / max(1, optim.max_steps - warmup))
    return left if optim.decay == "linear" else (1 - math.cos(math.pi * left)) / 2


def _group_of(name: str) -> str:
    if name.startswith("vision.trunk."):
        return "backbone"
    return "unet" if name.startswith(("unet.", "fusion.", "map_weights.")) else "encoder"
