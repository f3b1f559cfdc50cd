"""From a resolved stage to a network that is ready to run: once a process, whatever the items.

A network comes from a weights file or is filled from a seed; batch norms are folded into the
convolutions, pictures lie channels-last. Shapes: B batch.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from pickle import UnpicklingError
from typing import TYPE_CHECKING

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import nn
from torch.fx.experimental.optimization import fuse
from torchvision import models

from pipeline import logmel, random_weights
from pipeline.ahead import ahead
from pipeline.failures import EnvironmentBroken
from pipeline.networks import calibration, pixels, tf_checkpoint
from pipeline.networks.vggish import Vggish
from pipeline.weights import random_seed

if TYPE_CHECKING:
    from pipeline.stages import ResolvedStage

_KEPT_NETWORKS = 3
_UNREADABLE = (OSError, RuntimeError, EOFError, UnpicklingError, SafetensorError)


@dataclass(frozen=True, slots=True, kw_only=True)
class Architecture:
    """How a network is built, and the made-up batch for filling it from a seed.

    `build` returns it with its classifier, if any, in `fc`, which is dropped; `input_shape` is one
    example's.
    `smoothness` and `smooth_inputs` are passed on to `random_weights.fill`.
    """

    build: Callable[[], nn.Module]
    batch: Callable[[], torch.Tensor]
    input_shape: tuple[int, ...]
    smoothness: float = 0.0
    smooth_inputs: Mapping[str, tuple[tuple[int, ...], float]] = field(default_factory=dict)


def _sounds() -> torch.Tensor:
    sounds_NS = calibration.sounds(48)
    return logmel.patches_per_second(sounds_NS.ravel(), len(sounds_NS))


def _pictures() -> torch.Tensor:
    return pixels.normalised(calibration.pictures(16, pixels.RESNET.size_px)[:, 0], pixels.RESNET)


def _clips() -> torch.Tensor:
    clips_NFHW3 = calibration.pictures(5, pixels.R2PLUS1D.size_px, frames=8)
    return pixels.normalised(clips_NFHW3, pixels.R2PLUS1D)


ARCHITECTURES: Mapping[str, Architecture] = {
    # The 6 x 4 x 512 map that is flattened has time first: smooth weights along it let a sound
    # count alike whenever in the second it comes.
    "vggish": Architecture(
        build=Vggish,
        batch=_sounds,
        input_shape=(1, 96, 64),
        smooth_inputs={"embeddings.0": ((6, 4 * 512), 3.0)},
    ),
    "resnet152": Architecture(
        build=models.resnet152, batch=_pictures, input_shape=(3, 224, 224), smoothness=1.0
    ),
    "r2plus1d": Architecture(
        build=models.video.r2plus1d_18,
        batch=_clips,
        input_shape=(3, 8, 112, 112),
        smoothness=1.0,
    ),
}
"""By stage name. ResNet-152 (He et al., 2016) and R(2+1)D-18 (Tran et al., 2018) are torchvision's,
without the classifier."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Runner:
    """A network in eval mode with where and how precisely it runs."""

    network: nn.Module
    device: torch.device
    dtype: torch.dtype

    def __call__(self, batch: torch.Tensor) -> torch.Tensor:
        """Return the network's output for a batch, float32 on the CPU.

        On a GPU, too, float32 means float32: the shorter TF32 products are not taken.
        """
        with torch.inference_mode(), torch.backends.cudnn.flags(enabled=True, allow_tf32=False):
            return self.network(batch.to(self.device, self.dtype)).float().cpu()

    def examples(self, asked: int, *, cpu: int, gpu: int) -> int:
        """Return how many examples make a batch: `asked`, or what suits the device for 0."""
        return asked or (cpu if self.device.type == "cpu" else gpu)

    def fed(self, blocks: Iterator[np.ndarray]) -> Iterator[np.ndarray]:
        """Yield the blocks; for a GPU they are made in a thread while it computes."""
        return blocks if self.device.type == "cpu" else ahead(blocks)


def runner(stage: ResolvedStage) -> Runner:
    """Return the network of a stage, loaded at the first call in this process.

    Raises
    ------
    EnvironmentBroken
        The weights file does not fit the network.
    """
    return _runner(
        stage.name,
        stage.record.weights["weights"],
        stage.weights_path,
        stage.precision,
        stage.device,
    )


@lru_cache(maxsize=_KEPT_NETWORKS)
def _runner(name: str, weights: str, path: str | None, precision: str, device: str) -> Runner:
    seed = random_seed(weights)
    network = from_file(name, Path(path)) if path else from_seed(name, seed or 0)
    shape = ARCHITECTURES[name].input_shape
    return folded(network, precision=precision, device=device, input_shape=shape)


def folded(
    network: nn.Module,
    *,
    precision: str,
    device: str = "cpu",
    input_shape: tuple[int, ...] | None = None,
) -> Runner:
    """Return a runner of a copy of a network with its batch norms folded into its convolutions.

    With the shape of an example, a float32 network for the CPU is packed, too: see `_packed`.
    """
    dtype = {"float32": torch.float32, "bfloat16": torch.bfloat16}[precision]
    place = torch.device(device)
    copy = fuse(network.eval()).to(place, dtype)
    if dtype is torch.float32 and place.type == "cpu" and input_shape is not None:
        copy = _packed(copy, input_shape)
    elif not any(isinstance(layer, nn.Conv3d) for layer in copy.modules()):
        copy = copy.to(memory_format=torch.channels_last)
    return Runner(network=copy, device=place, dtype=dtype)


def _packed(network: nn.Module, input_shape: tuple[int, ...]) -> nn.Module:
    """Return a network with its weights laid out for oneDNN, each ReLU and sum in its convolution.

    In float32 a core does R(2+1)D-18 1.7 times and ResNet-152 1.1 times as fast as without; in
    bfloat16 nothing is won. torch calls the way there deprecated and offers no other: compiled
    networks are several times slower on CPUs (torch 2.14).
    """
    example = torch.zeros(1, *input_shape)
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore", FutureWarning)
        warnings.simplefilter("ignore", DeprecationWarning)
        traced = torch.jit.freeze(torch.jit.trace(network, example))
        return torch.jit.optimize_for_inference(traced)


def from_seed(name: str, seed: int) -> nn.Module:
    """Return a network filled from a seed, in eval mode, float32 on the CPU."""
    network = _headless(name)
    architecture = ARCHITECTURES[name]
    network.to_empty(device="cpu")
    random_weights.fill(
        network,
        architecture.batch(),
        seed=seed,
        smoothness=architecture.smoothness,
        smooth_inputs=architecture.smooth_inputs,
    )
    return network


def from_file(name: str, path: Path) -> nn.Module:
    """Return a network with the weights of a file, in eval mode.

    The file is torch's, safetensors' or, for VGGish, a TensorFlow checkpoint.

    Entries for the classifier, `fc.*`, are left out.

    Raises
    ------
    EnvironmentBroken
        The file cannot be read, or its names or shapes are not those of the network.
    """
    network = _headless(name)
    state = {key: value for key, value in _read(path).items() if not key.startswith("fc.")}
    try:
        network.load_state_dict(state, assign=True)
    except RuntimeError as error:
        raise EnvironmentBroken(
            f"weights file {path} does not fit {name}; name the right file in the settings: {error}"
        ) from error
    return network.float().eval()


def _read(path: Path) -> dict[str, torch.Tensor]:
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        if path.suffix in tf_checkpoint.SUFFIXES:
            return tf_checkpoint.read_vggish(path)
        return torch.load(path, map_location="cpu", weights_only=True)
    except _UNREADABLE as error:
        raise EnvironmentBroken(
            f"weights file {path} cannot be read; get it again: {error}"
        ) from error


def _headless(name: str) -> nn.Module:
    """Return a network without memory for its weights, its classifier replaced by nothing."""
    with torch.device("meta"):
        network = ARCHITECTURES[name].build()
    if hasattr(network, "fc"):
        network.fc = nn.Identity()
    return network
