"""The contract of a stage's arrays as JSON, and the check of a block of rows against it.

In: a StageSchema and blocks of rows. Out: JSON, validated blocks, chunk sizes.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from storage.errors import InvalidRecord
from storage.records import ArraySpec, Block, StageSchema

MAX_CHUNK_BYTES = 1 << 20
MIN_CHUNK_BYTES = 64 << 10
END_SUFFIX = "__end"
_ARRAY_NAME = re.compile(r"[a-z][a-z0-9_]*")


def schema_as_json(schema: StageSchema) -> dict[str, Any]:
    """Return JSON values; `schema_from_json` reads them back."""
    return {
        "anchor": schema.anchor,
        "arrays": [
            {
                "name": spec.name,
                "dtype": spec.dtype,
                "row_shape": list(spec.row_shape),
                "unit": spec.unit,
                "dims": list(spec.dims),
                "chunk_rows": spec.chunk_rows,
            }
            for spec in schema.arrays
        ],
    }


def schema_from_json(value: Mapping[str, Any]) -> StageSchema:
    """Return the schema that `schema_as_json` described."""
    arrays = tuple(
        ArraySpec(
            name=row["name"],
            dtype=row["dtype"],
            row_shape=tuple(row["row_shape"]),
            unit=row["unit"],
            dims=tuple(row["dims"]),
            chunk_rows=row["chunk_rows"],
        )
        for row in value["arrays"]
    )
    return StageSchema(arrays=arrays, anchor=value["anchor"])


def check_schema(schema: StageSchema) -> None:
    """Raise InvalidRecord unless the schema can be stored: names, dtypes, at least one array."""
    names = [spec.name for spec in schema.arrays]
    if not names or len(set(names)) != len(names):
        raise InvalidRecord(f"arrays {names}: expected at least one, and no name twice")
    for spec in schema.arrays:
        if not _ARRAY_NAME.fullmatch(spec.name) or spec.name.endswith(END_SUFFIX):
            raise InvalidRecord(f"array name {spec.name!r}: expected lower case, digits and '_'")
        if spec.is_bytes and spec.row_shape:
            raise InvalidRecord(f"array {spec.name}: rows of bytes have no row_shape")
        if not spec.is_bytes and np.dtype(spec.dtype).hasobject:
            raise InvalidRecord(f"array {spec.name}: dtype {spec.dtype} cannot be stored")
        if min((spec.chunk_rows, *spec.row_shape)) < 1:
            raise InvalidRecord(
                f"array {spec.name}: chunk_rows {spec.chunk_rows} and every side of row_shape "
                f"{spec.row_shape} must be 1 or more"
            )


def row_bytes(spec: ArraySpec) -> int:
    """Return the size of one row in bytes; one for an array of bytes."""
    if spec.is_bytes:
        return 1
    return int(np.prod(spec.row_shape, dtype=np.int64)) * np.dtype(spec.dtype).itemsize


def chunk_rows(spec: ArraySpec) -> int:
    """Return the rows of one chunk: what a reader asks for, held between 64 KiB and 1 MiB.

    Small reading units are put together (a chunk costs a disk access and a checksum of its own),
    large ones are split, a row never is.
    """
    size = max(1, row_bytes(spec))
    unit = 128 << 10 if spec.is_bytes else spec.chunk_rows
    if unit * size > MAX_CHUNK_BYTES:
        return max(1, MAX_CHUNK_BYTES // size)
    return unit * max(1, MIN_CHUNK_BYTES // (unit * size))


def check_block(schema: StageSchema, block: Block, item: str) -> int:
    """Return the number of rows of a block that keeps the contract.

    Raises InvalidRecord for a missing or unknown array, another dtype or shape, or unequal
    lengths, and OverflowError when a float16 array holds a value that float16 cannot.
    """
    names = {spec.name for spec in schema.arrays}
    if set(block) != names:
        raise InvalidRecord(f"{item}: arrays {sorted(block)}, expected {sorted(names)}")
    lengths = {spec.name: _check_rows(spec, block[spec.name], item) for spec in schema.arrays}
    if len(set(lengths.values())) != 1:
        raise InvalidRecord(f"{item}: arrays of one block differ in length: {lengths}")
    return next(iter(lengths.values()))


def _check_rows(spec: ArraySpec, rows: np.ndarray | Sequence[bytes], item: str) -> int:
    where = f"{item}: array {spec.name!r}"
    if spec.is_bytes:
        for row in rows:
            if not isinstance(row, bytes):
                raise InvalidRecord(f"{where}: expected rows of bytes, got {type(row).__name__}")
        return len(rows)
    if not isinstance(rows, np.ndarray):
        raise InvalidRecord(f"{where}: expected an ndarray, got {type(rows).__name__}")
    if rows.dtype != np.dtype(spec.dtype) or rows.shape[1:] != spec.row_shape or rows.ndim == 0:
        raise InvalidRecord(
            f"{where}: expected {spec.dtype} (n, {', '.join(map(str, spec.row_shape))}), "
            f"got {rows.dtype} {rows.shape}"
        )
    if rows.dtype == np.float16 and not np.isfinite(rows).all():
        raise OverflowError(
            f"{where}: holds values that float16 cannot (largest is 65504), or NaN; "
            "store the array as float32 and raise stage_version"
        )
    return len(rows)
