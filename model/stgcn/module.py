"""ST-GCN as the trainer sees it: batches of windows in, loss and validation figures out.

Legend: N clips, L classes.
"""

from __future__ import annotations

import torch
from lightning.pytorch import LightningModule
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch.nn import functional as F
from torch.optim.lr_scheduler import LRScheduler, MultiStepLR, OneCycleLR

from model.stgcn.config import Config
from model.stgcn.data import Window
from pipeline.networks.graph import spatial_partition
from pipeline.networks.stgcn import Stgcn
from pipeline.pose.joints68 import CENTRE, EDGES, N_JOINTS

_DROPS = (0.4, 0.6, 0.8)


class StgcnModule(LightningModule):
    """Classifies the instruments of a clip from its players' movements; several may be right."""

    def __init__(self, config: Config, n_classes: int) -> None:
        super().__init__()
        self.config = config
        partition = spatial_partition(EDGES, N_JOINTS, CENTRE)
        self.network = Stgcn(config.network, partition, n_classes)
        self._validated: list[tuple[torch.Tensor, torch.Tensor]] = []

    def training_step(self, batch: Window, batch_idx: int) -> torch.Tensor:
        """Return the binary cross-entropy, averaged over clips and classes."""
        loss = F.binary_cross_entropy_with_logits(
            self.network(batch.x_CTVM, batch.present_TM), batch.label_L
        )
        self.log("train/loss", loss)
        return loss

    def validation_step(self, batch: Window, batch_idx: int) -> None:
        """Keep logits and labels for the figures of the whole set."""
        logits_NL = self.network(batch.x_CTVM, batch.present_TM)
        self._validated.append((logits_NL.float().cpu(), batch.label_L.cpu()))

    def on_validation_epoch_end(self) -> None:
        """Log loss, mean average precision over classes, and how often the best class is right."""
        logits_NL, label_NL = (torch.cat(each) for each in zip(*self._validated, strict=True))
        self._validated.clear()
        best_N1 = logits_NL.argmax(dim=1, keepdim=True)
        self.log_dict(
            {
                "val/loss": F.binary_cross_entropy_with_logits(logits_NL, label_NL),
                "val/map": mean_average_precision(logits_NL, label_NL),
                "val/accuracy": label_NL.gather(1, best_N1).mean(),
            }
        )

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """Return the optimiser and a schedule by steps."""
        config, steps = self.config, self.config.max_steps
        schedule: LRScheduler
        if config.optimiser == "sgd":
            optimiser: torch.optim.Optimizer = torch.optim.SGD(
                self.parameters(),
                lr=config.learning_rate,
                momentum=0.9,
                nesterov=True,
                weight_decay=config.weight_decay,
            )
            drops = sorted({max(1, round(part * steps)) for part in _DROPS})
            schedule = MultiStepLR(optimiser, drops, gamma=0.1)
        else:
            optimiser = torch.optim.AdamW(
                self.parameters(), lr=config.learning_rate, weight_decay=config.weight_decay
            )
            schedule = OneCycleLR(optimiser, config.learning_rate, total_steps=steps + 1)
        return {"optimizer": optimiser, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}


def mean_average_precision(score_NL: torch.Tensor, label_NL: torch.Tensor) -> torch.Tensor:
    """Return the mean over classes that occur of the average precision of their ranking."""
    order_NL = score_NL.argsort(dim=0, descending=True, stable=True)
    hit_NL = label_NL.gather(0, order_NL)
    rank_N1 = torch.arange(1, len(hit_NL) + 1)[:, None]
    precision_NL = hit_NL.cumsum(dim=0) / rank_N1
    positives_L = hit_NL.sum(dim=0)
    there_L = positives_L > 0
    average_L = (precision_NL * hit_NL).sum(dim=0)[there_L] / positives_L[there_L]
    return average_L.mean() if bool(there_L.any()) else torch.zeros(())
