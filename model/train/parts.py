"""The contract between a recipe and the trainer.

In: what `model.<recipe>.recipe.build(job, store, items)` assembled. Out: what `fit` trains and
`main` publishes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from lightning.pytorch import LightningModule
from torch import Tensor

from model.train.errors import InvalidParts

Key = tuple[int, int]
"""(epoch, index): an item draws its randomness from (seed, epoch, index) and nothing else."""


class KeyedDataset(Protocol):
    """A map-style dataset whose keys say in which epoch the item is asked for.

    Validation asks with epoch 0. An item that cannot be read raises; it is never replaced.
    """

    def __len__(self) -> int: ...

    def __getitem__(self, key: Key, /) -> Any: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainParts:
    """Everything `fit` needs. Every generator is seeded with the job's seed before `build` runs.

    To the trainer the whole training is one stream of `max_steps` batches: `trainer.current_epoch`
    stays 0, so a module schedules by steps (`interval="step"`; one epoch is
    ceil(len(train) / batch_size) steps). One optimiser, automatic optimisation. `batch_size` counts
    the batch over all processes and all parts of an accumulated step. Checkpoints are read with
    `weights_only`, so a module calls `save_hyperparameters` with plain values only, or not at all.
    """

    module: LightningModule
    train: KeyedDataset
    batch_size: int
    max_steps: int
    export: Callable[[], Mapping[str, Tensor]]
    """The state to publish; called after training, with the best weights in the module."""
    val: KeyedDataset | None = None
    val_every_steps: int = 0
    """`max_steps` must be a multiple, so that the last weights are validated too."""
    monitor: str | None = None
    """The logged value that chooses the best weights ('val/...'); ties go to the later step."""
    mode: str = "max"
    collate: Callable[[list[Any]], Any] | None = None
    drop_last: bool = False
    precision: str = "32-true"
    """As Lightning names it: '32-true', or 'bf16-mixed' for bfloat16 autocast (CPU and CUDA)."""
    accumulate: int = 1
    """A step's batch is read in so many parts, whose gradients are averaged: less memory. Batch
    norms see a part at a time; figures logged in training are those of the last part."""
    clip_norm: float | None = None
    classes: Sequence[str] = ()
    ids_used: Mapping[str, Sequence[str]] = field(default_factory=dict)
    """Split -> ids that were read."""
    ids_missing: Mapping[str, str] = field(default_factory=dict)
    """Id of the snapshot that could not be used -> why."""
    summary: Mapping[str, Any] = field(default_factory=dict)
    """JSON values for the model's record of itself: sizes, statistics, notes."""

    def __post_init__(self) -> None:
        if self.batch_size < 1 or self.max_steps < 1:
            raise InvalidParts(
                f"batch_size={self.batch_size}, max_steps={self.max_steps}: must be at least 1"
            )
        if self.accumulate < 1 or self.batch_size % self.accumulate:
            raise InvalidParts(
                f"accumulate={self.accumulate}: expected a divisor of "
                f"batch_size={self.batch_size}, at least 1"
            )
        if len(self.train) < 1:
            raise InvalidParts(
                "no training item: see the snapshot's splits and the stages' outcomes"
            )
        if self.drop_last and len(self.train) < self.batch_size:
            raise InvalidParts(
                f"{len(self.train)} training items are fewer than batch_size={self.batch_size} "
                "and drop_last is set: no batch would be left"
            )
        if self.mode not in {"max", "min"}:
            raise InvalidParts(f"mode={self.mode!r}: expected 'max' or 'min'")
        if self.monitor and self.val is None:
            raise InvalidParts(f"monitor={self.monitor!r} needs validation items, there are none")
        if self.val is not None:
            self._check_validation()

    def _check_validation(self) -> None:
        if self.val_every_steps < 1 or self.max_steps % self.val_every_steps:
            raise InvalidParts(
                f"max_steps={self.max_steps} must be a multiple of "
                f"val_every_steps={self.val_every_steps}, at least 1"
            )

    @property
    def steps_per_epoch(self) -> int:
        """How many batches one epoch has."""
        return steps_per_epoch(len(self.train), self.batch_size, drop_last=self.drop_last)


def steps_per_epoch(items: int, batch_size: int, *, drop_last: bool = False) -> int:
    """Return how many batches of `batch_size` one pass over `items` has."""
    return items // batch_size if drop_last else -(-items // batch_size)
