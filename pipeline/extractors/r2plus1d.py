"""R(2+1)D-18: the stored frames flow in, one 512-d row for every eight of them flows out.

The pooled features before the classifier of Tran et al. (CVPR 2018), as in the published LLP
features (Tian et al., ECCV 2020): groups of eight frames, resized to 112 x 112 without keeping the
aspect. At 8 frames a second a row covers a second. An item has round(frames / 8) rows, halves up,
and at least one: a last group of four frames or more is filled up with its last frame, a smaller
rest is left out.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

from pipeline.networks import loading, pixels
from pipeline.networks.frames import picture_blocks, picture_times
from pipeline.networks.rows import frame_indices, row_count
from storage.records import ArraySpec, Block, StageSchema, TimeBase

if TYPE_CHECKING:
    from pipeline.extractors.base import Inputs
    from pipeline.stages import ResolvedStage

FRAMES_PER_ROW = 8
SCHEMA = StageSchema(
    arrays=(
        ArraySpec(
            name="feature",
            dtype="float16",
            row_shape=(512,),
            dims=("time", "channel"),
            chunk_rows=40,
        ),
    ),
    anchor="start",
)


class R2plus1dExtractor:
    """One row for eight frames; the network is loaded at the first item of the process."""

    schema = SCHEMA

    def __init__(self, stage: ResolvedStage) -> None:
        self._stage = stage
        self._sampling: str = stage.config.sampling
        self._batch_clips: int = stage.config.batch_clips

    def time_base(self, inputs: Inputs) -> TimeBase:
        """Return the times of the first frames of the groups."""
        frames = picture_times(inputs, self._sampling)
        return TimeBase(frames.t0_s, frames.hop_s * FRAMES_PER_ROW)

    def extract(self, inputs: Inputs) -> Iterator[Block]:
        """Yield rows, one batch of groups at a time."""
        network = loading.runner(self._stage)
        frames = len(frame_indices(inputs.length("frames"), self._sampling))
        clips = network.examples(self._batch_clips, cpu=2, gpu=32)
        blocks = picture_blocks(inputs, self._sampling, clips * FRAMES_PER_ROW)
        for clips_NFHW3 in network.fed(_clips(blocks, row_count(frames, FRAMES_PER_ROW))):
            feature_ND = network(pixels.normalised(clips_NFHW3, pixels.R2PLUS1D, network.device))
            yield {"feature": feature_ND.half().numpy()}


_SIZE = (pixels.R2PLUS1D.size_px, pixels.R2PLUS1D.size_px)


def _clips(blocks: Iterator[np.ndarray], rows_left: int) -> Iterator[np.ndarray]:
    """Yield blocks of groups, (N, 8, 112, 112, 3), `rows_left` groups in all."""
    for pictures_NHW3 in blocks:
        rows = min(rows_left, -(-len(pictures_NHW3) // FRAMES_PER_ROW))
        if rows:
            yield _groups(pixels.resize(pictures_NHW3, _SIZE), rows)
        rows_left -= rows


def _groups(pictures_NHW3: np.ndarray, rows: int) -> np.ndarray:
    """Return groups of eight, (rows, 8, H, W, 3); the last picture stands in for missing ones."""
    wanted = np.minimum(np.arange(rows * FRAMES_PER_ROW), len(pictures_NHW3) - 1)
    return pictures_NHW3[wanted].reshape(rows, FRAMES_PER_ROW, *pictures_NHW3.shape[1:])


def build(stage: ResolvedStage) -> R2plus1dExtractor:
    """Return the extractor of a resolved stage."""
    return R2plus1dExtractor(stage)
