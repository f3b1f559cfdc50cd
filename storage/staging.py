"""Finished items of a shard in progress: one private HDF5 file an item, which survives a kill.

In: an item's rows block by block, or its failure. Out: a complete file that the shard writer reads.
"""

from __future__ import annotations

import json
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

import h5py

from storage.atomic import private_file, replace_file, sync
from storage.columns import (
    ArrayWriter,
    close_file,
    create_file,
    open_file,
    read_text_attribute,
    write_text_attribute,
)
from storage.errors import CorruptShard, StoreError
from storage.fingerprint import canonical_json
from storage.records import Block, Outcome, StageSchema, TimeBase
from storage.schema import check_block, check_schema, schema_as_json, schema_from_json

MAX_DETAIL = 2000
_NO_TIMES = TimeBase(0.0, 0.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class StagedItem:
    """What one staged file holds. A failed item has no rows, and no schema."""

    path: Path
    outcome: Outcome
    media_sha256: str
    length: int = 0
    time_base: TimeBase = _NO_TIMES
    schema: StageSchema | None = None


class ItemWriter:
    """Write one item's rows; the file appears when the `with` block ends without an exception.

    Parameters
    ----------
    path
        The staged file, `Layout.staged_item(...)`. An older one is replaced.
    schema, time_base
        The contract of the rows, and the time of row i.
    media_sha256
        Digest of what the item was computed from.
    item_id
        The item, for messages; the file's stem when empty.
    """

    def __init__(
        self,
        path: Path,
        schema: StageSchema,
        time_base: TimeBase,
        media_sha256: str,
        *,
        item_id: str = "",
    ) -> None:
        check_schema(schema)
        self._path = Path(path)
        self._schema = schema
        self._time_base = time_base
        self._media_sha256 = media_sha256
        self._item_id = item_id or self._path.stem
        self._length = 0
        self._file: h5py.File | None = None

    def __enter__(self) -> ItemWriter:
        with ExitStack() as stack:
            self._temp = stack.enter_context(private_file(self._path))
            file = stack.enter_context(create_file(self._temp))
            self._arrays = {spec.name: ArrayWriter(file, spec) for spec in self._schema.arrays}
            self._stack = stack.pop_all()
        self._file = file
        return self

    def append(self, block: Block) -> None:
        """Add consecutive rows of every array.

        Raises InvalidRecord when the block breaks the contract, OverflowError when float16 cannot
        hold a value.
        """
        if self._file is None:
            raise StoreError(f"{self._item_id}: append outside of the writer's with block")
        count = check_block(self._schema, block, self._item_id)
        for name, array in self._arrays.items():
            array.append(block[name])
        self._length += count

    @property
    def length(self) -> int:
        """Rows so far."""
        return self._length

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        file, self._file = self._file, None
        with self._stack:
            if file is None or kind is not None:
                return
            for array in self._arrays.values():
                array.close()
            _describe(
                file,
                outcome=Outcome(item_id=self._item_id),
                media_sha256=self._media_sha256,
                length=self._length,
                time_base=self._time_base,
                schema=self._schema,
            )
            close_file(file)
            sync(self._temp)  # its name may be lost with the power: the item is computed again
            self._temp.replace(self._path)


def stage_failure(path: Path, outcome: Outcome, media_sha256: str) -> None:
    """Stage an item that has no rows: its typed reason and detail."""

    def write(temp: Path) -> None:
        with create_file(temp) as file:
            _describe(file, outcome=outcome, media_sha256=media_sha256)

    replace_file(Path(path), write)


def _describe(
    file: h5py.File,
    *,
    outcome: Outcome,
    media_sha256: str,
    length: int = 0,
    time_base: TimeBase = _NO_TIMES,
    schema: StageSchema | None = None,
) -> None:
    text = json.dumps(
        {
            "item_id": outcome.item_id,
            "reason": outcome.reason,
            "detail": _bounded(outcome.detail),
            "media_sha256": media_sha256,
            "length": length,
            "t0_s": float(time_base.t0_s),
            "hop_s": float(time_base.hop_s),
        }
    )
    write_text_attribute(file, "item_json", text)
    if schema is not None:
        write_text_attribute(file, "schema_json", canonical_json(schema_as_json(schema)))


def _bounded(detail: str) -> str:
    """Return at most MAX_DETAIL characters: the start says what failed, the tail mostly why."""
    if len(detail) <= MAX_DETAIL:
        return detail
    return f"{detail[: MAX_DETAIL // 4]} [...] {detail[-MAX_DETAIL // 4 * 3 :]}"


def read_staged(path: Path) -> StagedItem:
    """Return what a staged file holds, without its rows. Raises FileNotFoundError, CorruptShard."""
    try:
        with open_file(Path(path)) as file:
            item = json.loads(read_text_attribute(file, "item_json"))
            has_schema = "schema_json" in file.attrs
            schema_json = read_text_attribute(file, "schema_json") if has_schema else None
    except FileNotFoundError:
        raise
    except (OSError, KeyError, ValueError) as error:
        raise CorruptShard(f"{path}: not a staged item ({error}); delete it, run again") from error
    return StagedItem(
        path=Path(path),
        outcome=Outcome(item_id=item["item_id"], reason=item["reason"], detail=item["detail"]),
        media_sha256=item["media_sha256"],
        length=item["length"],
        time_base=TimeBase(item["t0_s"], item["hop_s"]),
        schema=None if schema_json is None else schema_from_json(json.loads(schema_json)),
    )


def is_staged(path: Path, media_sha256: str) -> bool:
    """Whether the staged file can stand: whole, of these media bytes, and not a passing failure."""
    try:
        staged = read_staged(path)
    except (FileNotFoundError, CorruptShard):
        return False
    return staged.media_sha256 == media_sha256 and not staged.outcome.transient
