"""A training that stops anywhere and goes on ends with the same weights, bit for bit."""

from __future__ import annotations

import os
import random
import signal
from pathlib import Path

import numpy as np
import pytest
import torch
from lightning.pytorch import Callback, LightningModule, Trainer

from model.train.fit import fit
from model.train.parts import Key, TrainParts
from model.train.resume import generator_states, newest_checkpoint, restore_generators

STEPS = 12
VAL_EVERY = 4


class Points:
    """Points and classes drawn from (epoch, index)."""

    def __len__(self) -> int:
        return 14

    def __getitem__(self, key: Key) -> tuple[torch.Tensor, int]:
        x = np.random.default_rng(key).normal(size=8).astype(np.float32)
        return torch.from_numpy(x), int(x.sum() > 0)


class Net(LightningModule):
    """Dropout on three generators, batch norm, a schedule: all that a resume could lose."""

    def __init__(self) -> None:
        super().__init__()
        self.inner, self.norm = torch.nn.Linear(8, 16), torch.nn.BatchNorm1d(16)
        self.outer = torch.nn.Linear(16, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.outer(torch.dropout(self.norm(self.inner(x)), 0.3, self.training))

    def training_step(self, batch: tuple, batch_idx: int) -> torch.Tensor:
        noise = random.random() + float(np.random.normal())
        loss = torch.nn.functional.cross_entropy(self(batch[0]) + 0.1 * noise, batch[1])
        loss = loss * (1 + 0.1 * noise)
        self.log("train/loss", loss.detach())
        return loss

    def validation_step(self, batch: tuple, batch_idx: int) -> None:
        loss = torch.nn.functional.cross_entropy(self(batch[0]), batch[1])
        self.log("val/loss", loss, batch_size=len(batch[1]))

    def configure_optimizers(self) -> dict:
        optimiser = torch.optim.AdamW(self.parameters(), 1e-2)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, STEPS)
        return {"optimizer": optimiser, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}


class Stopped(Exception):
    """The kill."""


class StopAt(Callback):
    """Stops after a step, or after the validation that follows it."""

    def __init__(self, step: int, *, after_validation: bool) -> None:
        self.step = step
        self.after_validation = after_validation

    def on_train_batch_end(self, trainer: Trainer, *rest) -> None:
        if trainer.global_step == self.step and not self.after_validation:
            raise Stopped

    def on_validation_end(self, trainer: Trainer, *rest) -> None:
        if trainer.global_step == self.step and self.after_validation:
            raise Stopped


def parts() -> TrainParts:
    torch.manual_seed(0)
    module = Net()
    return TrainParts(
        module=module,
        train=Points(),
        val=Points(),
        batch_size=4,
        max_steps=STEPS,
        val_every_steps=VAL_EVERY,
        monitor="val/loss",
        mode="min",
        export=module.state_dict,
    )


def outcome(run_dir: Path, **options) -> tuple[dict, dict, list[dict]]:
    """Best weights, last weights, and the history without its clock."""
    made = parts()
    result = fit(made, run_dir, seed=3, **options)
    last = torch.load(run_dir / "checkpoints" / f"step-{STEPS:09d}.ckpt")["state_dict"]
    rows = [{k: v for k, v in row.items() if k != "wall_s"} for row in result.history]
    return made.module.state_dict(), last, rows


def assert_same(found: tuple, expected: tuple) -> None:
    for ours, theirs in zip(found[:2], expected[:2], strict=True):
        assert all(torch.equal(ours[name], theirs[name]) for name in theirs)
    assert found[2] == expected[2]


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> tuple:
    return outcome(tmp_path_factory.mktemp("undisturbed"))


@pytest.mark.parametrize("every_steps", [1, 3])
@pytest.mark.parametrize(
    "step, after_validation",
    [(step, False) for step in range(1, STEPS + 1)] + [(4, True), (8, True), (12, True)],
)
def test_stopping_anywhere_changes_nothing(
    step: int, after_validation: bool, every_steps: int, undisturbed: tuple, tmp_path: Path
) -> None:
    stop = StopAt(step, after_validation=after_validation)
    with pytest.raises(Stopped):
        fit(parts(), tmp_path, seed=3, checkpoint_every_steps=every_steps, callbacks=(stop,))
    assert_same(outcome(tmp_path, checkpoint_every_steps=every_steps), undisturbed)


def test_stopping_twice_with_loader_workers_changes_nothing(
    undisturbed: tuple, tmp_path: Path
) -> None:
    for step in (3, 7):
        stop = StopAt(step, after_validation=False)
        with pytest.raises(Stopped):
            fit(
                parts(), tmp_path, seed=3, loader_workers=2, checkpoint_every_steps=2,
                callbacks=(stop,),
            )  # fmt: skip
    assert_same(outcome(tmp_path, loader_workers=2), undisturbed)


class Terminate(Callback):
    """Asks the process to end, during a step or the validation that follows it."""

    def __init__(self, step: int, *, in_validation: bool) -> None:
        self.step = step
        self.in_validation = in_validation

    def on_train_batch_start(self, trainer: Trainer, *rest) -> None:
        if trainer.global_step == self.step - 1 and not self.in_validation:
            os.kill(os.getpid(), signal.SIGTERM)

    def on_validation_batch_start(self, trainer: Trainer, *rest) -> None:
        if trainer.global_step == self.step and self.in_validation:
            os.kill(os.getpid(), signal.SIGTERM)


@pytest.mark.parametrize("step, in_validation", [(3, False), (8, False), (8, True), (12, True)])
def test_a_polite_stop_keeps_the_step(
    step: int, in_validation: bool, undisturbed: tuple, tmp_path: Path
) -> None:
    stop = Terminate(step, in_validation=in_validation)
    with pytest.raises(SystemExit) as stopped:
        fit(parts(), tmp_path, seed=3, callbacks=(stop,))
    assert stopped.value.code == 143
    kept = newest_checkpoint(tmp_path / "checkpoints")
    assert kept is not None
    assert kept[1] == (step if step % VAL_EVERY else step - VAL_EVERY)  # not in mid-validation
    assert_same(outcome(tmp_path), undisturbed)


def test_one_checkpoint_is_kept_and_abandoned_files_are_removed(tmp_path: Path) -> None:
    fit(parts(), tmp_path, seed=3, checkpoint_every_steps=1)
    names = sorted(path.name for path in (tmp_path / "checkpoints").iterdir())
    assert [name for name in names if name.endswith(".ckpt")] == [f"step-{STEPS:09d}.ckpt"]
    assert len(names) == 2
    assert newest_checkpoint(tmp_path / "checkpoints") == (
        tmp_path / "checkpoints" / names[-1],
        STEPS,
    )


def test_generators_come_back() -> None:
    def draw() -> tuple[float, float, float]:
        return random.random(), float(np.random.normal()), torch.rand(()).item()

    np.random.normal()  # leaves a second normal number cached
    states = generator_states()
    drawn = draw()
    draw()
    restore_generators(states)
    assert draw() == drawn
