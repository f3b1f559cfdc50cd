"""A training step's forward and backward pass as two CUDA graphs.

In: a network, its loss, and batches of one shape. Out: the loss terms, through which gradients
flow. The step of a full-size TriBERT is some 5000 kernels, most of them shorter than the time that
the processor needs to launch one; recorded once and replayed, they follow each other at once.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields
from typing import Any

import torch
from torch import nn

from model.tribert.batch import Batch
from model.tribert.losses import LossTerms

WARM_UP_STEPS = 3
_NAMES = tuple(item.name for item in fields(LossTerms))


class GraphedLoss:
    """Loss terms of batches of one shape, replayed from graphs.

    Only `total` carries gradients. They lie in memory that the next call overwrites: a step must
    end before the next one begins, so gradients of several calls cannot be summed up. Norms'
    statistics and the generator stand afterwards as they stood before the recording.

    Parameters
    ----------
    network
        Whose parameters get gradients; on a CUDA device, in training mode.
    terms_of
        What is recorded: the network's loss on a batch. It must not wait for the device.
    batch
        An example; every batch of its shapes can be given later.
    dtype
        Of the products, None for the weights' own.
    """

    def __init__(
        self,
        network: nn.Module,
        terms_of: Callable[[Batch], LossTerms],
        batch: Batch,
        dtype: torch.dtype | None,
    ) -> None:
        tensors = batch.tensors()
        self._shapes = shapes(batch)
        recorded = _Recorded(network, terms_of, tuple(tensors), dtype)
        kept = [(buffer, buffer.clone()) for buffer in network.buffers()]
        generator = torch.cuda.get_rng_state()
        self._replay: Any = torch.cuda.make_graphed_callables(
            recorded,
            tuple(tensor.clone() for tensor in tensors.values()),
            num_warmup_iters=WARM_UP_STEPS,
            allow_unused_input=True,
        )
        torch.cuda.set_rng_state(generator)
        for buffer, value in kept:
            buffer.copy_(value)

    def fits(self, batch: Batch) -> bool:
        """Whether a batch has the shapes of the recorded one."""
        return shapes(batch) == self._shapes

    def __call__(self, batch: Batch) -> LossTerms:
        """Return the terms of a batch of the recorded shapes."""
        values: tuple[torch.Tensor, ...] = self._replay(*batch.tensors().values())
        return LossTerms(**dict(zip(_NAMES, (value.clone() for value in values), strict=True)))


class _Recorded(nn.Module):
    """What is recorded, with tensors for arguments and results."""

    def __init__(
        self,
        network: nn.Module,
        terms_of: Callable[[Batch], LossTerms],
        names: tuple[str, ...],
        dtype: torch.dtype | None,
    ) -> None:
        super().__init__()
        self.network = network
        self.terms_of = terms_of
        self.names = names
        self.dtype = dtype

    def forward(self, *tensors: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Return the terms in their order, gradients in `total` alone.

        Weights are cast in each call: a cache of casts would belong to the recording.
        """
        batch = Batch(**dict(zip(self.names, tensors, strict=True)))
        with torch.autocast(
            "cuda", dtype=self.dtype, enabled=self.dtype is not None, cache_enabled=False
        ):
            terms = self.terms_of(batch).named()
        return tuple(term if name == "total" else term.detach() for name, term in terms.items())


def shapes(batch: Batch) -> dict[str, tuple[torch.Size, torch.dtype]]:
    """Return shape and type of every tensor of a batch."""
    return {name: (tensor.shape, tensor.dtype) for name, tensor in batch.tensors().items()}
