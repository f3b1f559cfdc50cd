"""A training step's forward and backward pass as one CUDA graph.

In: a network, its loss, and batches of one shape. Out: the loss terms, and gradients where
`backward` is called. The step of a full-size TriBERT is some 5000 kernels, most of them shorter
than the time that the processor needs to launch one; recorded once and replayed, they follow each
other at once.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from model.tribert.batch import Batch
from model.tribert.losses import LossTerms

WARM_UP_STEPS = 3


class GraphedLoss:
    """Loss terms of batches of one shape, replayed with their gradients.

    `total.backward()` hands the gradients over. They lie in memory that the next call overwrites:
    a step must end before the next one begins, so gradients of several calls cannot be summed up.
    Norms' statistics and the generator stand after the recording as they stood before.

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
        self._shapes = shapes(batch)
        self._parameters = [p for p in network.parameters() if p.requires_grad]
        self._input = batch.apply(torch.clone)
        self._anchor = torch.zeros((), device=batch.mix_B1QF.device, requires_grad=True)
        self._graph = torch.cuda.CUDAGraph()
        kept = [(buffer, buffer.clone()) for buffer in network.buffers()]
        generator = torch.cuda.get_rng_state()
        aside = torch.cuda.Stream()
        aside.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(aside):
            for _ in range(WARM_UP_STEPS):
                self._step(terms_of, dtype)
        torch.cuda.current_stream().wait_stream(aside)
        with torch.cuda.graph(self._graph):
            self._terms, self._gradients = self._step(terms_of, dtype)
        torch.cuda.set_rng_state(generator)
        for buffer, value in kept:
            buffer.copy_(value)

    def fits(self, batch: Batch) -> bool:
        """Whether a batch has the shapes of the recorded one."""
        return shapes(batch) == self._shapes

    def __call__(self, batch: Batch) -> LossTerms:
        """Return the terms of a batch of the recorded shapes."""
        given = batch.tensors()
        for name, place in self._input.tensors().items():
            place.copy_(given[name], non_blocking=True)
        self._graph.replay()
        terms = {name: value.clone() for name, value in self._terms.items()}
        terms["total"] = _HandOver.apply(self._anchor, terms["total"], self._hand_over)
        return LossTerms(**terms)

    def _step(
        self, terms_of: Callable[[Batch], LossTerms], dtype: torch.dtype | None
    ) -> tuple[dict[str, torch.Tensor], tuple[torch.Tensor | None, ...]]:
        """Return terms and gradients; weights are cast anew: a cache of casts would be recorded."""
        with torch.autocast("cuda", dtype=dtype, enabled=dtype is not None, cache_enabled=False):
            terms = terms_of(self._input)
        gradients = torch.autograd.grad(terms.total, self._parameters, allow_unused=True)
        return {name: value.detach() for name, value in terms.named().items()}, gradients

    def _hand_over(self) -> None:
        for parameter, gradient in zip(self._parameters, self._gradients, strict=True):
            parameter.grad = gradient


class _HandOver(torch.autograd.Function):
    """The identity, whose backward pass only says that gradients are wanted."""

    @staticmethod
    def forward(
        ctx: Any, anchor: torch.Tensor, total: torch.Tensor, hand_over: Callable[[], None]
    ) -> torch.Tensor:
        """Return a copy of `total` that asks for gradients, as `anchor` does."""
        del anchor
        ctx.hand_over = hand_over
        return total.clone()

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[None, None, None]:
        """Hand the recorded gradients over; those of a loss that nothing scales."""
        del gradients
        ctx.hand_over()
        return None, None, None


def shapes(batch: Batch) -> dict[str, tuple[torch.Size, torch.dtype]]:
    """Return shape and type of every tensor of a batch."""
    return {name: (tensor.shape, tensor.dtype) for name, tensor in batch.tensors().items()}
