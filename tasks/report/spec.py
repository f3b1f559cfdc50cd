"""What a report says: everything the page needs to know, as one JSON file.

Flows in: the facts that `gather` collected. Flows out: the same, for the renderer's process.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportSpec:
    """A report's content by reference: names in the store, and what the store cannot tell.

    `coverage` is `tasks.coverage.summary`, with the published lists and the ids' digest;
    `rejected` rows hold item, stage, reason, detail; `stages` maps `source` -> list of stage
    records (JSON) with outcomes by reason; `models`, `evaluations` and `parsing_tables` are names
    in the store; `provenance` holds versions and settings.
    """

    root: str
    dataset: str
    recipe: str
    reason: str
    notes: Sequence[str]
    coverage: Mapping[str, Any]
    rejected: Sequence[Mapping[str, str]]
    stages: Mapping[str, Sequence[Mapping[str, Any]]]
    models: Sequence[str]
    evaluations: Sequence[str]
    parsing_tables: Sequence[str]
    provenance: Mapping[str, Any]

    def to_json(self, path: Path) -> None:
        """Write the content to `path`."""
        path.write_text(json.dumps(asdict(self), indent=1, sort_keys=True))

    @classmethod
    def from_json(cls, path: Path) -> ReportSpec:
        """Return the content that `to_json` wrote."""
        return cls(**json.loads(path.read_text()))
