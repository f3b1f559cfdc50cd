"""A small store with a stage of one dense array and one array of bytes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest

from storage import (
    ArraySpec,
    ItemWriter,
    Layout,
    Outcome,
    StageRecord,
    StageSchema,
    TimeBase,
    open_store,
    stage_failure,
    write_shard,
)

SCHEMA = StageSchema(
    arrays=(
        ArraySpec(name="value", dtype="float32", row_shape=(3,), unit="1", chunk_rows=4),
        ArraySpec(name="jpeg", dtype="bytes", unit="jpeg"),
    )
)


def rows_of(item_id: str, count: int) -> dict[str, np.ndarray | list[bytes]]:
    """Rows that tell items and positions apart."""
    base = float(sum(item_id.encode()))
    return {
        "value": (base + np.arange(count * 3, dtype=np.float32)).reshape(count, 3),
        "jpeg": [f"{item_id}#{i}".encode() * (i % 3) for i in range(count)],
    }


@dataclass
class Builder:
    """Stages and publishes shards of one stage."""

    layout: Layout
    record: StageRecord = field(
        default_factory=lambda: StageRecord(stage="frames", stage_version=1, parameters={"fps": 8})
    )
    schema: StageSchema = SCHEMA
    provenance: dict[str, str] = field(default_factory=lambda: {"tool": "1"})

    @property
    def name(self) -> str:
        return self.record.name

    def stage(
        self,
        item_id: str,
        count: int = 5,
        *,
        number: int = 0,
        media: str = "m1",
        failure: str = "",
        shift: float = 0.0,
    ) -> Path:
        source = item_id.split("/")[0]
        path = self.layout.staged_item(self.name, source, number, item_id)
        if failure:
            stage_failure(path, Outcome(item_id=item_id, reason=failure, detail="why"), media)
            return path
        block = rows_of(item_id, count)
        block["value"] = block["value"] + np.float32(shift)
        with ItemWriter(path, self.schema, TimeBase(0.0, 0.125), media, item_id=item_id) as writer:
            writer.append(block)
        return path

    def publish(self, item_ids: Sequence[str], number: int = 0, supplement: int = 0) -> Path:
        source = item_ids[0].split("/")[0]
        return write_shard(
            self.layout,
            self.record,
            source,
            number,
            item_ids,
            supplement=supplement,
            provenance=self.provenance,
            schema=self.schema,
        )

    def make(self, item_ids: Sequence[str], number: int = 0, count: int = 5) -> Path:
        for item_id in item_ids:
            self.stage(item_id, count, number=number)
        return self.publish(item_ids, number)


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    return open_store(tmp_path / "store", create=True)


@pytest.fixture
def builder(layout: Layout) -> Builder:
    return Builder(layout)


@pytest.fixture
def expected():
    return rows_of


@pytest.fixture
def ids():
    return lambda count, source="demo": [f"{source}/video{i}/whole" for i in range(count)]
