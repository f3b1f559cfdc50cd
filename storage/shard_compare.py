"""Whether two computations of one shard agree: the same items, outcomes and shapes, near values.

In: two open shards. Out: one line a difference, naming the item and the array.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from storage.records import ArraySpec
from storage.schema import row_bytes
from storage.shard_reader import ShardFile

_BLOCK_BYTES = 4 << 20
_MOST_LINES = 20
# Relative to the largest magnitude in a block: other CPUs and GPUs sum in another order.
_TOLERANCE = {"float16": 1e-2, "float32": 1e-3, "complex64": 1e-3}
_TOLERANCE_DOUBLE = 1e-6


def shard_differences(ours: ShardFile, theirs: ShardFile) -> list[str]:
    """Return what differs, at most 20 lines; floats within a tolerance do not."""
    if ours.schema != theirs.schema:
        return ["the arrays' schemas differ"]
    if set(ours.item_ids) != set(theirs.item_ids):
        return [f"the items differ: {len(ours.item_ids)} and {len(theirs.item_ids)}"]
    lines = []
    for item_id in ours.item_ids:
        lines.extend(_item_differences(ours, theirs, item_id))
        if len(lines) >= _MOST_LINES:
            break
    return lines[:_MOST_LINES]


def _item_differences(ours: ShardFile, theirs: ShardFile, item_id: str) -> list[str]:
    mine, other = ours.entry(item_id), theirs.entry(item_id)
    if mine.reason != other.reason:
        return [f"{item_id}: {mine.reason!r} and {other.reason!r}"]
    if mine.media_sha256 != other.media_sha256:
        return [f"{item_id}: computed from different media"]
    if mine.length != other.length or mine.time_base != other.time_base:
        return [f"{item_id}: {mine.length} and {other.length} rows, or other times"]
    lines = []
    for spec in ours.schema.arrays:
        step = max(1, _BLOCK_BYTES // max(row_bytes(spec), 64 << 10 if spec.is_bytes else 1))
        for row in range(0, mine.length, step):
            count = min(step, mine.length - row)
            pair = [
                shard.rows(spec.name, entry.start + row, entry.start + row + count)
                for shard, entry in ((ours, mine), (theirs, other))
            ]
            if not _near(spec, pair[0], pair[1]):
                lines.append(f"{item_id}: array {spec.name} in rows {row}-{row + count}")
                break
    return lines


def _near(
    spec: ArraySpec, ours: np.ndarray | Sequence[bytes], theirs: np.ndarray | Sequence[bytes]
) -> bool:
    if not isinstance(ours, np.ndarray) or not isinstance(theirs, np.ndarray):
        return list(ours) == list(theirs)
    if not np.issubdtype(ours.dtype, np.inexact):
        return np.array_equal(ours, theirs)
    wide = [
        np.asarray(a, np.complex128 if np.iscomplexobj(a) else np.float64) for a in (ours, theirs)
    ]
    if not ours.size:
        return True
    scale = max(float(np.nanmax(np.abs(wide[1]), initial=0.0)), 1e-30)
    tolerance = _TOLERANCE.get(spec.dtype, _TOLERANCE_DOUBLE) * scale
    return bool(np.allclose(wide[0], wide[1], rtol=0.0, atol=tolerance, equal_nan=True))
