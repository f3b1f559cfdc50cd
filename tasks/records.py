"""The fingerprint records that a store holds of a stage."""

from __future__ import annotations

import json

from storage import StageRecord
from storage.layout import Layout


def read_stage_records(layout: Layout, stage: str) -> list[StageRecord]:
    """Return the records of every fingerprint of `stage` that has shards."""
    return [
        StageRecord.from_json(json.loads(meta.read_text()))
        for meta in sorted(layout.stages().glob(f"{stage}-*/meta.json"))
        if meta.parent.name.rpartition("-")[0] == stage
    ]
