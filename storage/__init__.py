"""The feature store: immutable HDF5 shards, outcomes, plans, views, models.

Knows no video, torch or Luigi. What is exported here is what the other packages use most; the rest
is in the modules.
"""

from storage.fingerprint import StageRecord, canonical_json, sha256_file, sha256_json
from storage.layout import Layout, open_store
from storage.models import ModelRecord
from storage.outcomes import FetchEvent, FetchLog, read_fetch_log
from storage.pending import pending_items
from storage.plan import PlanShard, extend_plan, read_plan
from storage.records import (
    MAX_ATTEMPTS,
    ArraySpec,
    Block,
    DatasetItem,
    Event,
    ItemId,
    Outcome,
    StageSchema,
    TimeBase,
    path_safe,
    path_text,
)
from storage.shard_reader import ShardFile
from storage.shard_writer import write_shard
from storage.staging import ItemWriter, StagedItem, is_staged, read_staged, stage_failure
from storage.store import Feature, FeatureStore
from storage.verify import Problem, verify_store

__all__ = [
    "MAX_ATTEMPTS",
    "ArraySpec",
    "Block",
    "DatasetItem",
    "Event",
    "Feature",
    "FeatureStore",
    "FetchEvent",
    "FetchLog",
    "ItemId",
    "ItemWriter",
    "Layout",
    "ModelRecord",
    "Outcome",
    "PlanShard",
    "Problem",
    "ShardFile",
    "StageRecord",
    "StageSchema",
    "StagedItem",
    "TimeBase",
    "canonical_json",
    "extend_plan",
    "is_staged",
    "open_store",
    "path_safe",
    "path_text",
    "pending_items",
    "read_fetch_log",
    "read_plan",
    "read_staged",
    "sha256_file",
    "sha256_json",
    "stage_failure",
    "verify_store",
    "write_shard",
]
