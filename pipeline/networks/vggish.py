"""VGGish: log-mel patches of 0.96 s flow in, 128-d embeddings flow out.

The network of Hershey et al. (2017, "CNN architectures for large-scale audio classification") as
published with AudioSet. Parameter names are those of the torchvggish release, so its file loads
without a mapping. Shapes: B patches, T frames (96), Q mel bands (64), D width (128).
"""

from __future__ import annotations

import codecs
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from pipeline.failures import EnvironmentBroken

_CONVOLUTIONS = (64, None, 128, None, 256, 256, None, 512, 512, None)
"""Output channels in order; None is a 2 x 2 maximum pool."""
_PCA_CLIP = 2.0
EMBEDDING_SIZE = 128
_ARRAY_GLOBALS: list[Any] = [
    (np.empty(0).__reduce__()[0], "numpy.core.multiarray._reconstruct"),
    (np.empty(0).__reduce__()[0], "numpy._core.multiarray._reconstruct"),
    np.ndarray,
    np.dtype,
    type(np.dtype(np.float32)),
    type(np.dtype(np.float64)),
    codecs.encode,
]
"""What a pickled numpy array names."""


class Vggish(nn.Module):
    """Six 3 x 3 convolutions and three linear layers, 72,141,184 parameters.

    The output is before the last ReLU, which the published AVE and LLP features passed and those of
    the present TensorFlow release did not.
    """

    def __init__(self) -> None:
        super().__init__()
        self.features = _convolutions()
        self.embeddings = nn.Sequential(
            nn.Linear(512 * 6 * 4, 4096),
            nn.ReLU(inplace=True),
            nn.Linear(4096, 4096),
            nn.ReLU(inplace=True),
            nn.Linear(4096, EMBEDDING_SIZE),
        )

    def forward(self, patches_B1TQ: torch.Tensor) -> torch.Tensor:
        """Return embeddings, shape (B, 128), of natural-log mel patches, shape (B, 1, 96, 64)."""
        maps_BCTQ = self.features(patches_B1TQ)
        # TensorFlow flattened with the channels last; the first linear layer expects that order.
        flat_BC = maps_BCTQ.permute(0, 2, 3, 1).flatten(start_dim=1)
        return self.embeddings(flat_BC)


def _convolutions() -> nn.Sequential:
    layers: list[nn.Module] = []
    channels_in = 1
    for channels_out in _CONVOLUTIONS:
        if channels_out is None:
            layers.append(nn.MaxPool2d(2))
            continue
        layers += [nn.Conv2d(channels_in, channels_out, 3, padding=1), nn.ReLU(inplace=True)]
        channels_in = channels_out
    return nn.Sequential(*layers)


def whiten(
    embedding_BD: torch.Tensor, eigen_vectors_DD: torch.Tensor, means_D1: torch.Tensor
) -> torch.Tensor:
    """Return the published PCA projection of embeddings, E (x - mean), shape (B, 128)."""
    return (embedding_BD - means_D1.reshape(1, -1)) @ eigen_vectors_DD.T


def quantise(projected_BD: torch.Tensor) -> torch.Tensor:
    """Return projections clipped to [-2, 2] and mapped to whole numbers in 0..255."""
    clipped = projected_BD.clamp(-_PCA_CLIP, _PCA_CLIP)
    return torch.round((clipped + _PCA_CLIP) * (255.0 / (2 * _PCA_CLIP)))


def read_pca(path: Path) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the eigenvectors, (128, 128), and means, (128, 1), of a PCA file, float32.

    The published files, torchvggish's .pth and AudioSet's .npz, hold numpy arrays; nothing but
    arrays and tensors is unpickled.

    Raises
    ------
    EnvironmentBroken
        The file lacks one of the two.
    """
    arrays = _read_arrays(path)
    shapes = {
        "pca_eigen_vectors": (EMBEDDING_SIZE, EMBEDDING_SIZE),
        "pca_means": (EMBEDDING_SIZE, 1),
    }
    read = {}
    for name, shape in shapes.items():
        if name not in arrays or tuple(arrays[name].shape) != shape:
            raise EnvironmentBroken(f"VGGish PCA file {path}: expected {name!r} of shape {shape}")
        read[name] = torch.as_tensor(arrays[name]).float()
    return read["pca_eigen_vectors"], read["pca_means"]


def _read_arrays(path: Path) -> Mapping[str, Any]:
    if path.suffix == ".npz":
        with np.load(path) as arrays:
            return dict(arrays)
    with torch.serialization.safe_globals(_ARRAY_GLOBALS):
        return dict(torch.load(path, map_location="cpu", weights_only=True))
