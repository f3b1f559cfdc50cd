"""The contract of an extractor: one item's inputs go in, blocks of rows come out.

Each extractor module exposes `build(stage: ResolvedStage) -> Extractor`. An extractor is built
once per process and used for many items, so a network is loaded once.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np

from pipeline.media import MediaInfo, MediaRef
from storage.records import Block, StageSchema, TimeBase

if TYPE_CHECKING:
    from pipeline.stages import ResolvedStage
    from storage.store import FeatureStore


class Extractor(Protocol):
    """What turns one item's inputs into rows."""

    schema: StageSchema

    def time_base(self, inputs: Inputs) -> TimeBase:
        """Return when the item's row 0 lies and how far apart rows are."""
        ...

    def extract(self, inputs: Inputs) -> Iterator[Block]:
        """Yield the item's rows in order, in blocks of bounded size.

        Raises
        ------
        ItemFailure
            The item cannot be processed; rows that were yielded already are dropped.
        """
        ...


class Inputs:
    """What an extractor may read for one item: its media, and the rows of the stages upstream.

    `scratch` is a directory of the item's own that exists; it is removed afterwards.
    `timeout_s` is the time limit for each child process. `also` are the stages of the same decode
    that run next on this item, with this scratch directory: what is left there spares them a pass
    over the media.
    """

    def __init__(
        self,
        *,
        media: MediaRef,
        stage: ResolvedStage,
        store: FeatureStore,
        scratch: Path,
        timeout_s: float,
        also: Sequence[ResolvedStage] = (),
    ) -> None:
        self.media = media
        self.also = tuple(also)
        self.scratch = scratch
        self.timeout_s = timeout_s
        self._stage = stage
        self._store = store
        self._info: MediaInfo | None = None

    def info(self) -> MediaInfo:
        """Return what the probe stage found; for stages that read probe."""
        if self._info is None:
            self._info = MediaInfo.from_json(self.rows("probe", "info", 0, 1)[0])
        return self._info

    def length(self, stage: str) -> int:
        """Return the number of rows of an upstream stage."""
        return self._store.length(self._address(stage), self.media.item_id)

    def time_base(self, stage: str) -> TimeBase:
        """Return the time base of an upstream stage's rows."""
        return self._store.time_base(self._address(stage), self.media.item_id)

    def rows(
        self, stage: str, array: str | None = None, start: int = 0, stop: int | None = None
    ) -> np.ndarray | Sequence[bytes]:
        """Return rows start..stop-1 of one array (the first, by default) of an upstream stage."""
        return self._store.rows(self._address(stage), self.media.item_id, array, start, stop)

    def blocks(self, stage: str, rows: int) -> Iterator[Block]:
        """Yield all arrays of an upstream stage, at most `rows` rows at a time."""
        names = [spec.name for spec in self._store.schema(self._address(stage)).arrays]
        length = self.length(stage)
        for start in range(0, length, rows):
            stop = min(start + rows, length)
            yield {name: self.rows(stage, name, start, stop) for name in names}

    def _address(self, stage: str) -> str:
        if stage not in self._stage.upstream:
            raise KeyError(
                f"stage {self._stage.name!r} reads {stage!r}, which its line in "
                f"pipeline/stages.py does not list (it lists {sorted(self._stage.upstream)})"
            )
        return self._stage.upstream[stage]
