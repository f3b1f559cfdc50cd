"""What grounding trains: the encoder behind the scale of its inputs, and its training step.

In: batches of grounded clips. Out: seconds in context; a Lightning module that logs the hinge loss
and how close heard and seen seconds are.

Legend: B clips, T seconds, H width.
"""

from __future__ import annotations

from typing import Any

import lightning
import torch
from torch import Tensor
from torch.optim.lr_scheduler import LambdaLR

from model.avg.config import Config
from model.avg.data import Batch
from model.avg.encoder import Encoder
from model.avg.losses import Closeness, closeness, grounding_loss, objective_of_epoch
from model.avvp.data import Scale
from model.avvp.han import AUDIO_SIZE, PICTURE_SIZE
from model.avvp.parse import ScaledInputs
from model.avvp.schedule import WarmCosine


class Grounder(ScaledInputs):
    """The encoder of sound and pictures behind the scale of its inputs."""

    def __init__(self, config: Config, scale: Scale | None) -> None:
        super().__init__(scale)
        self.encoder = Encoder(config.encoder, {"picture": PICTURE_SIZE, "audio": AUDIO_SIZE})

    def forward(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Return heard and seen seconds in context, (B, T, H) each."""
        features = {
            "picture": self.scaled(batch.picture_BTE, "resnet152"),
            "audio": self.scaled(batch.audio_BTE, "vggish"),
        }
        found = self.encoder(features, batch.absent_BT)
        return found["audio"], found["picture"]


class GroundingModule(lightning.LightningModule):
    """Trains a `Grounder`.

    Logs `train/loss`, the loss at the drawn anchors; and `val/loss`, at all anchors, with
    `val/cosine_matching` and `val/cosine_other`, the means over all pairs of a heard and a seen
    second of one clip that belong together, and that do not (by the computed ground truth).
    """

    def __init__(
        self, grounder: Grounder, config: Config, *, steps_per_epoch: int, steps: int
    ) -> None:
        super().__init__()
        self.grounder = grounder
        self.config = config
        self.steps_per_epoch = steps_per_epoch
        self.steps = steps
        self._closeness: Closeness | None = None

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """Return the loss of the batch at its anchors."""
        epoch = self.global_step // self.steps_per_epoch
        audio_BTH, picture_BTH = self.grounder(batch)
        loss = self._loss(
            audio_BTH,
            picture_BTH,
            batch,
            anchor_BA=batch.anchor_BA,
            objective=objective_of_epoch(self.config, epoch),
        )
        self.log("train/loss", loss.detach())
        return loss

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        """Log the loss at all anchors; add up how close seconds are."""
        audio_BTH, picture_BTH = self.grounder(batch)
        loss = self._loss(
            audio_BTH, picture_BTH, batch, anchor_BA=None, objective=self.config.objective
        )
        self.log("val/loss", loss, batch_size=len(audio_BTH))
        found = closeness(audio_BTH, picture_BTH, batch.group_BT, batch.absent_BT)
        self._closeness = found if self._closeness is None else self._closeness + found

    def on_validation_epoch_end(self) -> None:
        """Log how close seconds are."""
        found, self._closeness = self._closeness, None
        for name, value in found.means().items() if found else ():
            self.log(f"val/{name}", value)

    def configure_optimizers(self) -> Any:
        """Return Adam; its rate rises by equal steps, then falls along half a cosine."""
        optimiser = torch.optim.Adam(self.parameters(), lr=self.config.learning_rate)
        share = WarmCosine(
            warmup=round(self.config.warmup * self.steps),
            steps=self.steps,
            floor=1.0 if self.config.constant else 0.0,
        )
        schedule = LambdaLR(optimiser, share)
        return {"optimizer": optimiser, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def _loss(
        self,
        audio_BTH: Tensor,
        picture_BTH: Tensor,
        batch: Batch,
        *,
        anchor_BA: Tensor | None,
        objective: str,
    ) -> Tensor:
        return grounding_loss(
            audio_BTH,
            picture_BTH,
            batch.group_BT,
            anchor_BA,
            objective=objective,
            positive_margin=self.config.positive_margin,
            negative_margin=self.config.negative_margin,
            absent_BT=batch.absent_BT,
        )
