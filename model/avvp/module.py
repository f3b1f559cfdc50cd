"""The training step of a parsing network, and its figures on validation clips.

In: a `Parser`, settings, the dense events of the validation clips. Out: a Lightning module.

Legend: B clips, T seconds, M modalities, C classes.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

import lightning
import numpy as np
import torch
from torch import Tensor, nn

from model.avvp.adversary import Discriminator, Told, reversal_weight, tell_modalities
from model.avvp.config import Config
from model.avvp.contrast import contrast
from model.avvp.data import Batch
from model.avvp.han import Parsing
from model.avvp.losses import WeakLoss, bce, target_loss
from model.avvp.metrics import LEVELS, parsing_scores
from model.avvp.parse import Parser, cut, gated, stacked
from model.avvp.pretrained import Pretrained
from model.avvp.removal import AUDIO, VISUAL, bag_losses, batch_flags
from model.avvp.schedule import optimisation
from model.avvp.segments import mixed_seconds, recombined, second_loss
from model.avvp.targets import Targets, tag_targets, without


class ParsingModule(lightning.LightningModule):
    """Trains a `Parser`; `truth` holds the dense events of the validation clips, in order.

    Logs `train/loss` and its terms, `val/loss` and, with dense events, the benchmark's type and
    event averages at both levels; with an adversary also its loss and how often it is right. The
    adversary is no part of the parser. `rates_MC` are JoMoLD's, of labels to remove in each batch.
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
        rates_MC: Tensor | None = None,
    ) -> None:
        super().__init__()
        self.parser = parser
        self.config = config
        self.steps_per_epoch = steps_per_epoch
        self.steps = steps
        self.discriminator = Discriminator(config.width) if config.adversarial else None
        self.truth = truth
        self.seconds = seconds
        self.register_buffer("rates_MC", rates_MC, persistent=False)
        self._found: list[np.ndarray] = []

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """Return the loss of the batch; log it and its terms."""
        batch, targets, moved_B = self._recombined(batch)
        targets = self._denoised(batch, targets)
        parsing = self.parser(batch)
        loss = self._weak_loss(parsing, targets)
        total = loss.total
        terms = {"loss_video": loss.video, "loss_audio": loss.audio, "loss_visual": loss.visual}
        for name, (weight, term) in self._further_terms(parsing, batch, targets, moved_B).items():
            total = total + weight * term
            terms[name] = term
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
        loss = self._weak_loss(parsing, self._targets(batch))
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
            if self.config.select == f"{level}_audio":
                self.log(f"val/{level}_audio", scores.audio)

    def configure_optimizers(self) -> Any:
        """Return the optimiser and its schedule, counted in steps."""
        return optimisation(
            self.config,
            self._trained(),
            steps_per_epoch=self.steps_per_epoch,
            steps=self.steps,
        )

    def _trained(self) -> Iterable[nn.Parameter] | Iterable[dict[str, Any]]:
        """Return what learns; what pre-training knows as a group with a rate of its own."""
        network, lr = self.parser.network, self.config.learning_rate
        if not isinstance(network, Pretrained):
            return self.parameters()
        known = network.learnt_before()
        others = set(self.parameters()) - set(known)
        anew = [p for p in self.parameters() if p in others]
        groups: list[dict[str, Any]] = [{"params": anew}]
        if not self.config.frozen:
            groups.append({"params": known, "lr": self.config.initial_lr_factor * lr})
        return groups

    def _weak_loss(self, parsing: Parsing, targets: Targets) -> WeakLoss:
        return target_loss(
            parsing,
            targets,
            modality_weight=self.config.modality_weight,
            audio_factor=self.config.audio_factor,
        )

    def _targets(self, batch: Batch) -> Targets:
        """Return the clips' own targets, or those that their tags give."""
        if batch.targets is not None:
            return batch.targets
        return tag_targets(
            batch.tags_BC,
            audio_smoothing=self.config.audio_smoothing,
            visual_smoothing=self.config.visual_smoothing,
        )

    def _denoised(self, batch: Batch, targets: Targets) -> Targets:
        """Return the targets without the labels that JoMoLD removes; all of them in epoch 1."""
        rates_MC = self.rates_MC
        if not isinstance(rates_MC, Tensor) or self.global_step < self.steps_per_epoch:
            return targets
        with torch.no_grad():
            alone = self.parser(batch, alone=True)
            losses_BMC = bag_losses(
                torch.stack([alone.audio_BC, alone.visual_BC], dim=1),
                torch.stack([targets.audio_BC, targets.visual_BC], dim=1),
            )
        flags_BMC = batch_flags(losses_BMC, batch.tags_BC, rates_MC)
        return replace(
            targets,
            audio_BC=without(targets.audio_BC, flags_BMC[:, AUDIO]),
            visual_BC=without(targets.visual_BC, flags_BMC[:, VISUAL]),
        )

    def _recombined(self, batch: Batch) -> tuple[Batch, Targets, Tensor | None]:
        """Return the batch and its targets, some pictures exchanged, and in which clips (B,)."""
        targets = self._targets(batch)
        if not self.config.recombine:
            return batch, targets, None
        return recombined(batch, targets, self.config.recombine)

    def _further_terms(
        self, parsing: Parsing, batch: Batch, targets: Targets, moved_B: Tensor | None
    ) -> dict[str, tuple[float, Tensor]]:
        """Return what the settings add to the loss: name -> weight and term."""
        config, found = self.config, {}
        if config.nce != "none":
            found["loss_contrast"] = (config.nce_weight, self._contrast(parsing, batch, moved_B))
        if config.segments != "none":
            term = second_loss(
                parsing.second_BTMC,
                targets,
                batch.absent_BT,
                positive_weight=config.positive_weight,
            )
            found["loss_seconds"] = (self._segment_weight(), term)
        if config.mix:
            x_NMD, q_NMC = mixed_seconds(parsing.joint_BTMD, targets, batch.absent_BT)
            p_NMC = torch.sigmoid(self.parser.network.pooling.probability(x_NMD)).float()
            # a mean for each modality, added up like the seconds' own
            found["loss_mixed"] = (config.mix, 2 * bce(p_NMC, q_NMC))
        return found

    def _segment_weight(self) -> float:
        ramp = self.config.segment_ramp_epochs * self.steps_per_epoch
        grown = min(1.0, self.global_step / ramp) if ramp else 1.0
        return grown * self.config.segment_weight

    def _contrast(self, parsing: Parsing, batch: Batch, moved_B: Tensor | None) -> Tensor:
        """Return the contrastive term: which second of the pictures is that of each of sound.

        Clips with another clip's pictures have no say in it; without any left it is 0.
        """
        heard_BTD, seen_BTD = parsing.joint_BTMD.unbind(2)
        if self.config.nce == "cross_entropy" and parsing.mapped_visual_BTD is not None:
            seen_BTD = parsing.mapped_visual_BTD
        absent_BT = batch.absent_BT
        if moved_B is not None:
            if bool(moved_B.all()):
                return heard_BTD.sum() * 0
            heard_BTD, seen_BTD = heard_BTD[~moved_B], seen_BTD[~moved_B]
            absent_BT = None if absent_BT is None else absent_BT[~moved_B]
        return contrast(
            heard_BTD,
            seen_BTD,
            absent_BT,
            kind=self.config.nce,
            temperature=self.config.nce_temperature,
            smoothing=self.config.nce_smoothing,
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
