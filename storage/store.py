"""The reader that everything downstream uses: rows of an item of a stage, whatever shard has them.

In: a store's root, a stage, an item id. Out: arrays with times. Cheap to make, picklable, safe
under fork and spawn; memory stays flat however many items are read.
"""

from __future__ import annotations

import os
import threading
from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from storage.catalog import ItemState, list_shards, list_stage_sources, list_stages, merge_index
from storage.errors import ItemNotFound, StageNotFound
from storage.layout import STAGE_NAME, open_store
from storage.records import Outcome, StageSchema, TimeBase
from storage.retries import stage_marks
from storage.shard_reader import ShardFile, ShardIndex
from storage.views import read_source_view

MAX_OPEN_FILES = 32

_INHERITED: list[Any] = []
"""Files opened before a fork. The child never touches them, so it must not close them either."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Feature:
    """Rows of one item with their times; `values` is the stage's first array.

    `times_s` is float64 (n,), seconds from the item's start. Arrays of bytes are object arrays.
    """

    values: np.ndarray
    times_s: np.ndarray
    unit: str
    arrays: dict[str, np.ndarray]


class _Catalog:
    """The items of one stage and source, as far as its folder was listed."""

    def __init__(self, name_fp: str, source: str) -> None:
        self.name_fp = name_fp
        self.source = source
        self.states: dict[str, ItemState] = {}
        self.indexes: dict[Path, ShardIndex] = {}
        self.schema: StageSchema | None = None
        self.first_array = ""


class FeatureStore:
    """Read features by stage and item.

    A stage is a name (`stft`), resolved by the view of the item's source, or
    `<stage>-<fingerprint>`. What was listed once stays listed: a new shard is seen when an item is
    asked for that is not known or had no rows, a new view or a recomputed item after `refresh`.
    """

    def __init__(self, root: Path | str, *, max_open_files: int = MAX_OPEN_FILES) -> None:
        self.layout = open_store(root)
        self._max_open_files = max_open_files
        self._reset()

    def _reset(self) -> None:
        self._pid = os.getpid()
        self._lock = threading.RLock()
        self._files: OrderedDict[Path, ShardFile] = OrderedDict()
        self._catalogs: dict[tuple[str, str], _Catalog] = {}

    def __getstate__(self) -> dict[str, Any]:
        return {"layout": self.layout, "_max_open_files": self._max_open_files}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._reset()

    def _own(self) -> threading.RLock:
        """Return the lock; in a forked child, first forget the parent's files."""
        if self._pid != os.getpid():
            _INHERITED.append((self._files, self._lock))
            self._reset()
        return self._lock

    def refresh(self) -> None:
        """Forget what was listed, and close every file."""
        with self._own():
            for shard in self._files.values():
                shard.close()
            self._files.clear()
            self._catalogs.clear()

    close = refresh

    def read(
        self,
        stage: str,
        item_id: str,
        *,
        start_s: float | None = None,
        end_s: float | None = None,
    ) -> Feature:
        """Return the rows with start_s <= time < end_s (all of them by default), and their times.

        Raises ItemNotFound (the message has the item's outcome), StageNotFound, CorruptShard.
        """
        with self._own():
            catalog, state = self._locate(stage, item_id)
            base, length = state.entry.time_base, state.entry.length
            start, stop = base.rows_between(start_s, end_s, length)
            schema = self._schema(catalog)
            arrays = {
                spec.name: _as_array(self._rows(state, spec.name, start, stop))
                for spec in schema.arrays
            }
        first = schema.arrays[0]
        return Feature(
            values=arrays[first.name],
            times_s=base.times_s(start, stop),
            unit=first.unit,
            arrays=arrays,
        )

    def rows(
        self,
        stage: str,
        item_id: str,
        array: str | None = None,
        start: int = 0,
        stop: int | None = None,
    ) -> np.ndarray | list[bytes]:
        """Return rows start..stop-1 of one array (the first by default), clamped at the item's end.

        An ndarray as stored, (n, *row_shape), or a list of byte strings.
        """
        with self._own():
            catalog, state = self._locate(stage, item_id)
            length = state.entry.length
            stop = length if stop is None else min(stop, length)
            if start < 0:
                raise IndexError(f"{item_id}: rows of {stage} from {start}; expected 0 or more")
            return self._rows(state, array or catalog.first_array, min(start, stop), stop)

    def length(self, stage: str, item_id: str) -> int:
        """Return the number of rows of an item."""
        with self._own():
            return self._locate(stage, item_id)[1].entry.length

    def time_base(self, stage: str, item_id: str) -> TimeBase:
        """Return the times of an item's rows."""
        with self._own():
            return self._locate(stage, item_id)[1].entry.time_base

    def schema(self, stage: str) -> StageSchema:
        """Return the contract of a stage's arrays. Raises StageNotFound without a shard."""
        with self._own():
            for catalog in self._all(stage):
                if catalog.indexes:
                    return self._schema(catalog)
        raise StageNotFound(f"{stage}: no shard of it is published yet in {self.layout.root}")

    def items(self, stage: str) -> list[str]:
        """Return the items that have rows, by source and in plan order."""
        return [item_id for item_id, state in self._states(stage) if state.entry.ok]

    def outcomes(self, stage: str) -> dict[str, Outcome]:
        """Return the latest outcome of every item of a stage."""
        return {item_id: state.outcome(item_id) for item_id, state in self._states(stage)}

    def attempts(self, stage: str) -> dict[str, int]:
        """Return how often each item failed for a passing reason, on its present media.

        What came before the item was last marked to be tried again does not count.
        """
        return {item_id: state.attempts for item_id, state in self._states(stage)}

    def media_sha256(self, stage: str) -> dict[str, str]:
        """Return the digest of the media that each item was computed from."""
        return {item_id: state.entry.media_sha256 for item_id, state in self._states(stage)}

    def resolve(self, stage: str, source: str | None = None) -> str:
        """Return `<stage>-<fingerprint>` for a stage's name.

        The latest view of `source` decides (of all sources, when they agree and none is given);
        without one the store must hold a single fingerprint of the stage. Raises StageNotFound.
        """
        if STAGE_NAME.fullmatch(stage):
            if not self.layout.stage_dir(stage).is_dir():
                raise StageNotFound(
                    f"{stage}: not in {self.layout.root}; there are "
                    f"{list_stages(self.layout, stage.rsplit('-', 1)[0])}"
                )
            return stage
        folder = self.layout.sources()
        sources = (
            [source] if source else [p.name for p in folder.iterdir()] if folder.is_dir() else []
        )
        views = (read_source_view(self.layout, name) for name in sources)
        chosen = {f"{stage}-{view[stage]}" for view in views if stage in view}
        candidates = list_stages(self.layout, stage)
        found = chosen or set(candidates)
        if len(found) == 1:
            return found.pop()
        if not found:
            raise StageNotFound(
                f"{stage}: no such stage in {self.layout.root}; "
                f"there are {list_stages(self.layout)}"
            )
        raise StageNotFound(
            f"{stage}: {len(found)} candidates and no view of source {source or '(any)'} that "
            f"chooses: {sorted(found)}; name one of them"
        )

    def _states(self, stage: str) -> list[tuple[str, ItemState]]:
        with self._own():
            return [pair for catalog in self._all(stage) for pair in catalog.states.items()]

    def _all(self, stage: str) -> list[_Catalog]:
        """Return the catalogs of every source of a stage, listed anew."""
        name_fp = self.resolve(stage)
        catalogs = [self._catalog(name_fp, s) for s in list_stage_sources(self.layout, name_fp)]
        for catalog in catalogs:
            self._relist(catalog)
        return catalogs

    def _catalog(self, stage: str, source: str) -> _Catalog:
        found = self._catalogs.get((stage, source))
        if found is None:
            name_fp = self.resolve(stage, source)
            found = self._catalogs.get((name_fp, source))
            if found is None:
                found = self._catalogs[name_fp, source] = _Catalog(name_fp, source)
                self._relist(found)
            self._catalogs[stage, source] = found
        return found

    def _locate(self, stage: str, item_id: str) -> tuple[_Catalog, ItemState]:
        catalog = self._catalog(stage, item_id.partition("/")[0])
        state = catalog.states.get(item_id)
        if state is None or not state.entry.ok:
            self._relist(catalog)
            state = catalog.states.get(item_id)
        if state is None:
            raise ItemNotFound(
                f"{item_id}: not in {catalog.name_fp} ({len(catalog.states)} items of source "
                f"{catalog.source}); it is not computed yet: run the pipeline on it"
            )
        if not state.entry.ok:
            raise ItemNotFound(
                f"{item_id}: has no rows in {catalog.name_fp}: {state.entry.reason}"
                + (f" ({state.entry.detail})" if state.entry.detail else "")
            )
        return catalog, state

    def _relist(self, catalog: _Catalog) -> None:
        """Take in shards and supplements that appeared since."""
        refs = list_shards(self.layout, catalog.name_fp, catalog.source)
        if [ref.path for ref in refs] == list(catalog.indexes):
            return
        known = catalog.indexes
        catalog.indexes = {r.path: known.get(r.path) or self._open(r.path).index for r in refs}
        catalog.states = {}
        marks = stage_marks(self.layout, catalog.name_fp, catalog.source)
        for ref in refs:
            merge_index(catalog.states, ref, catalog.indexes[ref.path], marks)
        catalog.first_array = self._schema(catalog).arrays[0].name

    def _schema(self, catalog: _Catalog) -> StageSchema:
        if catalog.schema is None:
            catalog.schema = next(iter(catalog.indexes.values())).schema
        return catalog.schema

    def _rows(
        self, state: ItemState, array: str, start: int, stop: int
    ) -> np.ndarray | list[bytes]:
        first = state.entry.start
        return self._open(state.path, state.index).rows(array, first + start, first + stop)

    def _open(self, path: Path, index: ShardIndex | None = None) -> ShardFile:
        shard = self._files.get(path)
        if shard is not None:
            self._files.move_to_end(path)
            return shard
        while len(self._files) >= self._max_open_files:
            self._files.popitem(last=False)[1].close()
        shard = self._files[path] = ShardFile(path, index=index)
        return shard


def _as_array(rows: np.ndarray | list[bytes]) -> np.ndarray:
    if isinstance(rows, np.ndarray):
        return rows
    values = np.empty(len(rows), dtype=object)
    values[:] = rows
    return values
