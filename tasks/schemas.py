"""The array contract of a stage, without loading its network here.

Flows in: staged items. Flows out: the schema that the first good one carries, or, where every
item failed, the one that a worker reports.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from pipeline.stages import ResolvedStage
from pipeline.work import stage_schema
from storage import StageSchema, read_staged
from tasks import cluster
from tasks.settings import RunSettings


def shard_schema(
    stage: ResolvedStage, staged: Iterable[Path], run: RunSettings, *, store_root: Path
) -> StageSchema:
    """Return the schema of a stage's shards."""
    for path in staged:
        schema = read_staged(path).schema
        if schema is not None:
            return schema
    with cluster.connect(run) as client:
        return client.submit(stage_schema, stage, str(store_root), pure=False).result()
