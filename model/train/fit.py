"""Training with exact resume: Lightning's Trainer over one long stream of batches.

In: a recipe's `TrainParts` and a run directory. Out: the module with its best weights and the
history; in the run directory `history.jsonl`, `tensorboard/` and `checkpoints/`.

A run that was killed at any instant and started again with the same arguments ends with the same
weights, bit for bit on the CPU: the batches are a pure function of the step (`sampler`), the
generators are part of the checkpoint (`resume`), and the whole training is one Lightning epoch.
"""

from __future__ import annotations

import logging
import os
import signal
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import RichProgressBar
from lightning.pytorch.loggers import TensorBoardLogger
from lightning.pytorch.plugins.environments import LightningEnvironment, TorchElasticEnvironment
from lightning.pytorch.utilities.exceptions import SIGTERMException
from torch.utils.data import DataLoader

from model.train.errors import InvalidParts, TrainingDiverged
from model.train.history import HISTORY, History, read_history
from model.train.loader_worker import WorkerStart
from model.train.parts import TrainParts
from model.train.resume import Checkpoints, newest_checkpoint, seed_everything
from model.train.sampler import BatchPlan, in_order
from storage.atomic import sweep_temp

CHECKPOINTS = "checkpoints"
EXPECTED_WARNINGS = (
    r"The '\w+_dataloader' does not have many workers",  # workers are the user's choice
    r"You're resuming from a checkpoint that ended before the epoch",  # BatchPlan starts there
    r"Found \d+ module\(s\) in eval mode",  # frozen parts are the recipe's choice
    r"GPU available but not used",
    r"You defined a `validation_step` but have no `val_dataloader`",  # a set without val items
    r"It is recommended to use `self\.log\(.*sync_dist=True",  # every process validates all
    r"`isinstance\(treespec, LeafSpec\)` is deprecated",  # Lightning 2.6 with torch 2.14
    r"The AccumulateGrad node's stream does not match",  # a recorded step's own stream
    r"This process \(pid=\d+\) is multi-threaded, use of fork",  # workers only read and decode
)
"""Lightning's and Python's remarks on what is done here on purpose."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FitResult:
    """What a finished training was like. `best_step` is 0 where nothing was monitored."""

    history: list[dict[str, Any]]
    steps: int
    best_step: int
    best_value: float | None
    wall_s: float


@dataclass(frozen=True, slots=True)
class Device:
    """Where the network runs: `kind` 'cpu' or 'cuda', `processes` of them on each of `nodes`."""

    kind: str
    processes: int = 1
    nodes: int = 1

    @property
    def world_size(self) -> int:
        """How many processes train together."""
        return self.processes * self.nodes

    @classmethod
    def parse(cls, text: str) -> Device:
        """Return the device that 'auto', 'cpu', 'cuda' or 'cuda:<processes>' means here.

        Under torchrun the numbers of processes and nodes are torchrun's. Raises InvalidParts for
        another text or number, or when there is no such device.
        """
        kind, _, count = text.partition(":")
        if kind == "auto":
            kind = "cuda" if torch.cuda.is_available() else "cpu"
        if kind not in {"cpu", "cuda"} or (count and not (count.isdigit() and int(count) > 0)):
            raise InvalidParts(
                f"device={text!r}: expected 'auto', 'cpu' or 'cuda', optionally with a number of "
                "processes ('cuda:4')"
            )
        if kind == "cuda" and not torch.cuda.is_available():
            raise InvalidParts(
                f"device={text!r}: torch sees no CUDA device here; use 'cpu' or 'auto'"
            )
        if not under_torchrun():
            return cls(kind, int(count or 1))
        here, everywhere = (int(os.environ[name]) for name in ("LOCAL_WORLD_SIZE", "WORLD_SIZE"))
        if count and int(count) != here:
            raise InvalidParts(
                f"device={text!r}, but torchrun started {here} processes on this node; start as "
                f"many (--nproc-per-node {count}), or leave the number to torchrun ('{kind}')"
            )
        return cls(kind, here, everywhere // here)


def fit(
    parts: TrainParts,
    run_dir: Path,
    *,
    seed: int,
    loader_workers: int = 0,
    device: str = "auto",
    checkpoint_every_s: float = 60.0,
    checkpoint_every_steps: int | None = None,
    callbacks: tuple[Callback, ...] = (),
) -> FitResult:
    """Train `parts.module` to `parts.max_steps`, from the newest checkpoint in `run_dir` if any.

    Afterwards the module holds the weights of the best validation (`parts.monitor`), or the last
    ones. SIGTERM ends it after the current step, with a checkpoint and exit code 143. Raises
    TrainingDiverged when the loss stops being finite, RunMismatch when the run directory belongs
    to another training.
    """
    where = Device.parse(device)
    folder = run_dir / CHECKPOINTS
    folder.mkdir(parents=True, exist_ok=True)
    sweep_temp(folder, older_than_s=0)
    resumed = newest_checkpoint(folder)
    seed_everything(seed, rank=process_rank())
    finite = FiniteLoss(folder, every_steps=_every_steps(parts))
    history = _history(parts, run_dir)
    checkpoints = Checkpoints(
        folder,
        parts,
        seed=seed,
        every_s=checkpoint_every_s,
        every_steps=checkpoint_every_steps,
        check=finite.check,
    )
    start = resumed[1] if resumed else 0
    if resumed and start >= parts.max_steps:
        _restore_finished(parts.module, resumed[0], [history, checkpoints])
    else:
        plan = _plan(parts, seed=seed, start=start, processes=where.world_size)
        with _quiet(), _exit_code_of_sigterm():
            trainer = _trainer(parts, run_dir, where, [finite, history, checkpoints, *callbacks])
            trainer.fit(
                parts.module,
                _loader(parts, parts.train, plan, loader_workers, where),
                _validation(parts, loader_workers, where),
                ckpt_path=resumed[0] if resumed else None,
                weights_only=True,
            )
    if checkpoints.best_path is not None:
        best = torch.load(checkpoints.best_path, weights_only=True, map_location="cpu")
        parts.module.load_state_dict(best)
    return FitResult(
        history=read_history(run_dir / HISTORY),
        steps=parts.max_steps,
        best_step=checkpoints.best_step,
        best_value=checkpoints.best_value,
        wall_s=history.wall_s,
    )


class FiniteLoss(Callback):
    """Raises TrainingDiverged once the loss is not finite; looks every few steps and before a save.

    Looking at every step would make the processor wait for the accelerator each time.
    """

    def __init__(self, folder: Path, *, every_steps: int) -> None:
        self.folder = folder
        self.every_steps = every_steps
        self._finite: torch.Tensor | None = None

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Note whether this step's loss is finite."""
        finite = torch.isfinite(outputs["loss"].detach()).all()
        self._finite = finite if self._finite is None else self._finite & finite
        if trainer.global_step % self.every_steps == 0:
            self.check(trainer)

    def check(self, trainer: Trainer) -> None:
        """Raise if a loss since the last look was not finite."""
        if self._finite is not None and not bool(self._finite):
            kept = newest_checkpoint(self.folder)
            raise TrainingDiverged(
                f"the loss stopped being finite by step {trainer.global_step} of "
                f"{trainer.num_training_batches}: lower the learning rate, set clip_norm, or train "
                f"in 32-true precision; the last good state is "
                f"{kept[0] if kept else 'the start'}; nothing was published"
            )
        self._finite = None


def _every_steps(parts: TrainParts) -> int:
    """About a hundred rows of history, and at least one every 50 steps."""
    return max(1, min(50, parts.max_steps // 100))


def under_torchrun() -> bool:
    """Whether torchrun started this process, and its fellows on all nodes."""
    return TorchElasticEnvironment.detect()


def process_rank() -> int:
    """This process's number among those of the run; torchrun or Lightning started the others."""
    return int(os.environ.get("RANK" if under_torchrun() else "LOCAL_RANK", "0"))


def _history(parts: TrainParts, run_dir: Path) -> History:
    return History(
        run_dir / HISTORY,
        every_steps=_every_steps(parts),
        max_steps=parts.max_steps,
        steps_per_epoch=parts.steps_per_epoch,
    )


def _plan(parts: TrainParts, *, seed: int, start: int, processes: int) -> BatchPlan:
    return BatchPlan(
        items=len(parts.train),
        batch_size=parts.batch_size,
        batches=parts.max_steps,
        seed=seed,
        start=start,
        drop_last=parts.drop_last,
        rank=process_rank(),
        world_size=processes,
        accumulate=parts.accumulate,
    )


def _loader(
    parts: TrainParts, dataset: Any, batches: Any, workers: int, device: Device
) -> DataLoader[Any]:
    """Return a loader whose start draws nothing from the global generator."""
    return DataLoader(
        dataset,
        batch_sampler=batches,
        collate_fn=parts.collate,
        num_workers=workers,
        multiprocessing_context="fork" if workers else None,
        persistent_workers=workers > 0,
        worker_init_fn=WorkerStart(os.getpid()),
        generator=torch.Generator().manual_seed(0),
        pin_memory=device.kind == "cuda",
    )


def _validation(parts: TrainParts, workers: int, device: Device) -> DataLoader[Any] | None:
    """Every process validates every item: the figures do not depend on how many there are."""
    if parts.val is None:
        return None
    return _loader(parts, parts.val, in_order(len(parts.val), parts.batch_size), workers, device)


def _val_every_batches(parts: TrainParts) -> int | None:
    return parts.val_every_steps * parts.accumulate if parts.val is not None else None


def _trainer(
    parts: TrainParts, run_dir: Path, device: Device, callbacks: list[Callback]
) -> Trainer:
    watched = sys.stderr.isatty()
    bar: list[Callback] = [RichProgressBar(console_kwargs={"stderr": True})] if watched else []
    return Trainer(
        accelerator="gpu" if device.kind == "cuda" else "cpu",
        devices=device.processes,
        num_nodes=device.nodes,
        strategy="ddp" if device.world_size > 1 else "auto",
        sync_batchnorm=device.kind == "cuda" and device.world_size > 1,
        plugins=[TorchElasticEnvironment() if under_torchrun() else LightningEnvironment()],
        precision=parts.precision,  # type: ignore[arg-type]
        benchmark=device.kind == "cuda",
        max_epochs=1,
        accumulate_grad_batches=parts.accumulate,
        val_check_interval=_val_every_batches(parts),
        check_val_every_n_epoch=None if parts.val is not None else 1,
        limit_val_batches=None if parts.val is not None else 0,
        num_sanity_val_steps=0,
        gradient_clip_val=parts.clip_norm,
        use_distributed_sampler=False,
        log_every_n_steps=_every_steps(parts),
        logger=TensorBoardLogger(save_dir=run_dir, name="tensorboard", version=""),
        enable_checkpointing=False,
        enable_model_summary=False,
        enable_progress_bar=watched,
        callbacks=[*bar, *callbacks],
        default_root_dir=run_dir,
    )


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep Lightning to its errors and unexpected warnings."""
    loggers = [logging.getLogger(name) for name in ("lightning.pytorch", "lightning.fabric")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.WARNING)
    try:
        with warnings.catch_warnings():
            for message in EXPECTED_WARNINGS:
                warnings.filterwarnings("ignore", message=message)
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


@contextmanager
def _exit_code_of_sigterm() -> Iterator[None]:
    """Give the end by SIGTERM the exit code that shells expect; Lightning's own is 0."""
    try:
        yield
    except SIGTERMException as stop:
        raise SystemExit(128 + signal.SIGTERM) from stop


def _restore_finished(module: LightningModule, path: Path, callbacks: list[Callback]) -> None:
    """Put a finished run's last state into the module and the callbacks."""
    state = torch.load(path, weights_only=True, map_location="cpu")
    module.load_state_dict(state["state_dict"])
    for callback in callbacks:
        callback.load_state_dict(state["callbacks"][callback.state_key])
