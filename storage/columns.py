"""Datasets inside our HDF5 files: how rows become checksummed chunks, and text becomes columns.

In: an open HDF5 file, rows block by block. Out: datasets, written one whole chunk at a time.
"""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np

from storage.records import ArraySpec
from storage.schema import END_SUFFIX, chunk_rows

END_CHUNK_ROWS = 8192
LIBVER = "v110"
"""HDF5's format since 1.10: its metadata carries checksums too, unlike the default format's."""


@contextmanager
def create_file(path: Path) -> Iterator[h5py.File]:
    """Open a new HDF5 file for writing; equal contents give equal bytes (no times are kept).

    Without a chunk cache: whole chunks are written, and HDF5 crashes the process when it cannot
    write a cached chunk to a full disk. For the same reason the file is emptied before it is closed
    after an exception: HDF5 holds a file that it cannot flush for as long as the process lives.
    """
    file = h5py.File(path, "x", libver=LIBVER, locking=False, rdcc_nbytes=0)
    try:
        yield file
        close_file(file)
    except BaseException:
        with suppress(OSError, RuntimeError):
            os.truncate(path, 0)
            file.close()
        raise


def open_file(path: Path) -> h5py.File:
    """Open a finished file for reading. Raises FileNotFoundError also when it vanishes meanwhile.

    No locks: a finished file never changes. No chunk cache: a chunk is read once.
    """
    try:
        return h5py.File(path, "r", locking=False, rdcc_nbytes=0)
    except OSError as error:
        if path.exists():
            raise
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(path)) from error


def close_file(file: h5py.File) -> None:
    """Close; h5py reports some failed writes as RuntimeError, here every one is an OSError."""
    try:
        file.close()
    except RuntimeError as error:
        code = re.search(r"errno = (\d+)", str(error))
        if code is None:
            raise
        raise OSError(int(code[1]), str(error)) from error


class Column:
    """One dataset that grows by rows; holds back less than a chunk, writes whole chunks.

    With `length` the dataset is made for exactly that many rows; otherwise it grows.
    """

    def __init__(
        self,
        file: h5py.File,
        name: str,
        *,
        dtype: np.dtype,
        row_shape: tuple[int, ...] = (),
        rows_per_chunk: int,
        length: int | None = None,
    ) -> None:
        self._rows_per_chunk = min(rows_per_chunk, length) if length else rows_per_chunk
        self._dataset = file.create_dataset(
            name,
            shape=(length or 0, *row_shape),
            maxshape=(length or None, *row_shape),
            dtype=dtype,
            chunks=(self._rows_per_chunk, *row_shape),
            fletcher32=True,
        )
        self._pending: list[np.ndarray] = []
        self._pending_rows = 0
        self._written = 0

    def append(self, rows: np.ndarray) -> None:
        """Add rows; the array may be changed by the caller afterwards."""
        if not len(rows):
            return
        self._pending.append(np.array(rows))
        self._pending_rows += len(rows)
        if self._pending_rows >= self._rows_per_chunk:
            self._write(self._pending_rows - self._pending_rows % self._rows_per_chunk)

    def close(self) -> None:
        """Write what was held back."""
        self._write(self._pending_rows)

    def _write(self, count: int) -> None:
        if count == 0:
            return
        rows = self._pending[0] if len(self._pending) == 1 else np.concatenate(self._pending)
        stop = self._written + count
        if stop > self._dataset.shape[0]:
            self._dataset.resize(stop, axis=0)
        self._dataset[self._written : stop] = rows[:count]
        self._written = stop
        self._pending_rows -= count
        self._pending = [rows[count:].copy()] if self._pending_rows else []


@dataclass(frozen=True, slots=True)
class ArraySizes:
    """How much an array will hold: its rows, and the length of its dataset (rows or bytes)."""

    rows: int
    values: int


class ArrayWriter:
    """One array of a stage: a dataset of rows, or of concatenated bytes with each row's end."""

    def __init__(self, file: h5py.File, spec: ArraySpec, sizes: ArraySizes | None = None) -> None:
        name = f"data/{spec.name}"
        self._spec = spec
        self._end = 0
        self._rows = Column(
            file,
            name,
            dtype=np.dtype(np.uint8 if spec.is_bytes else spec.dtype),
            row_shape=spec.row_shape,
            rows_per_chunk=chunk_rows(spec),
            length=sizes.values if sizes else None,
        )
        self._ends = None
        if spec.is_bytes:
            self._ends = Column(
                file,
                name + END_SUFFIX,
                dtype=np.dtype(np.int64),
                rows_per_chunk=END_CHUNK_ROWS,
                length=sizes.rows if sizes else None,
            )

    def append(self, rows: np.ndarray | Sequence[bytes]) -> None:
        """Add rows: an ndarray, or byte strings."""
        if self._ends is None:
            self._rows.append(np.asarray(rows))
            return
        for row in rows:
            self._rows.append(np.frombuffer(row, np.uint8))
        self.append_ends(np.cumsum([len(row) for row in rows], dtype=np.int64))

    def append_bytes(self, values: np.ndarray) -> None:
        """Add concatenated bytes, uint8 (n,); their rows' ends go to `append_ends`."""
        self._rows.append(values)

    def append_ends(self, ends: np.ndarray) -> None:
        """Add rows' ends, counted from the last end so far; int64 (rows,)."""
        if self._ends is not None and len(ends):
            self._ends.append(ends + self._end)
            self._end += int(ends[-1])

    def close(self) -> None:
        """Write what was held back."""
        self._rows.close()
        if self._ends is not None:
            self._ends.close()


def write_column(file: h5py.File, name: str, values: np.ndarray) -> None:
    """Write a small dataset in one chunk, checksummed."""
    column = Column(
        file,
        name,
        dtype=values.dtype,
        rows_per_chunk=max(1, len(values)),
        length=len(values),
    )
    column.append(values)
    column.close()


def write_text_column(file: h5py.File, name: str, texts: Sequence[str]) -> None:
    """Write texts as fixed-length UTF-8. A NUL, which HDF5 takes for the end, is replaced."""
    encoded = [t.replace("\0", "\ufffd").encode("utf-8", "backslashreplace") for t in texts]
    length = max([1, *map(len, encoded)])
    write_column(file, name, np.array(encoded, dtype=h5py.string_dtype("utf-8", length)))


def read_text_column(file: h5py.File, name: str) -> list[str]:
    """Return the texts that `write_text_column` wrote."""
    return [value.decode() for value in file[name][:]]


def write_text_attribute(file: h5py.File, name: str, text: str) -> None:
    """Write an attribute as fixed-length UTF-8: inside the file's header, which has a checksum.

    (A plain `str` would go to HDF5's global heap, which has none.)
    """
    encoded = text.encode()
    file.attrs.create(name, encoded, dtype=h5py.string_dtype("utf-8", max(1, len(encoded))))


def read_text_attribute(file: h5py.File, name: str) -> str:
    """Return the text that `write_text_attribute` wrote."""
    return bytes(file.attrs[name]).decode()
