"""The plan of batches, a whole small training, and how a training fails."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from lightning.pytorch import LightningModule

from model.train.errors import RunMismatch, TrainingDiverged
from model.train.fit import Device, fit
from model.train.history import progress, read_history
from model.train.parts import Key, TrainParts
from model.train.sampler import BatchPlan, in_order


class Noise:
    """Points whose class is the sign of their sum, drawn from (epoch, index)."""

    def __init__(self, items: int) -> None:
        self.items = items

    def __len__(self) -> int:
        return self.items

    def __getitem__(self, key: Key) -> tuple[torch.Tensor, int]:
        x = np.random.default_rng(key).normal(size=8).astype(np.float32)
        return torch.from_numpy(x), int(x.sum() > 0)


class Net(LightningModule):
    """A small network with dropout and batch norm, which keep state and draw numbers."""

    def __init__(self, learning_rate: float = 1e-2, poison_step: int = -1) -> None:
        super().__init__()
        self.learning_rate = learning_rate
        self.poison_step = poison_step
        self.net = torch.nn.Sequential(
            *(torch.nn.Linear(8, 16), torch.nn.BatchNorm1d(16), torch.nn.Dropout(0.3)),
            *(torch.nn.ReLU(), torch.nn.Linear(16, 2)),
        )

    def training_step(self, batch: tuple, batch_idx: int) -> torch.Tensor:
        x, y = batch
        loss = torch.nn.functional.cross_entropy(self.net(x), y)
        self.log("train/loss", loss.detach())
        return loss * torch.nan if batch_idx == self.poison_step else loss

    def validation_step(self, batch: tuple, batch_idx: int) -> None:
        x, y = batch
        accuracy = (self.net(x).argmax(1) == y).float().mean()
        self.log("val/accuracy", accuracy, batch_size=len(y))

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.AdamW(self.parameters(), self.learning_rate)


def parts(**changes) -> TrainParts:
    torch.manual_seed(0)
    module = changes.pop("module", None) or Net()
    values = {
        "module": module,
        "train": Noise(30),
        "val": Noise(12),
        "batch_size": 4,
        "max_steps": 24,
        "val_every_steps": 6,
        "monitor": "val/accuracy",
        "export": module.state_dict,
    }
    return TrainParts(**(values | changes))


plans = st.builds(
    BatchPlan,
    items=st.integers(1, 20),
    batch_size=st.integers(1, 7),
    batches=st.just(40),
    seed=st.integers(0, 5),
)


@settings(max_examples=40, deadline=None)
@given(plans, st.integers(0, 39))
def test_a_plan_goes_on_anywhere_as_if_it_had_started_there(plan: BatchPlan, start: int) -> None:
    whole = list(plan)
    later = BatchPlan(
        items=plan.items, batch_size=plan.batch_size, batches=40, seed=plan.seed, start=start
    )
    assert list(later) == whole[start:]
    assert len(later) == len(whole) == 40


@settings(max_examples=40, deadline=None)
@given(plans)
def test_an_epoch_has_every_item_once(plan: BatchPlan) -> None:
    epochs: dict[int, Counter] = {}
    for keys in plan:
        for epoch, index in keys:
            epochs.setdefault(epoch, Counter())[index] += 1
    for epoch in range(max(epochs)):
        assert epochs[epoch] == Counter(range(plan.items))


def test_orders_differ_between_epochs_and_seeds() -> None:
    plan = BatchPlan(items=50, batch_size=50, batches=2, seed=0)
    first, second = ([index for _, index in keys] for keys in plan)
    other = [index for _, index in BatchPlan(items=50, batch_size=50, batches=1, seed=1).keys(0)]
    assert first != second
    assert first != other


@pytest.mark.parametrize("world_size", [2, 3])
def test_processes_share_a_batch_evenly(world_size: int) -> None:
    def plan(rank: int, size: int) -> BatchPlan:
        return BatchPlan(items=10, batch_size=4, batches=6, seed=0, rank=rank, world_size=size)

    for position in range(6):
        whole = plan(0, 1).keys(position)
        shares = [plan(rank, world_size).keys(position) for rank in range(world_size)]
        assert {len(share) for share in shares} == {-(-len(whole) // world_size)}
        assert {key for share in shares for key in share} == set(whole)


def test_validation_has_every_item_once_in_order() -> None:
    assert in_order(5, 2) == [[(0, 0), (0, 1)], [(0, 2), (0, 3)], [(0, 4)]]


def test_a_training_ends_with_the_best_weights_and_its_history(tmp_path: Path) -> None:
    made = parts()
    result = fit(made, tmp_path, seed=3)
    validations = [row for row in result.history if "val/accuracy" in row]
    assert [row["step"] for row in validations] == [6, 12, 18, 24]
    best = max(row["val/accuracy"] for row in validations)
    assert result.best_value == best
    assert result.best_step == max(r["step"] for r in validations if r["val/accuracy"] == best)
    steps = [row["step"] for row in result.history if "train/loss" in row]
    assert steps == list(range(1, 25))
    assert result.history[7]["epoch"] == 0.875
    assert progress(tmp_path) == (24, 24)
    assert list(tmp_path.glob("tensorboard/events*"))
    stored = torch.load(tmp_path / f"checkpoints/best-{result.best_step:09d}.pt")
    assert all(torch.equal(stored[k], v) for k, v in made.module.state_dict().items())


def test_without_validation_the_last_weights_stay(tmp_path: Path) -> None:
    result = fit(parts(val=None, monitor=None, max_steps=5), tmp_path, seed=3)
    assert (result.best_step, result.best_value) == (0, None)
    assert (tmp_path / "checkpoints" / "step-000000005.ckpt").exists()


def test_a_finished_run_is_not_trained_again(tmp_path: Path) -> None:
    first, second = parts(), parts()
    done = fit(first, tmp_path, seed=3)
    again = fit(second, tmp_path, seed=3)
    assert again.history == done.history
    weights = first.module.state_dict(), second.module.state_dict()
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])


@pytest.mark.parametrize(
    "made",
    [
        lambda: parts(module=Net(learning_rate=1e20)),
        lambda: parts(module=Net(poison_step=2)),
        lambda: parts(module=Net(poison_step=2), val=None, monitor=None),
    ],
)
def test_a_loss_that_is_not_finite_ends_the_run_with_advice(
    made: Callable[[], TrainParts], tmp_path: Path
) -> None:
    with pytest.raises(TrainingDiverged, match=r"learning rate.*nothing was published"):
        fit(made(), tmp_path, seed=3, checkpoint_every_steps=1)
    states = [torch.load(p) for p in tmp_path.glob("checkpoints/step-*.ckpt")]
    for state in states:
        assert all(torch.isfinite(v).all() for v in state["state_dict"].values())


def test_the_run_directory_of_another_training_is_refused(tmp_path: Path) -> None:
    fit(parts(max_steps=6), tmp_path, seed=3)
    with pytest.raises(RunMismatch, match="another training"):
        fit(parts(), tmp_path, seed=3)


def test_a_monitor_that_is_never_logged_is_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"'val/f1' was not logged.*val/accuracy"):
        fit(parts(monitor="val/f1"), tmp_path, seed=3)


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"max_steps": 25}, "multiple of val_every_steps"),
        ({"val": None}, "needs validation items"),
        ({"train": Noise(0)}, "no training item"),
        ({"train": Noise(3), "drop_last": True}, "no batch would be left"),
        ({"mode": "best"}, "mode='best'"),
    ],
)
def test_parts_that_cannot_be_trained_are_refused(changes: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        parts(**changes)


def test_devices() -> None:
    assert Device.parse("cpu:2") == Device("cpu", 2)
    with pytest.raises(ValueError, match="device='gpu0'"):
        Device.parse("gpu0")


def test_a_torn_last_line_of_the_history_is_left_out(tmp_path: Path) -> None:
    path = tmp_path / "history.jsonl"
    path.write_text('{"step": 1}\n{"step": 2}\n{"st')
    assert read_history(path) == [{"step": 1}, {"step": 2}]
