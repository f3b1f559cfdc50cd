"""Which items make up which batch: a pure function of (seed, position).

In: the number of items, the batch size, a seed. Out: for every position in the training the list
of (epoch, index) keys, the same after any restart and split evenly between the processes.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from torch.utils.data import Sampler

from model.train.parts import Key, steps_per_epoch


class BatchPlan(Sampler[list[Key]]):
    """The batches of a whole training as one stream that can start anywhere.

    Position p lies in epoch p // steps_per_epoch, whose order is a permutation drawn from
    (seed, epoch). `len()` is always the whole stream, also when `start` > 0: the trainer counts
    with it. With `world_size` processes each gets an equal share of the batch, and reads it in
    `accumulate` equal parts, one after the other; a batch that does not divide is filled up with
    its own first keys. `len()` counts the parts.
    """

    def __init__(
        self,
        *,
        items: int,
        batch_size: int,
        batches: int,
        seed: int,
        start: int = 0,
        drop_last: bool = False,
        rank: int = 0,
        world_size: int = 1,
        accumulate: int = 1,
    ) -> None:
        self.items = items
        self.batch_size = batch_size
        self.batches = batches
        self.seed = seed
        self.start = start
        self.rank = rank
        self.world_size = world_size
        self.accumulate = accumulate
        self.steps_per_epoch = steps_per_epoch(items, batch_size, drop_last=drop_last)
        self._order: tuple[int, np.ndarray] | None = None

    def __len__(self) -> int:
        return self.batches * self.accumulate

    def __iter__(self) -> Iterator[list[Key]]:
        for position in range(self.start, self.batches):
            for part in range(self.accumulate):
                yield self.keys(position, part)

    def keys(self, position: int, part: int = 0) -> list[Key]:
        """Return this process's keys of one part of the batch at `position` (0 is the first)."""
        epoch, batch = divmod(position, self.steps_per_epoch)
        order = self._epoch_order(epoch)
        whole = order[batch * self.batch_size : (batch + 1) * self.batch_size]
        shares = self.world_size * self.accumulate
        filled = np.resize(whole, -(-len(whole) // shares) * shares)
        return [(epoch, int(i)) for i in filled[part * self.world_size + self.rank :: shares]]

    def _epoch_order(self, epoch: int) -> np.ndarray:
        if self._order is None or self._order[0] != epoch:
            generator = np.random.default_rng([self.seed, epoch])
            self._order = (epoch, generator.permutation(self.items))
        return self._order[1]


def in_order(items: int, batch_size: int) -> list[list[Key]]:
    """Return the batches of a validation pass: every index once, in order, with epoch 0."""
    return [
        [(0, index) for index in range(first, min(first + batch_size, items))]
        for first in range(0, items, batch_size)
    ]
