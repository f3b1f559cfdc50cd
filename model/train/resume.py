"""Checkpoints from which a killed run goes on exactly where it was.

In: the running trainer. Out: one checkpoint file (weights, optimiser, schedule, every generator,
what is best so far), replaced atomically, and one file with the best weights.
"""

from __future__ import annotations

import random
import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.utilities.exceptions import SIGTERMException

from model.train.errors import RunMismatch, TrainingDiverged
from model.train.history import step_is_done
from model.train.parts import TrainParts
from storage.atomic import replace_file

_STEP_FILE = re.compile(r"step-(\d{9})\.ckpt")


def newest_checkpoint(folder: Path) -> tuple[Path, int] | None:
    """Return the newest complete checkpoint in `folder` and its step, or None."""
    found = [(m[1], p) for p in folder.glob("*.ckpt") if (m := _STEP_FILE.fullmatch(p.name))]
    if not found:
        return None
    step, path = max(found)
    return path, int(step)


def seed_everything(seed: int, *, rank: int = 0) -> None:
    """Seed every generator a module may draw from; processes of one run draw differently."""
    random.seed(seed + rank)
    np.random.seed((seed + rank) % 2**32)
    torch.manual_seed(seed + rank)


def generator_states() -> dict[str, Any]:
    """Return the state of every generator as tensors and plain values."""
    _, keys, position, has_gauss, cached = np.random.get_state()
    version, internal, gauss = random.getstate()
    return {
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state() if torch.cuda.is_initialized() else None,
        "numpy": [torch.from_numpy(np.array(keys, np.int64)), position, has_gauss, cached],
        "python": [version, torch.tensor(internal, dtype=torch.int64), gauss],
    }


def restore_generators(states: Mapping[str, Any]) -> None:
    """Put every generator back to what `generator_states` returned."""
    torch.set_rng_state(states["torch"].cpu())
    if states["cuda"] is not None and torch.cuda.is_available():
        torch.cuda.set_rng_state(states["cuda"].cpu())
    keys, position, has_gauss, cached = states["numpy"]
    np.random.set_state(("MT19937", keys.numpy().astype(np.uint32), position, has_gauss, cached))
    version, internal, gauss = states["python"]
    random.setstate((version, tuple(internal.tolist()), gauss))


class Checkpoints(Callback):
    """Saves, remembers the best validation, and puts the generators back after a restart.

    A checkpoint is written at every validation and in between every `every_steps` steps or
    `every_s` seconds. At a validation step it is written after the validation, never between the
    step and its validation; and when SIGTERM ends the run after a step. It never lies between the
    parts of an accumulated step.
    """

    def __init__(
        self,
        folder: Path,
        parts: TrainParts,
        *,
        seed: int,
        every_s: float,
        every_steps: int | None,
        check: Callable[[Trainer], None],
    ) -> None:
        self.folder = folder
        self.monitor = parts.monitor
        self.sign = 1.0 if parts.mode == "max" else -1.0
        self.val_every_steps = parts.val_every_steps if parts.val is not None else 0
        self.every_s = every_s
        self.every_steps = every_steps
        self.check = check
        self.best_step = 0
        self.best_value: float | None = None
        self.plan = {
            "seed": seed,
            "items": len(parts.train),
            "batch_size": parts.batch_size,
            "max_steps": parts.max_steps,
            **({"accumulate": parts.accumulate} if parts.accumulate > 1 else {}),
        }
        self._between_steps = True
        self._saved_at = time.monotonic()
        self._generators: list[dict[str, Any]] | None = None

    @property
    def best_path(self) -> Path | None:
        """The file with the best weights so far, or None if nothing was monitored."""
        return self.folder / f"best-{self.best_step:09d}.pt" if self.best_step else None

    def state_dict(self) -> dict[str, Any]:
        """Return what is best, which training this is, and every process's generators."""
        return {
            "best_step": self.best_step,
            "best_value": self.best_value,
            "plan": self.plan,
            "generators": _all_processes(generator_states()),
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take over the state; refuse the checkpoint of another training."""
        if state_dict["plan"] != self.plan:
            raise RunMismatch(
                f"{self.folder}: its checkpoint belongs to another training: expected "
                f"{self.plan}, found {state_dict['plan']}; use another run directory"
            )
        self.best_step = state_dict["best_step"]
        self.best_value = state_dict["best_value"]
        self._generators = state_dict["generators"]

    def on_train_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Restore the generators: the start of the loaders must not draw from them."""
        self._between_steps = False
        if self._generators is not None:
            if trainer.global_rank < len(self._generators):
                restore_generators(self._generators[trainer.global_rank])
            self._generators = None

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Save if it is time and no validation follows this step."""
        self._between_steps = step_is_done(trainer, batch_idx)
        if not self._between_steps:
            return
        step = trainer.global_step
        if self.val_every_steps and step % self.val_every_steps == 0:
            return
        last = step == self.plan["max_steps"]
        due = self.every_steps is not None and step % self.every_steps == 0
        late = trainer.strategy.broadcast(time.monotonic() - self._saved_at > self.every_s)
        if last or due or late:
            self.save(trainer)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Keep the weights if they are the best (or as good), then save."""
        self.check(trainer)
        if self.monitor is not None:
            value = self._monitored(trainer)
            if self.best_value is None or self.sign * value >= self.sign * self.best_value:
                self.best_step, self.best_value = trainer.global_step, value
                if trainer.is_global_zero:
                    path = self.folder / f"best-{self.best_step:09d}.pt"
                    replace_file(path, _WeightsWriter(pl_module))
        self.save(trainer)

    def on_exception(
        self, trainer: Trainer, pl_module: LightningModule, exception: BaseException
    ) -> None:
        """Keep the step when the run was asked to end after it (not within it or a validation)."""
        if isinstance(exception, SIGTERMException) and trainer.training and self._between_steps:
            self.save(trainer)

    def save(self, trainer: Trainer) -> None:
        """Write the checkpoint of the current step, then remove what it replaces."""
        self.check(trainer)
        path = self.folder / f"step-{trainer.global_step:09d}.ckpt"
        if trainer.is_global_zero:
            replace_file(path, trainer.save_checkpoint)
            self._remove_older(path)
        else:
            trainer.save_checkpoint(path)  # takes part in the exchange, writes nothing
        self._saved_at = time.monotonic()

    def _monitored(self, trainer: Trainer) -> float:
        metrics = trainer.callback_metrics
        if self.monitor not in metrics:
            raise ValueError(
                f"monitor={self.monitor!r} was not logged in validation; "
                f"logged: {', '.join(sorted(metrics)) or 'nothing'}"
            )
        value = float(metrics[self.monitor])
        if not np.isfinite(value):
            raise TrainingDiverged(f"{self.monitor} became {value} at step {trainer.global_step}")
        return value

    def _remove_older(self, current: Path) -> None:
        keep = {current, self.best_path}
        for path in [*self.folder.glob("step-*.ckpt"), *self.folder.glob("best-*.pt")]:
            if path not in keep:
                path.unlink(missing_ok=True)


@dataclass(frozen=True, slots=True)
class _WeightsWriter:
    module: LightningModule

    def __call__(self, path: Path) -> None:
        with path.open("wb") as file:  # torch.save itself refuses names that start with a dot
            torch.save(self.module.state_dict(), file)


def _all_processes(state: dict[str, Any]) -> list[dict[str, Any]]:
    """Return every process's state, in rank order."""
    if not (torch.distributed.is_available() and torch.distributed.is_initialized()):
        return [state]
    states: list[dict[str, Any]] = [{}] * torch.distributed.get_world_size()
    torch.distributed.all_gather_object(states, state)
    return states
