"""VGGish's weights as TensorFlow keeps them: a checkpoint flows in, a state for `Vggish` flows out.

AudioSet's authors publish `vggish_model.ckpt`, one file of the first checkpoint format; checkpoints
of the second format are named by their `.index` file. TensorFlow itself reads them: it is no
dependency of this project, and is asked for only here.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from pipeline.failures import EnvironmentBroken

SUFFIXES = (".ckpt", ".index")
_LAYERS = {
    "vggish/conv1": "features.0",
    "vggish/conv2": "features.3",
    "vggish/conv3/conv3_1": "features.6",
    "vggish/conv3/conv3_2": "features.8",
    "vggish/conv4/conv4_1": "features.11",
    "vggish/conv4/conv4_2": "features.13",
    "vggish/fc1/fc1_1": "embeddings.0",
    "vggish/fc1/fc1_2": "embeddings.2",
    "vggish/fc2": "embeddings.4",
}
"""TensorFlow's name -> ours, for each layer."""


def read_vggish(path: Path) -> dict[str, torch.Tensor]:
    """Return the parameters of a VGGish checkpoint under the names that `Vggish` gives them.

    Parameters
    ----------
    path
        `vggish_model.ckpt` (first format) or a file `<prefix>.index` (second format).

    Returns
    -------
    dict
        float32 tensors: filters (out, in, height, width), matrices (out, in), biases (out,).

    Raises
    ------
    EnvironmentBroken
        TensorFlow is not installed, or the file is no checkpoint of VGGish.
    """
    try:
        from tensorflow.errors import OpError
        from tensorflow.train import load_checkpoint
    except ImportError as error:
        raise EnvironmentBroken(
            f"weights file {path} is a TensorFlow checkpoint and TensorFlow is not installed: "
            "pip install tensorflow-cpu, or use torchvggish's file of the same network "
            "(soundstage weights fetch AUDIOSET)"
        ) from error
    prefix = path.with_suffix("") if path.suffix == ".index" else path
    try:
        reader = load_checkpoint(str(prefix))
        held = reader.get_variable_to_shape_map()
    except (OpError, ValueError) as error:
        raise EnvironmentBroken(
            f"weights file {path} cannot be read as a TensorFlow checkpoint; get it again: {error}"
        ) from error
    state = {}
    for theirs, ours in _LAYERS.items():
        for kind, name in (("weights", "weight"), ("biases", "bias")):
            variable = f"{theirs}/{kind}"
            if variable not in held:
                raise EnvironmentBroken(
                    f"weights file {path}: no variable {variable!r}; expected a checkpoint of "
                    f"VGGish, found {sorted(held)[:5]} ..."
                )
            state[f"{ours}.{name}"] = _as_torch(reader.get_tensor(variable))
    return state


def _as_torch(values: np.ndarray) -> torch.Tensor:
    """Return a variable with its axes in torch's order: outputs first."""
    axes = {4: (3, 2, 0, 1), 2: (1, 0), 1: (0,)}[values.ndim]
    return torch.from_numpy(np.ascontiguousarray(values.transpose(axes), np.float32))
