"""Optimiser and learning rate of a parsing network.

In: settings and the network's parameters. Out: what Lightning's `configure_optimizers` returns; the
rate is counted in steps.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import torch
from torch import nn
from torch.optim.lr_scheduler import LambdaLR, LRScheduler, StepLR

from model.avvp.config import Config


def optimisation(
    config: Config,
    parameters: Iterable[nn.Parameter] | Iterable[dict[str, Any]],
    *,
    steps_per_epoch: int,
    steps: int,
) -> dict[str, Any]:
    """Return the optimiser and its schedule for a training of `steps` steps.

    `parameters` are as `torch.optim` takes them; a group without a rate has that of the settings.

    Adam and a staircase are HAN's; AdamW, a linear warm-up and a cosine are UWAV's (Lai et al.,
    CVPR 2025).
    """
    kinds = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW}
    # Lightning clips no gradients in bf16 for an optimiser that is one call
    fused = config.fused and not (config.clip_norm and config.precision == "bf16-mixed")
    optimiser = kinds[config.optimiser](
        parameters,
        lr=config.learning_rate,
        weight_decay=config.weight_decay,
        fused=fused or None,
    )
    schedule: LRScheduler
    if config.schedule == "cosine":
        schedule = LambdaLR(
            optimiser,
            WarmCosine(
                warmup=config.warmup_epochs * steps_per_epoch,
                steps=steps,
                floor=config.final_lr_factor,
            ),
        )
    else:
        stair = config.lr_every_epochs * steps_per_epoch
        schedule = StepLR(optimiser, step_size=stair, gamma=config.lr_factor)
    return {"optimizer": optimiser, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}


class WarmCosine:
    """Share of the learning rate at a step counted from 0.

    It grows by equal steps to 1 over `warmup` steps, then falls along half a cosine, and would be
    `floor` one step after the last.
    """

    def __init__(self, *, warmup: int, steps: int, floor: float) -> None:
        self.warmup = warmup
        self.steps = steps
        self.floor = floor

    def __call__(self, step: int) -> float:
        """Return the share at a step."""
        if step < self.warmup:
            return (step + 1) / self.warmup
        done = min(1.0, (step - self.warmup) / max(1, self.steps - self.warmup))
        return self.floor + (1 - self.floor) * 0.5 * (1 + math.cos(math.pi * done))
