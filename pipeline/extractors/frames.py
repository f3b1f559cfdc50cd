"""Pictures on a regular grid: the media flows in, JPEG rows and the times of their pictures out.

Row i shows the last picture with pts <= i / fps on the item's clock (see `ffmpeg.decode_frames`);
`picture_time_s` is when that picture truly begins: later than the row only before the first one.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import cv2
import numpy as np

from pipeline.ffmpeg import decode_frames
from storage.records import ArraySpec, Block, StageSchema, TimeBase

if TYPE_CHECKING:
    from pipeline.extractors.base import Inputs
    from pipeline.stages import FramesConfig, ResolvedStage

SCHEMA = StageSchema(
    arrays=(
        ArraySpec(name="jpeg", dtype="bytes", unit="jpeg"),
        ArraySpec(name="picture_time_s", dtype="float64", unit="s", chunk_rows=1024),
    )
)
BLOCK_ROWS = 32


class FramesExtractor:
    """JPEG pictures with the short side at a given size, enlarged where the video is smaller."""

    schema = SCHEMA

    def __init__(self, config: FramesConfig) -> None:
        self._config = config

    def time_base(self, inputs: Inputs) -> TimeBase:
        """Return one row every 1 / fps from t = 0."""
        return TimeBase(0.0, 1.0 / self._config.fps)

    def extract(self, inputs: Inputs) -> Iterator[Block]:
        """Yield blocks of at most 32 rows; a picture that is shown again is encoded once."""
        blocks = decode_frames(
            inputs.media.path,
            inputs.info(),
            fps=self._config.fps,
            short_side_px=self._config.short_side_px,
            block_frames=BLOCK_ROWS,
            timeout_s=inputs.timeout_s,
        )
        shown_s, jpeg = None, b""
        for block in blocks:
            rows = []
            for picture, time_s in zip(block.pictures, block.picture_time_s, strict=True):
                if time_s != shown_s:
                    shown_s, jpeg = time_s, encode_jpeg(picture, self._config.jpeg_quality)
                rows.append(jpeg)
            yield {"jpeg": rows, "picture_time_s": block.picture_time_s}


def encode_jpeg(picture_bgr: np.ndarray, quality: int) -> bytes:
    """Return a picture, uint8 (height, width, 3) in BGR, as JPEG with 4:2:0 chroma."""
    done, data = cv2.imencode(".jpg", picture_bgr, [cv2.IMWRITE_JPEG_QUALITY, quality])
    if not done:
        raise ValueError(f"OpenCV did not encode a picture of shape {picture_bgr.shape}")
    return data.tobytes()


def build(stage: ResolvedStage) -> FramesExtractor:
    """Return the extractor of the stage's settings."""
    return FramesExtractor(stage.config)
