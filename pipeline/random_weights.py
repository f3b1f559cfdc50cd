"""Networks filled from a seed, for demos and tests: an empty network and a batch of made-up inputs
flow in, a network whose features say something of their input flows out.

torchvision's own initialisation lets a deep residual network overflow float16. Here the weights are
He-normal (He et al., 2015), and one pass over the batch then gives each layer unit variance: by
batch-norm statistics where a network has them, else by dividing its weights. Three more choices
keep the features of a network that never learned useful; each was measured with linear probes for
what is seen and heard in made-up clips:

- a filter that sees colours sums to zero and treats them much alike: it answers to edges and
  texture, not to the paint of the background;
- a residual branch adds little (`BRANCH_SCALE`), so that depth does not scramble what the first
  layers saw. It also keeps rounding small: at full scale bfloat16 is off by 19 %;
- weights of a flattened map may be smooth along time, so that a sound counts alike whenever in
  the second it comes.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from math import prod
from typing import TypeAlias

import numpy as np
import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torchvision.models.resnet import Bottleneck
from torchvision.models.video.resnet import BasicBlock

BRANCH_SCALE = 0.2
COLOUR_LIKENESS = 0.8
"""Share of the variance that a first filter's three colour planes have in common."""
_COLOURS = 3
Layer: TypeAlias = nn.Conv2d | nn.Conv3d | nn.Linear


def fill(
    network: nn.Module,
    batch: torch.Tensor,
    *,
    seed: int,
    smooth_inputs: Mapping[str, tuple[tuple[int, ...], float]] | None = None,
) -> None:
    """Fill a network's weights in place and leave it in eval mode.

    The result depends on the seed, the names of the layers and the batch, and is the same to the
    bit on one machine: one torch thread is used, whatever the process is set to.

    Parameters
    ----------
    network
        On the CPU; what its tensors hold does not matter.
    batch
        Inputs like those the network will see.
    seed
        Chooses the weights; the batch is not redrawn.
    smooth_inputs
        For linear layers by name: the shape of the input before it was flattened, and the
        smoothness in steps along its first axis.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with torch.no_grad():
            for name, layer in network.named_modules():
                if isinstance(layer, Layer):
                    shape, steps = (smooth_inputs or {}).get(name, (None, 1.0))
                    _fill_layer(layer, _generator(seed, name), input_shape=shape, steps=steps)
            _calibrate(network, batch)
    finally:
        torch.set_num_threads(threads)


def _fill_layer(
    layer: Layer, rng: np.random.Generator, *, input_shape: tuple[int, ...] | None, steps: float
) -> None:
    shape = tuple(layer.weight.shape)
    values = rng.standard_normal(shape, dtype=np.float32)
    if len(shape) > 2 and shape[1] == _COLOURS:
        values = _edge_filters(values)
    if input_shape is not None:
        values = _smooth(values.reshape(len(values), *input_shape), axis=1, steps=steps)
    values = np.ascontiguousarray(values.reshape(shape)) * np.float32((2 / prod(shape[1:])) ** 0.5)
    layer.weight.copy_(torch.from_numpy(values))
    if layer.bias is not None:
        layer.bias.zero_()


def _edge_filters(values: np.ndarray) -> np.ndarray:
    """Return filters (out, 3, ...) that sum to zero over space, colours alike, unit variance."""
    common = values[:, :1]
    values = COLOUR_LIKENESS**0.5 * common + (1 - COLOUR_LIKENESS) ** 0.5 * values
    values = values - values.mean(axis=tuple(range(2, values.ndim)), keepdims=True)
    return values / values.std()


def _smooth(values: np.ndarray, axis: int, steps: float) -> np.ndarray:
    """Return independent normal values correlated along one axis, their variance unchanged."""
    size = values.shape[axis]
    place = np.arange(size)
    correlation = np.exp(-(((place[:, None] - place) / (2 * steps)) ** 2))
    root = np.linalg.cholesky(correlation + 1e-6 * np.eye(size)).astype(np.float32)
    return np.moveaxis(np.tensordot(values, root, axes=(axis, 1)), -1, axis)


def _generator(seed: int, name: str) -> np.random.Generator:
    """Return a layer's own stream, so that a layer more or less moves no other one."""
    digest = hashlib.sha256(f"{seed}:{name}".encode()).digest()
    return np.random.default_rng(int.from_bytes(digest[:16], "big"))


def _calibrate(network: nn.Module, batch: torch.Tensor) -> None:
    """Pass the batch through once and set every layer's scale on the way."""
    norms = [layer for layer in network.modules() if isinstance(layer, _BatchNorm)]
    for norm in norms:
        norm.reset_parameters()
        norm.momentum = None
    _scale_branches(network)
    hooks = []
    if not norms:
        layers = [m for m in network.modules() if isinstance(m, Layer)]
        hooks = [layer.register_forward_hook(_standardise) for layer in layers]
    # In training mode a batch norm takes the batch's statistics; without momentum it keeps them.
    network.train()
    network(batch)
    network.eval()
    for hook in hooks:
        hook.remove()


def _scale_branches(network: nn.Module) -> None:
    """Make the last batch norm of every residual branch small."""
    for block in network.modules():
        if isinstance(block, Bottleneck):
            block.bn3.weight.fill_(BRANCH_SCALE)
        elif isinstance(block, BasicBlock):
            block.conv2[1].weight.fill_(BRANCH_SCALE)


def _standardise(layer: nn.Linear, _: tuple[torch.Tensor], output: torch.Tensor) -> torch.Tensor:
    """Give a layer's output zero mean in each channel and unit variance over all; forward hook."""
    others = [axis for axis in range(output.ndim) if axis != 1]
    centred = output - output.mean(others, keepdim=True)
    scale = centred.square().mean().rsqrt()
    layer.bias.copy_((layer.bias - output.mean(others)) * scale)
    layer.weight.mul_(scale)
    return centred * scale
