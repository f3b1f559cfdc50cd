"""Detections of a clip on disk until its persons are chosen, so that memory stays flat.

Flows in: (row, track, person) in row order. Flows out: the same, read back a stretch at a time.
"""

from __future__ import annotations

from array import array
from pathlib import Path
from types import TracebackType

import numpy as np

from pipeline.pose.joints68 import N_JOINTS
from pipeline.pose.person import Person

_RECORD = np.dtype(
    [
        ("row", "<i4"),
        ("track", "<i4"),
        ("keypoints", "<f4", (N_JOINTS, 3)),
        ("box", "<f4", (4,)),
    ]
)


class Spool:
    """A private scratch file of detections; a context manager that removes it."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / "persons.bin"
        self._file = self._path.open("w+b")
        self._rows = array("i")

    def __enter__(self) -> Spool:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._file.close()
        self._path.unlink(missing_ok=True)

    def add(self, row: int, track: int, person: Person) -> None:
        """Append one detection; `row` never decreases."""
        record = np.zeros((), _RECORD)
        record["row"], record["track"] = row, track
        record["keypoints"], record["box"] = person.keypoints, person.box
        self._file.write(record.tobytes())
        self._rows.append(row)

    def between(self, start: int, stop: int) -> np.ndarray:
        """Return the records of rows start..stop-1: fields row, track, keypoints, box."""
        first, last = np.searchsorted(self._rows, [start, stop])
        self._file.flush()
        self._file.seek(int(first) * _RECORD.itemsize)
        return np.frombuffer(self._file.read(int(last - first) * _RECORD.itemsize), _RECORD)
