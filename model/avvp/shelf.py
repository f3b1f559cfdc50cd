"""Where features of clips are kept while a model trains: in memory as long as they fit.

In: arrays, a limit. Out: tensors that hold the same numbers, in memory or mapped from a file.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

GIB = 1 << 30
CHUNK = 1 << 26
"""Values of one mapped file: 256 MiB."""


class Shelf:
    """Keeps float32 arrays in memory up to a limit, and later ones in mapped files.

    The files have no name: they go with the process, however it ends. The system reads their pages
    as they are needed and may forget them again.

    Parameters
    ----------
    limit_gib : float
        What may stay in memory; 0 maps everything.
    folder : Path
        For the files; made when the first one is.
    """

    def __init__(self, limit_gib: float, folder: Path) -> None:
        self.limit_bytes = int(limit_gib * GIB)
        self.folder = folder
        self.held_bytes = 0
        self.mapped_bytes = 0
        self._chunk: np.ndarray = np.empty(0, np.float32)
        self._used = 0

    def keep(self, rows: np.ndarray) -> Tensor:
        """Return the array, float32 of any shape, as a tensor that lasts."""
        if self.held_bytes + rows.nbytes <= self.limit_bytes:
            self.held_bytes += rows.nbytes
            return torch.from_numpy(rows)
        if self._used + rows.size > self._chunk.size:
            self._chunk, self._used = self._map(max(CHUNK, rows.size)), 0
        place = self._chunk[self._used : self._used + rows.size].reshape(rows.shape)
        place[...] = rows
        self._used += rows.size
        self.mapped_bytes += rows.nbytes
        return torch.from_numpy(place)

    def _map(self, values: int) -> np.ndarray:
        self.folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=self.folder) as file:
            return np.memmap(file, dtype=np.float32, mode="w+", shape=values)
