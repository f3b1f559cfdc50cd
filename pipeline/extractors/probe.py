"""What is in the media: the file flows in, one row of JSON (a `MediaInfo`) flows out."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.failures import ItemFailure
from pipeline.probing import probe_media
from storage.records import ArraySpec, Block, ItemId, StageSchema, TimeBase

if TYPE_CHECKING:
    from pipeline.extractors.base import Inputs
    from pipeline.stages import ProbeConfig, ResolvedStage

SCHEMA = StageSchema(arrays=(ArraySpec(name="info", dtype="bytes", unit="json"),))


class ProbeExtractor:
    """One row an item; an unreadable file is the only failure, a bad stream is a verdict."""

    schema = SCHEMA

    def __init__(self, config: ProbeConfig) -> None:
        self._config = config

    def time_base(self, inputs: Inputs) -> TimeBase:
        """Return the single row's time, the item's start."""
        return TimeBase(0.0, 1.0)

    def extract(self, inputs: Inputs) -> Iterator[Block]:
        """Yield the one row."""
        media = Path(inputs.media.path)
        if not media.exists():
            raise ItemFailure("missing_file", f"{media} is not there (a broken link?)")
        if media.stat().st_size == 0:
            raise ItemFailure("empty", f"{media} has 0 bytes")
        window = ItemId.parse(inputs.media.item_id).window_s
        info = probe_media(
            str(media),
            self._config,
            window_length_s=None if window is None else window[1] - window[0],
            timeout_s=inputs.timeout_s,
        )
        yield {"info": [info.to_json().encode()]}


def build(stage: ResolvedStage) -> ProbeExtractor:
    """Return the extractor of the stage's settings."""
    return ProbeExtractor(stage.config)
