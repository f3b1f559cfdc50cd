"""Sound at one rate: the media flows in, int16 mono samples on the item's clock flow out.

Sample k lies at k / rate; there are round(duration * rate) of them (see `ffmpeg.decode_audio`).
Where a run wants several rates, the first one's decode leaves the others' samples in the scratch
directory: one decode a video, and the same bytes as one decode for each.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.ffmpeg import decode_audio, read_samples
from storage.records import ArraySpec, Block, StageSchema, TimeBase

if TYPE_CHECKING:
    from pipeline.extractors.base import Inputs
    from pipeline.stages import AudioConfig, ResolvedStage

SCHEMA = StageSchema(
    arrays=(ArraySpec(name="pcm", dtype="int16", unit="1/32768", chunk_rows=16384),)
)


class AudioExtractor:
    """Mono sound at a rate."""

    schema = SCHEMA

    def __init__(self, config: AudioConfig) -> None:
        self._config = config

    def time_base(self, inputs: Inputs) -> TimeBase:
        """Return one sample every 1 / rate from t = 0."""
        return TimeBase(0.0, 1.0 / self._config.rate_hz)

    def extract(self, inputs: Inputs) -> Iterator[Block]:
        """Yield blocks of at most 65,536 samples."""
        rate_hz = self._config.rate_hz
        left = _left_for(inputs, rate_hz)
        if left.exists():
            blocks = read_samples(left, inputs.info(), rate_hz=rate_hz)
        else:
            others = [stage.config.rate_hz for stage in inputs.also]
            blocks = decode_audio(
                inputs.media.path,
                inputs.info(),
                rate_hz=rate_hz,
                timeout_s=inputs.timeout_s,
                also={rate: _left_for(inputs, rate) for rate in others},
            )
        with closing(blocks):
            for samples in blocks:
                yield {"pcm": samples}


def _left_for(inputs: Inputs, rate_hz: int) -> Path:
    """Return where a decode leaves the samples of another rate."""
    return inputs.scratch / f"{rate_hz}.s16le"


def build(stage: ResolvedStage) -> AudioExtractor:
    """Return the extractor of the stage's settings."""
    return AudioExtractor(stage.config)
