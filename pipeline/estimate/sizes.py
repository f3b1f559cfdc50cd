"""How much each stage stores for an item of a given length.

Resolved stages flow in; rows and bytes flow out. Row shapes, types and rates come from the
extractors themselves, which are built (no network is loaded) and asked about an item that is
nowhere. Only encoded rows (JPEG, JSON) have a stated size.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from dataclasses import dataclass

from pipeline.extractors.base import Extractor, Inputs
from pipeline.pose.joints68 import N_JOINTS
from pipeline.stages import ResolvedStage
from storage.records import ArraySpec, StageSchema, TimeBase
from storage.schema import row_bytes

JPEG_BITS_PER_PIXEL = 1.9
"""Mean over the frames of 14 clips from YouTube, short side 256 px, quality 90; 1.2 to 3.0."""
ASPECT = 16 / 9
JSON_ROW_BYTES = 700
OTHER_ROW_BYTES = 1000
ONE_ROW = frozenset({"probe"})
"""Stages that store one row an item, however long it is."""

_END_BYTES = 8
"""Beside each encoded row stands where it ends, as int64."""
_INDEX_BYTES = 200
"""Of an item's line in a shard's index: id, digest, start, length, times."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StageSize:
    """What one item takes: rows, bytes in the store, and the rows' times.

    `stated` says that the bytes rest on a stated mean size of encoded rows.
    """

    rows: int
    bytes: float
    time_base: TimeBase
    stated: bool = False


class NominalInputs(Inputs):
    """Stands in for the inputs of an item that is nowhere: only lengths and time bases."""

    def __init__(self, above: Mapping[str, StageSize]) -> None:
        self._above = above

    def length(self, stage: str) -> int:
        """Return the number of rows of an upstream stage."""
        return self._above[stage].rows

    def time_base(self, stage: str) -> TimeBase:
        """Return the time base of an upstream stage's rows."""
        return self._above[stage].time_base


def stage_sizes(stages: Mapping[str, ResolvedStage], duration_s: float) -> dict[str, StageSize]:
    """Return what an item of `duration_s` seconds takes in each stage.

    `stages` come upstream first and hold all that they read (`pipeline.stages.resolve`); not
    pose_embed, whose network is not known before it is trained: `pose_embed_size`.
    """
    if duration_s <= 0:
        raise ValueError(f"an item of {duration_s} s: expected a length above 0")
    sizes: dict[str, StageSize] = {}
    for name, stage in stages.items():
        extractor: Extractor = importlib.import_module(stage.definition.module).build(stage)
        base = extractor.time_base(NominalInputs(sizes))
        rows = 1 if name in ONE_ROW else max(1, round(duration_s / base.hop_s))
        sizes[name] = _size(extractor.schema, rows, base, getattr(stage.config, "short_side_px", 0))
    return sizes


def pose_embed_size(pose: StageSize, *, persons: int, channels: int, stride: int) -> StageSize:
    """Return what an item takes in pose_embed through an ST-GCN that is not trained yet.

    `channels` of its last block, `stride` in rows of the pose stage from step to step.
    """
    schema = StageSchema(
        arrays=(
            ArraySpec(name="embedding", dtype="float16", row_shape=(persons, channels, N_JOINTS)),
            ArraySpec(name="present", dtype="uint8", row_shape=(persons,)),
        )
    )
    base = TimeBase(pose.time_base.t0_s, pose.time_base.hop_s * stride)
    return _size(schema, max(1, -(-pose.rows // stride)), base, 0)


def _size(schema: StageSchema, rows: int, base: TimeBase, short_side_px: int) -> StageSize:
    per_row = sum(_row_bytes(spec, short_side_px) for spec in schema.arrays)
    return StageSize(
        rows=rows,
        bytes=rows * per_row + _INDEX_BYTES,
        time_base=base,
        stated=any(spec.is_bytes for spec in schema.arrays),
    )


def _row_bytes(spec: ArraySpec, short_side_px: int) -> float:
    if not spec.is_bytes:
        return row_bytes(spec)
    if spec.unit == "jpeg":
        return JPEG_BITS_PER_PIXEL / 8 * ASPECT * short_side_px**2 + _END_BYTES
    return (JSON_ROW_BYTES if spec.unit == "json" else OTHER_ROW_BYTES) + _END_BYTES
