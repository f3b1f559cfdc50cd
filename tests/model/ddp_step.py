"""Run as a script: two optimiser steps of a small TriBERT through the trainer, on one device.

`ddp_step.py FOLDER DEVICE` leaves the first step's gradients in FOLDER/gradients.pt. The trainer
starts the other processes of a distributed run by running this script again.
"""

from __future__ import annotations

import os
import sys
from dataclasses import replace
from pathlib import Path

import torch

from model.train.fit import fit
from model.train.parts import Key, TrainParts
from model.tribert.batch import Batch, collate
from model.tribert.config import Config, DataConfig, PoseConfig, SeparationConfig, presets
from model.tribert.module import TriBERTModule

CLASSES = tuple("abcd")


def small_config() -> Config:
    """`tiny` without dropout and hidden tokens."""
    tiny = presets["tiny"]
    return replace(
        tiny,
        data=DataConfig(picture_px=32, spec_rows=32, spec_frames=32),
        vision=replace(tiny.vision, dropout=0.0, small_widths=(8, 16)),
        pose=PoseConfig(channels=4, dropout=0.0),
        audio=replace(tiny.audio, widths=(8, 16), dropout=0.0),
        encoder=replace(tiny.encoder, dropout=0.0, token_mask=0.0),
        separation=SeparationConfig(widths=(8, 16, 16), mask_channels=4),
        optim=replace(tiny.optim, batch_size=4, max_steps=2, val_every_steps=2),
    )


class Mixes:
    """Mixes drawn from (epoch, index)."""

    def __len__(self) -> int:
        return 8

    def __getitem__(self, key: Key) -> Batch:
        draw = torch.Generator().manual_seed(8 * key[0] + key[1])
        lead = (1, 2, 3, 2)
        mix = 5 * torch.rand(1, 1, 32, 32, generator=draw)
        return Batch(
            frames_BNTHWC=torch.randint(0, 256, (1, 2, 3, 32, 32, 3), generator=draw).byte(),
            pose_BNTPKV=torch.randn(*lead, 4, 68, generator=draw),
            present_BNTP=torch.ones(lead, dtype=torch.bool),
            box_BNTP5=torch.rand(*lead, 5, generator=draw),
            mix_B1QF=mix,
            masks_BNQF=torch.rand(1, 2, 32, 32, generator=draw).round(),
            weight_B1QF=mix.log1p().clamp(1e-3, 10.0),
            labels_BNC=torch.eye(len(CLASSES))[torch.randint(0, 4, (1, 2), generator=draw)],
        )


class Still(TriBERTModule):
    """Norms stay in eval mode: parts of a batch have statistics of their own."""

    folder: Path

    def on_train_batch_start(self, batch: Batch, batch_idx: int) -> None:
        self.eval()

    def on_before_optimizer_step(self, optimizer: torch.optim.Optimizer) -> None:
        if self.trainer.global_step == 0 and self.trainer.is_global_zero:
            gradients = {name: p.grad for name, p in self.named_parameters()}
            torch.save(gradients, self.folder / "gradients.pt")


def main(folder: Path, device: str) -> None:
    torch.manual_seed(0)
    config = small_config()
    module = Still(config, CLASSES)
    module.folder = folder
    parts = TrainParts(
        module=module,
        train=Mixes(),
        collate=collate,
        batch_size=config.optim.batch_size,
        max_steps=config.optim.max_steps,
        clip_norm=config.optim.clip_norm,
        export=module.state_dict,
    )
    fit(parts, folder / "run", seed=3, device=device)


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    main(Path(sys.argv[1]), sys.argv[2])
