"""One published shard, opened for reading.

In: a shard's path. Out: its index (kept in memory) and contiguous rows of its arrays.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from types import TracebackType

import h5py
import numpy as np

from storage.columns import open_file, read_text_attribute, read_text_column
from storage.errors import CorruptShard, InvalidRecord, ItemNotFound, StoreTooNew
from storage.fingerprint import StageRecord
from storage.records import OK, Outcome, StageSchema, TimeBase
from storage.schema import END_SUFFIX, schema_from_json

SHARD_SCHEMA_VERSION = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """Where an item's rows lie in a shard, and when; a failed item has none."""

    start: int
    length: int
    time_base: TimeBase
    media_sha256: str
    reason: str = OK
    detail: str = ""

    @property
    def ok(self) -> bool:
        """Whether the item has rows."""
        return self.reason == OK

    def outcome(self, item_id: str) -> Outcome:
        """Return the outcome of the item that this entry is of."""
        return Outcome(item_id=item_id, reason=self.reason, detail=self.detail)


@dataclass(frozen=True, slots=True, kw_only=True)
class ShardIndex:
    """What a shard says about its items, and the contract of its arrays; no rows."""

    entries: Mapping[str, Entry]
    record: StageRecord
    schema: StageSchema
    provenance: Mapping[str, str]


class ShardFile:
    """A shard open for reading. Not thread-safe, not picklable: FeatureStore is both.

    Opened again, it need not read its index again: pass the one that it gave before.
    Raises FileNotFoundError, CorruptShard (not HDF5, truncated, a failed checksum), StoreTooNew.
    """

    def __init__(self, path: Path | str, *, index: ShardIndex | None = None) -> None:
        self.path = Path(path)
        if index is not None:
            self.index = index
        try:
            self._file = open_file(self.path)
        except FileNotFoundError:
            raise
        except OSError as error:
            raise CorruptShard(
                f"{self.path}: cannot be opened as a shard ({error}); delete it and run again"
            ) from error
        self._datasets: dict[str, h5py.Dataset] = {}
        self._bytes_arrays: dict[str, bool] = {}

    def close(self) -> None:
        """Close the file; its index stays usable."""
        self._datasets.clear()
        self._file.close()

    def __enter__(self) -> ShardFile:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    @cached_property
    def index(self) -> ShardIndex:
        """Everything but the rows."""
        try:
            return _read_index(self._file, self.path)
        except (OSError, RuntimeError, KeyError, ValueError, TypeError) as error:
            raise CorruptShard(
                f"{self.path}: the index cannot be read ({error}); delete it and run again"
            ) from error

    @property
    def item_ids(self) -> tuple[str, ...]:
        """Every item of the shard in plan order, failed ones too."""
        return tuple(self.index.entries)

    @property
    def outcomes(self) -> dict[str, Outcome]:
        """The outcome of every item."""
        return {item_id: entry.outcome(item_id) for item_id, entry in self.index.entries.items()}

    @property
    def record(self) -> StageRecord:
        """What computed the shard."""
        return self.index.record

    @property
    def schema(self) -> StageSchema:
        """The contract of the arrays."""
        return self.index.schema

    @property
    def provenance(self) -> Mapping[str, str]:
        """Versions of the tools and the device that computed it."""
        return self.index.provenance

    def entry(self, item_id: str) -> Entry:
        """Return where an item's rows lie. Raises ItemNotFound."""
        try:
            return self.index.entries[item_id]
        except KeyError:
            raise ItemNotFound(f"{item_id}: not in {self.path}") from None

    def rows(self, array: str, start: int, stop: int) -> np.ndarray | list[bytes]:
        """Return rows start..stop-1 of the whole shard: an ndarray as stored, or byte strings."""
        try:
            if self._is_bytes(array):
                return self._byte_rows(array, start, stop)
            return self.dataset(f"data/{array}")[start:stop]
        except (OSError, RuntimeError, KeyError) as error:
            raise CorruptShard(
                f"{self.path}: data/{array} rows {start}-{stop} fail their checksum or are "
                f"missing ({error}); delete the shard and run again"
            ) from error

    def dataset(self, name: str) -> h5py.Dataset:
        """Return an HDF5 dataset, kept open with the file."""
        found = self._datasets.get(name)
        if found is None:
            found = self._datasets[name] = self._file[name]
        return found

    def _is_bytes(self, array: str) -> bool:
        found = self._bytes_arrays.get(array)
        if found is None:
            names = [spec.name for spec in self.schema.arrays]
            if array not in names:
                raise InvalidRecord(f"{self.path}: no array {array!r}; there are {names}")
            found = self._bytes_arrays[array] = self.schema[array].is_bytes
        return found

    def _byte_rows(self, array: str, start: int, stop: int) -> list[bytes]:
        if stop <= start:
            return []
        ends = self.dataset(f"data/{array}{END_SUFFIX}")[max(0, start - 1) : stop].tolist()
        if start == 0:
            ends.insert(0, 0)
        first = ends[0]
        joined = self.dataset(f"data/{array}")[first : ends[-1]].tobytes()
        return [joined[a - first : b - first] for a, b in pairwise(ends)]


def _read_index(file: h5py.File, path: Path) -> ShardIndex:
    version = int(file.attrs["schema_version"])
    if version > SHARD_SCHEMA_VERSION:
        raise StoreTooNew(
            f"{path}: the shard has schema version {version}, this software reads up to "
            f"{SHARD_SCHEMA_VERSION}; upgrade soundstage"
        )
    return ShardIndex(
        entries=_read_entries(file),
        record=StageRecord.from_json(json.loads(read_text_attribute(file, "record_json"))),
        schema=schema_from_json(json.loads(read_text_attribute(file, "schema_json"))),
        provenance=json.loads(read_text_attribute(file, "provenance_json")),
    )


def _read_entries(file: h5py.File) -> dict[str, Entry]:
    texts = [read_text_column(file, f"outcomes/{c}") for c in ("item_id", "reason", "detail")]
    failed = {item_id: (reason, detail) for item_id, reason, detail in zip(*texts, strict=True)}
    numbers = [file[f"index/{c}"][:].tolist() for c in ("start", "length", "t0_s", "hop_s")]
    ids, media = (read_text_column(file, f"index/{c}") for c in ("item_id", "media_sha256"))
    bases: dict[tuple[float, float], TimeBase] = {}  # one object for all the items that share it
    entries = {}
    for item_id, sha256, start, length, *base in zip(ids, media, *numbers, strict=True):
        reason, detail = failed.get(item_id, (OK, ""))
        entries[item_id] = Entry(
            start=start,
            length=length,
            time_base=bases.setdefault((base[0], base[1]), TimeBase(base[0], base[1])),
            media_sha256=sha256,
            reason=reason,
            detail=detail,
        )
    return entries
