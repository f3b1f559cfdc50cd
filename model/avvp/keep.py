"""Arrays that take long to make, kept in a run's directory: a killed run does not make them again.

In: a path and a function. Out: arrays by name.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from storage.atomic import replace_file

Arrays = Mapping[str, np.ndarray]


def kept(path: Path, make: Callable[[], Arrays], *, scratch: Path) -> dict[str, np.ndarray]:
    """Return the arrays in the file `path` (.npz); where there is none, those that `make` returns.

    The file appears whole or not at all; `scratch`, where `make` keeps what it goes on from after a
    kill, is removed then.
    """
    if not path.exists():
        arrays: Any = dict(make())
        path.parent.mkdir(parents=True, exist_ok=True)

        def write(private: Path) -> None:
            with private.open("wb") as file:
                np.savez(file, **arrays)

        replace_file(path, write)
        shutil.rmtree(scratch, ignore_errors=True)
    with np.load(path) as found:
        return {name: found[name] for name in found.files}
