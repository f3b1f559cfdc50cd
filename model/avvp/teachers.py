"""Networks that know one modality only, each asked about clips that it never learnt from.

In: training clips with tags, validation clips. Out: for every clip, modality and class the pooled
probability and the logits of the seconds. A network that sees one track cannot borrow from the
other, and one that never saw a clip cannot have memorised its wrong tag.

The training clips are dealt into folds by video; each fold is answered for by a network that was
trained on the others, stopped at the epoch with the smallest loss on the tags of the validation
clips; these are answered for by all networks' mean. A teacher that is done is kept on disk.

Legend: N clips, B clips of a batch, T seconds, M modalities (0 audio, 1 visual), C classes.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import lightning
import numpy as np
import torch
from torch import Tensor, nn

from model.avvp.config import Config
from model.avvp.data import MODALITIES, Batch, Clip, ClipDataset, Scale, collate
from model.avvp.han import AUDIO_SIZE, MOTION_SIZE, PICTURE_SIZE, HybridAttention
from model.avvp.keep import Arrays, kept
from model.avvp.losses import bce
from model.avvp.parse import ScaledInputs
from model.avvp.targets import smoothed
from model.train.fit import fit
from model.train.parts import TrainParts, steps_per_epoch
from pipeline.datasets.base import video_of

ASKED_AT_ONCE = 64
log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Answers:
    """What teachers say of clips: probabilities (N, M, C) and logits of seconds (N, M, C, T).

    float32; a logit is NaN after the end of a shorter clip.
    """

    pooled_NMC: np.ndarray
    logit_NMCT: np.ndarray


class Teacher(ScaledInputs):
    """Linear maps, one layer of self-attention, attentive pooling over time: HAN's of one modality.

    Parameters
    ----------
    modality
        'audio' or 'visual'.
    width, classes : int
        D, C.
    dropout : float
    scale
        Of the inputs; None uses them as they are.
    """

    def __init__(
        self,
        modality: str,
        *,
        width: int,
        classes: int,
        dropout: float,
        scale: Scale | None,
        words: bool = False,
    ) -> None:
        super().__init__(scale)
        self.modality = modality
        if modality == MODALITIES[0]:
            self.from_audio = nn.Linear(AUDIO_SIZE, width)
        else:
            self.from_picture = nn.Linear(PICTURE_SIZE, width)
            self.from_motion = nn.Linear(MOTION_SIZE, width)
            self.fusion = nn.Linear(2 * width, width)
        self.attention = HybridAttention(width, width, dropout, words=words)
        self.attention.other.requires_grad_(False)
        self.probability = nn.Linear(width, classes)
        self.over_time = nn.Linear(width, classes)

    def forward(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Return the pooled probability (B, C) and the logits of the seconds (B, T, C), float32."""
        x_BTD = self.attention(self._mapped(batch), None, batch.absent_BT)
        with torch.autocast(x_BTD.device.type, enabled=False):
            x_BTD = x_BTD.to(torch.promote_types(x_BTD.dtype, torch.float32))
            logit_BTC, score_BTC = self.probability(x_BTD), self.over_time(x_BTD)
            if batch.absent_BT is not None:
                score_BTC = score_BTC.masked_fill(batch.absent_BT[..., None], -torch.inf)
            weight_BTC = torch.softmax(score_BTC, dim=1)
            return (weight_BTC * torch.sigmoid(logit_BTC)).sum(1), logit_BTC

    def _mapped(self, batch: Batch) -> Tensor:
        if self.modality == MODALITIES[0]:
            return self.from_audio(self.scaled(batch.audio_BTE, "vggish"))
        picture_BTD = self.from_picture(self.scaled(batch.picture_BTE, "resnet152"))
        motion_BTD = self.from_motion(self.scaled(batch.motion_BTE, "r2plus1d"))
        return self.fusion(torch.cat([picture_BTD, motion_BTD], dim=-1))


class TeacherModule(lightning.LightningModule):
    """Trains a teacher on the tags, smoothed as the modality's targets are; logs `val/loss`."""

    def __init__(self, teacher: Teacher, *, learning_rate: float, smoothing: float) -> None:
        super().__init__()
        self.teacher = teacher
        self.learning_rate = learning_rate
        self.smoothing = smoothing

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """Return the loss of the batch."""
        loss = self._loss(batch)
        self.log("train/loss", loss.detach())
        return loss

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        """Log the loss on the tags."""
        self.log("val/loss", self._loss(batch), batch_size=len(batch.tags_BC))

    def configure_optimizers(self) -> Any:
        """Return Adam with a constant rate: the training is short."""
        learnt = [p for p in self.parameters() if p.requires_grad]
        return torch.optim.Adam(learnt, lr=self.learning_rate)

    def _loss(self, batch: Batch) -> Tensor:
        pooled_BC, _ = self.teacher(batch)
        return bce(pooled_BC, smoothed(batch.tags_BC, self.smoothing))


def cross_fitted(
    config: Config,
    clips: Sequence[Clip],
    val: Sequence[Clip],
    *,
    seed: int,
    folder: Path,
    device: str,
) -> tuple[Answers, Answers]:
    """Return what teachers say of the training clips, each held out, and of the validation clips.

    What is in `folder` already is not done again.
    """
    scale = Scale.of(clips) if config.standardise else None
    folds_N = folds_of([clip.item_id for clip in clips], config.teacher_folds, seed=seed)
    longest = max(len(clip) for clip in [*clips, *val])
    shape = (2, len(clips[0].tags_C))
    held = _nothing(len(clips), shape, longest)
    mean = _nothing(len(val), shape, longest)
    for m, modality in enumerate(MODALITIES):
        one, tests = partial_clips(modality, clips), partial_clips(modality, val)
        for fold in range(config.teacher_folds):
            inside_N = folds_N == fold
            task = _Fold(
                config=config,
                modality=modality,
                taught=[clip for clip, out in zip(one, inside_N, strict=True) if not out],
                asked=[clip for clip, out in zip(one, inside_N, strict=True) if out],
                val=tests,
                scale=scale,
                seed=_seed(seed, m, fold),
                seconds=longest,
                folder=folder / f"{modality}-{fold}",
                device=device,
            )
            found = kept(folder / f"{modality}-{fold}.npz", task.answers, scratch=task.folder)
            held.pooled_NMC[inside_N, m] = found["pooled"]
            held.logit_NMCT[inside_N, m] = found["logit"]
            mean.pooled_NMC[:, m] += found["val_pooled"] / config.teacher_folds
            mean.logit_NMCT[:, m] += found["val_logit"] / config.teacher_folds
    return held, mean


def _nothing(clips: int, shape: tuple[int, int], seconds: int) -> Answers:
    return Answers(
        pooled_NMC=np.zeros((clips, *shape), np.float32),
        logit_NMCT=np.zeros((clips, *shape, seconds), np.float32),
    )


def _seed(seed: int, modality: int, fold: int) -> int:
    """Return a seed of the teacher's own."""
    return int(np.random.SeedSequence([seed, modality, fold]).generate_state(1)[0])


def folds_of(item_ids: Sequence[str], folds: int, *, seed: int) -> np.ndarray:
    """Return each clip's fold, int64 (N,): those of one video share one; sizes differ by a video.

    With fewer videos than folds some folds are empty.
    """
    videos = sorted({video_of(item_id) for item_id in item_ids})
    order = np.random.default_rng([seed, len(videos)]).permutation(len(videos))
    fold = {video: int(place) % folds for video, place in zip(videos, order, strict=True)}
    return np.array([fold[video_of(item_id)] for item_id in item_ids])


def partial_clips(modality: str, clips: Sequence[Clip]) -> list[Clip]:
    """Return the clips with the features of one modality only; the others have no columns."""
    other = ("picture_TE", "motion_TE") if modality == MODALITIES[0] else ("audio_TE",)
    return [replace(c, **{name: getattr(c, name)[:, :0] for name in other}) for c in clips]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Fold:
    """One teacher: whom it learns from, whom it is asked about, where its training goes on."""

    config: Config
    modality: str
    taught: Sequence[Clip]
    asked: Sequence[Clip]
    val: Sequence[Clip]
    scale: Scale | None
    seed: int
    seconds: int
    folder: Path
    device: str

    def answers(self) -> Arrays:
        """Return what the teacher says at its best epoch."""
        teacher = self.teacher()
        log.info("%s: a teacher learns from %d clips", self.folder, len(self.taught))
        fit(self.parts(teacher), self.folder, seed=self.seed, device=self.device)
        teacher.cpu().eval()
        held = ask(teacher, self.asked, self.seconds)
        val = ask(teacher, self.val, self.seconds)
        return {**held, **{f"val_{name}": array for name, array in val.items()}}

    def teacher(self) -> Teacher:
        """Return an untrained teacher, drawn from the seed."""
        torch.manual_seed(self.seed)
        return Teacher(
            self.modality,
            width=self.config.width,
            classes=len(self.taught[0].tags_C),
            dropout=self.config.dropout,
            scale=self.scale,
            words=self.config.fused,
        )

    def parts(self, teacher: Teacher) -> TrainParts:
        """Return what `fit` needs to train a teacher."""
        config, val = self.config, self.val
        audio = self.modality == MODALITIES[0]
        module = TeacherModule(
            teacher,
            learning_rate=config.learning_rate,
            smoothing=config.audio_smoothing if audio else config.visual_smoothing,
        )
        per_epoch = steps_per_epoch(len(self.taught), config.teacher_batch_size)
        return TrainParts(
            module=module,
            train=ClipDataset(clips=self.taught),
            val=ClipDataset(clips=val) if val else None,
            val_every_steps=per_epoch if val else 0,
            monitor="val/loss" if val else None,
            mode="min",
            collate=collate,
            batch_size=config.teacher_batch_size,
            max_steps=config.teacher_epochs * per_epoch,
            export=teacher.state_dict,
        )


def ask(teacher: Teacher, clips: Sequence[Clip], seconds: int) -> dict[str, np.ndarray]:
    """Return `pooled`, float32 (N, C), and `logit`, (N, C, `seconds`), NaN after a clip's end."""
    classes = teacher.probability.out_features
    pooled = np.zeros((len(clips), classes), np.float32)
    logit = np.full((len(clips), classes, seconds), np.nan, np.float32)
    with torch.inference_mode():
        for first in range(0, len(clips), ASKED_AT_ONCE):
            some = clips[first : first + ASKED_AT_ONCE]
            pooled_BC, logit_BTC = teacher(collate(some))
            pooled[first : first + len(some)] = pooled_BC.numpy()
            for row, found_TC, clip in zip(logit[first:], logit_BTC.numpy(), some, strict=False):
                row[:, : len(clip)] = found_TC[: len(clip)].T
    return {"pooled": pooled, "logit": logit}
