"""Records that every package shares: item ids, outcomes, events, array contracts, time bases.

Plain frozen values; nothing here touches a file.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, unquote

import numpy as np

from storage.errors import InvalidRecord

OK = "ok"
MISSING_FILE = "missing_file"
PERMANENT_REASONS = frozenset(
    {
        OK,
        "no_audio",
        "no_video",
        "too_short",
        "silent",
        "corrupt",
        "empty",
        MISSING_FILE,
        "no_pose_file",
        "invalid_pose_file",
        "value_overflow",
        # From imported features.
        "no_feature_file",
        "invalid_feature_file",
        # From downloads: what a site says of a video.
        "private",
        "removed",
        "terminated",
        "copyright",
        "members_only",
        "age_restricted",
        "geo_blocked",
        "unavailable",
        "drm",
        "live",
        "unsupported",
        "url_refused",
    }
)
TRANSIENT_REASONS = frozenset(
    {
        "network",
        "rate_limited",
        "timeout",
        "out_of_memory",
        "crash",
        "disk_full",
        # From downloads: what may be otherwise tomorrow.
        "bot_check",
        "server_error",
        "forbidden",
        "no_formats",
        "not_yet",
        "unknown",
    }
)
UPSTREAM = "upstream:"
MAX_ATTEMPTS = 3

_WINDOW = re.compile(r"whole|(\d+)-(\d+)")
_SOURCE = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")


def path_safe(text: str) -> str:
    """Return `text` percent-encoded so that it is one harmless path component.

    Reversible with `path_text`. A leading dot is encoded too. Names of files that are not valid
    UTF-8 (as `os.fsdecode` gives them) keep their bytes.
    """
    safe = quote(text, safe="-_.+=,@", errors="surrogateescape")
    return "%2E" + safe[1:] if safe.startswith(".") else safe


def path_text(component: str) -> str:
    """Return the text that `path_safe` encoded."""
    return unquote(component, errors="surrogateescape")


@dataclass(frozen=True, slots=True, order=True)
class ItemId:
    """`source/video_id/window`; the window is `whole` or `<start_ms>-<end_ms>`.

    `video_id` is held as it is on disk: percent-encoded by `path_safe`.
    """

    source: str
    video_id: str
    window: str = "whole"

    def __post_init__(self) -> None:
        match = _WINDOW.fullmatch(self.window)
        if match is None or (match[1] and int(match[1]) >= int(match[2])):
            raise InvalidRecord(
                f"window {self.window!r}: expected 'whole' or '<start_ms>-<end_ms>', "
                "start below end"
            )
        if not _SOURCE.fullmatch(self.source):
            raise InvalidRecord(f"source {self.source!r}: expected letters, digits, '_', '-', '.'")
        if not self.video_id or path_safe(path_text(self.video_id)) != self.video_id:
            raise InvalidRecord(f"video id {self.video_id!r}: not percent-encoded by path_safe")

    @classmethod
    def parse(cls, text: str) -> ItemId:
        """Return the id that `str()` wrote."""
        parts = text.split("/")
        if len(parts) != 3:
            raise InvalidRecord(f"item id {text!r}: expected source/video_id/window")
        return cls(*parts)

    @property
    def window_s(self) -> tuple[float, float] | None:
        """Start and end in seconds, or None for the whole video."""
        if self.window == "whole":
            return None
        start, end = self.window.split("-")
        return int(start) / 1000, int(end) / 1000

    def __str__(self) -> str:
        return f"{self.source}/{self.video_id}/{self.window}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What became of one item in one stage: `ok` or a typed reason, and a line of detail."""

    item_id: str
    reason: str = OK
    detail: str = ""

    def __post_init__(self) -> None:
        known = self.reason in PERMANENT_REASONS | TRANSIENT_REASONS
        if not known and not self.reason.startswith(UPSTREAM):
            raise InvalidRecord(f"{self.item_id}: unknown outcome reason {self.reason!r}")

    @property
    def ok(self) -> bool:
        """Whether the item has rows."""
        return self.reason == OK

    @property
    def transient(self) -> bool:
        """Whether a later run tries the item again."""
        return self.reason in TRANSIENT_REASONS


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """One dense label: `modality` is 'audio' or 'visual'; seconds from the item's start."""

    modality: str
    label: str
    onset_s: float
    offset_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class DatasetItem:
    """One line of a dataset's view: what an item is, never its features.

    `split` is 'train', 'val', 'test' or '' (not drawn yet). `tasks` names the recipes the item
    serves ('tribert', 'avvp'); empty means every recipe.
    """

    item_id: str
    labels: tuple[str, ...] = ()
    split: str = ""
    tasks: tuple[str, ...] = ()
    events: tuple[Event, ...] | None = None

    def as_json(self) -> dict[str, Any]:
        """Return JSON values; `from_json` reads them back."""
        return {
            "item_id": self.item_id,
            "labels": list(self.labels),
            "split": self.split,
            "tasks": list(self.tasks),
            "events": None
            if self.events is None
            else [[e.modality, e.label, e.onset_s, e.offset_s] for e in self.events],
        }

    @classmethod
    def from_json(cls, row: Mapping[str, Any]) -> DatasetItem:
        """Return the item that `as_json` described."""
        events = row.get("events")
        return cls(
            item_id=row["item_id"],
            labels=tuple(row["labels"]),
            split=row["split"],
            tasks=tuple(row["tasks"]),
            events=None
            if events is None
            else tuple(
                Event(modality=m, label=label, onset_s=on, offset_s=off)
                for m, label, on, off in events
            ),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class ArraySpec:
    """The contract of one array of a stage; axis 0 is time, `row_shape` is the rest.

    `dtype` is a numpy dtype name, or 'bytes' for rows of encoded bytes (JPEG, JSON).
    `chunk_rows` is the number of rows a reader usually asks for at once.
    """

    name: str
    dtype: str
    row_shape: tuple[int, ...] = ()
    unit: str = ""
    dims: tuple[str, ...] = ("time",)
    chunk_rows: int = 1

    @property
    def is_bytes(self) -> bool:
        """Whether rows are byte strings of varying length."""
        return self.dtype == "bytes"


@dataclass(frozen=True, slots=True, kw_only=True)
class StageSchema:
    """The arrays of a stage, all with the same rows. The first is `read().values`."""

    arrays: tuple[ArraySpec, ...]
    anchor: str = "instant"
    """What a row's time marks: 'instant', or 'start' or 'centre' of what the row covers."""

    def __getitem__(self, name: str) -> ArraySpec:
        for spec in self.arrays:
            if spec.name == name:
                return spec
        raise KeyError(name)


@dataclass(frozen=True, slots=True)
class TimeBase:
    """Row i lies at `t0_s + i * hop_s` seconds from the item's start."""

    t0_s: float
    hop_s: float

    def times_s(self, start: int, stop: int) -> np.ndarray:
        """Return the times of rows start..stop-1, float64 seconds, shape (stop - start,)."""
        return self.t0_s + np.arange(start, stop, dtype=np.float64) * self.hop_s

    def rows_between(
        self, start_s: float | None, end_s: float | None, length: int
    ) -> tuple[int, int]:
        """Return (start, stop) of the rows of `length` with start_s <= time < end_s.

        None leaves a side open. Times within a millionth of a hop count as equal, so that
        3 * 0.1 s finds row 3. Without a hop (one row an item) every row is at t0.
        """
        if self.hop_s <= 0:
            inside = (start_s is None or self.t0_s >= start_s) and (
                end_s is None or self.t0_s < end_s
            )
            return (0, length) if inside else (0, 0)
        start = 0 if start_s is None else self._first_row_from(start_s, length)
        stop = length if end_s is None else self._first_row_from(end_s, length)
        return start, max(start, stop)

    def _first_row_from(self, time_s: float, length: int) -> int:
        row = (time_s - self.t0_s) / self.hop_s
        return math.ceil(min(max(row - 1e-6, 0.0), float(length)))


Block = Mapping[str, "np.ndarray | Sequence[bytes]"]
"""Consecutive rows of every array of a stage, by array name; all of one length."""
