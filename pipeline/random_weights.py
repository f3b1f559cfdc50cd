"""Networks filled from a seed, for demos and tests: an empty network and a batch of made-up inputs
flow in, a network whose features say something of their input flows out.

torchvision's own initialisation lets a deep residual network overflow float16. Here the weights are
He-normal (He et al., 2015), and one pass over the batch then gives each layer unit variance: by
batch-norm statistics where a network has them, else by dividing its weights. Four more choices
keep the features of a network that never learned useful. They were chosen by linear probes, second
by second, for what is seen or heard in the demo's clips; on clips of another seed the mean average
precision without and with them is 0.86 and 1.00 for ResNet-152, 0.38 and 1.00 for R(2+1)D-18, 0.91
and 0.98 for VGGish:

- first filters of several sizes that sum to zero and treat colours much alike answer to edges and
  texture, not to the paint of the background;
- later 3 x 3 filters are smooth: neighbouring weights go together, so that strided layers average
  instead of sampling every other position;
- where a residual stage begins, the branch outweighs the shortcut, which skips three positions of
  four; all other branches add little, so that depth does not scramble what came in (it also keeps
  rounding small: with full branches bfloat16 is off by 19 %);
- weights of a flattened map are smooth along time, so that a sound counts alike whenever in the
  second it comes.
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

FIRST_BRANCH_SCALE = 1.0
SHORTCUT_SCALE = 0.7
LATER_BRANCHES_VARIANCE = 0.09
"""What the branches of a stage but the first add together."""
COLOUR_LIKENESS = 0.8
"""Share of the variance that a first filter's three colour planes have in common."""
FIRST_SMOOTHNESS = (0.0, 0.7, 1.2, 2.0)
"""Of the first filters, in turn; weights `d` taps apart correlate as exp(-(d / 2 s)^2)."""
_COLOURS = 3
Layer: TypeAlias = nn.Conv2d | nn.Conv3d | nn.Linear
Block: TypeAlias = Bottleneck | BasicBlock


def fill(
    network: nn.Module,
    batch: torch.Tensor,
    *,
    seed: int,
    smoothness: float = 0.0,
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
    smoothness
        Of filters but the first: weights `d` taps apart correlate as exp(-(d / 2 smoothness)^2).
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
                    shape, steps = (smooth_inputs or {}).get(name, (None, smoothness))
                    _fill_layer(layer, _generator(seed, name), input_shape=shape, steps=steps)
            _calibrate(network, batch)
    finally:
        torch.set_num_threads(threads)


def _fill_layer(
    layer: Layer, rng: np.random.Generator, *, input_shape: tuple[int, ...] | None, steps: float
) -> None:
    shape = tuple(layer.weight.shape)
    values = rng.standard_normal(shape, dtype=np.float32)
    if input_shape is not None:
        values = _smooth(values.reshape(len(values), *input_shape), 1, steps).reshape(shape)
    elif len(shape) > 2 and shape[1] == _COLOURS:
        values = _edge_filters(values)
    else:
        values = _smooth_filters(values, steps)
    values = np.ascontiguousarray(values * np.float32((2 / prod(shape[1:])) ** 0.5))
    layer.weight.copy_(torch.from_numpy(values))
    if layer.bias is not None:
        layer.bias.zero_()


def _edge_filters(values: np.ndarray) -> np.ndarray:
    """Return first filters, (out, 3, ...): of several sizes, colours alike, with sums of zero."""
    for turn, steps in enumerate(FIRST_SMOOTHNESS):
        chosen = slice(turn, None, len(FIRST_SMOOTHNESS))
        values[chosen] = _smooth_filters(values[chosen], steps)
    likeness = np.float32(COLOUR_LIKENESS)
    values = np.sqrt(likeness) * values[:, :1] + np.sqrt(1 - likeness) * values
    values = values - values.mean(axis=tuple(range(2, values.ndim)), keepdims=True)
    return values / values.std()


def _smooth_filters(values: np.ndarray, steps: float) -> np.ndarray:
    """Return filters, (out, in, ...), smoothed along every axis of space and time."""
    for axis in range(2, values.ndim):
        values = _smooth(values, axis, steps)
    return values


def _smooth(values: np.ndarray, axis: int, steps: float) -> np.ndarray:
    """Return independent normal values correlated along one axis, their variance unchanged."""
    size = values.shape[axis]
    if size == 1 or steps == 0:
        return values
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
    """Set the last batch norm of every residual branch, stage by stage."""
    for stage in network.children():
        blocks = [block for block in stage.children() if isinstance(block, Block)]
        for number, block in enumerate(blocks):
            later = (LATER_BRANCHES_VARIANCE / max(1, len(blocks) - 1)) ** 0.5
            last = block.bn3 if isinstance(block, Bottleneck) else block.conv2[1]
            last.weight.fill_(later if number else FIRST_BRANCH_SCALE)
            if block.downsample is not None:
                block.downsample[1].weight.fill_(SHORTCUT_SCALE)


def _standardise(layer: nn.Linear, _: tuple[torch.Tensor], output: torch.Tensor) -> torch.Tensor:
    """Give a layer's output zero mean in each channel and unit variance over all; forward hook."""
    others = [axis for axis in range(output.ndim) if axis != 1]
    centred = output - output.mean(others, keepdim=True)
    scale = centred.square().mean().rsqrt()
    layer.bias.copy_((layer.bias - output.mean(others)) * scale)
    layer.weight.mul_(scale)
    return centred * scale
