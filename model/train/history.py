"""The figures of a run over its steps, one JSON line each.

In: what the module logs as `train/...` and `val/...`. Out: `history.jsonl` in the run directory,
cut back to the checkpoint on resume, and one line per validation on stderr.
"""

from __future__ import annotations

import json
import logging
import time
from pathlib import Path
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer

from storage.atomic import replace_file

HISTORY = "history.jsonl"
log = logging.getLogger(__name__)


class History(Callback):
    """Appends a row every `every_steps` steps and after every validation (rank 0 only).

    A row has `step`, `max_steps`, `epoch` (a fraction), `wall_s` (training time so far, over all
    starts of the run), `lr` in training rows, and the logged values.
    """

    def __init__(
        self, path: Path, *, every_steps: int, max_steps: int, steps_per_epoch: int
    ) -> None:
        self.path = path
        self.every_steps = every_steps
        self.max_steps = max_steps
        self.steps_per_epoch = steps_per_epoch
        self._lr = 0.0
        self._earlier_s = 0.0
        self._started = time.monotonic()

    @property
    def wall_s(self) -> float:
        """Seconds of training so far, those before a restart included."""
        return self._earlier_s + time.monotonic() - self._started

    def state_dict(self) -> dict[str, Any]:
        """Return what a resumed run needs to go on counting."""
        return {"wall_s": self.wall_s}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take over the seconds of the earlier starts."""
        self._earlier_s = state_dict["wall_s"]

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Drop the rows after the step the run starts from."""
        self._started = time.monotonic()
        if trainer.is_global_zero:
            kept = [row for row in read_history(self.path) if row["step"] <= trainer.global_step]
            write_history(self.path, kept)

    def on_train_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Remember the rate of this step; a scheduler moves it before the step is over."""
        self._lr = float(trainer.optimizers[0].param_groups[0]["lr"])

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Write a training row when one is due."""
        if not step_is_done(trainer, batch_idx):
            return
        step = trainer.global_step
        if trainer.is_global_zero and (step % self.every_steps == 0 or step == self.max_steps):
            self._append(step, {"lr": self._lr, **logged(trainer, "train/")})

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write a validation row and say it in one line."""
        if not trainer.is_global_zero:
            return
        values = logged(trainer, "val/")
        self._append(trainer.global_step, values)
        said = "  ".join(f"{name} {value:.4g}" for name, value in values.items())
        log.info("step %d of %d  %s", trainer.global_step, self.max_steps, said)

    def _append(self, step: int, values: dict[str, float]) -> None:
        row = {
            "step": step,
            "max_steps": self.max_steps,
            "epoch": round(step / self.steps_per_epoch, 4),
            "wall_s": round(self.wall_s, 3),
            **values,
        }
        with self.path.open("a") as file:
            file.write(json.dumps(row) + "\n")


def step_is_done(trainer: Trainer, batch_idx: int) -> bool:
    """Return whether the weights moved after this batch, the last part of an accumulated step."""
    return (batch_idx + 1) % trainer.accumulate_grad_batches == 0


def logged(trainer: Trainer, prefix: str) -> dict[str, float]:
    """Return the module's latest logged values whose names start with `prefix`."""
    metrics = trainer.callback_metrics
    return {name: float(metrics[name]) for name in sorted(metrics) if name.startswith(prefix)}


def read_history(path: Path) -> list[dict[str, Any]]:
    """Return the rows of a history file; none if it is absent. A torn last line is left out."""
    if not path.exists():
        return []
    lines = path.read_text().split("\n")
    return [json.loads(line) for line in lines[:-1] if line]


def write_history(path: Path, rows: list[dict[str, Any]]) -> None:
    """Replace the history file by these rows."""
    text = "".join(json.dumps(row) + "\n" for row in rows)

    def write(private: Path) -> None:
        private.write_text(text)

    replace_file(path, write)


def progress(run_dir: Path) -> tuple[int, int] | None:
    """Return (steps done, steps in all) of the run in `run_dir`, or None before its first row."""
    rows = read_history(run_dir / HISTORY)
    return (rows[-1]["step"], rows[-1]["max_steps"]) if rows else None
