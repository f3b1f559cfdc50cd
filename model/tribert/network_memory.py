"""Activation checkpointing: blocks that keep their input and compute the rest again going back.

In: a network. Out: the same network with the same outputs, gradients and running statistics, which
needs less memory in training and about a third more time (Chen et al. 2016, arXiv 1604.06174).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial
from typing import Any

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils.checkpoint import checkpoint
from torchvision.models.resnet import Bottleneck

from model.tribert.network import TriBERT
from model.tribert.unet import DoubleUNet
from model.tribert.vision import ResidualBlock


def checkpoint_activations(network: TriBERT) -> None:
    """Have the large blocks of `network` keep their inputs only, while gradients are recorded.

    These are the backbone's residual blocks, the transformer's layers and the U-Net's levels.
    Outside training, and without gradients, nothing changes.
    """
    unet = network.unet
    residual = (Bottleneck, ResidualBlock)
    blocks = [block for block in network.vision.trunk.modules() if isinstance(block, residual)]
    blocks += [*network.encoder.layers, *unet.down, *unet.up, *unet.gates]
    blocks += unet.merge if isinstance(unet, DoubleUNet) else ()
    for block in blocks:
        block.forward = partial(_run, block, block.forward)  # type: ignore[method-assign]


def _run(block: nn.Module, forward: Callable[..., Any], *inputs: Any) -> Any:
    """Run `forward`, the block's own."""
    if not (block.training and torch.is_grad_enabled()):
        return forward(*inputs)
    contexts = partial(_contexts, block)
    return checkpoint(forward, *inputs, use_reentrant=False, context_fn=contexts)


def _contexts(
    block: nn.Module,
) -> tuple[AbstractContextManager[None], AbstractContextManager[None]]:
    """Return what surrounds the first pass and the second one."""
    return nullcontext(), _counted_already(block)


@contextmanager
def _counted_already(block: nn.Module) -> Iterator[None]:
    """Keep batch norms from counting the same batch twice in their running statistics."""
    norms = [module for module in block.modules() if isinstance(module, _BatchNorm)]
    kept = [(norm, norm.momentum, norm.num_batches_tracked) for norm in norms]
    for norm in norms:
        norm.momentum, norm.num_batches_tracked = 0.0, None
    try:
        yield
    finally:
        for norm, momentum, batches in kept:
            norm.momentum, norm.num_batches_tracked = momentum, batches
