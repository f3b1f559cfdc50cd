"""The pictures that a pose backend looks at.

Flows in: an item's media. Flows out: RGB arrays at the pose rate, at the video's size or, for a
larger one, with the short side scaled to the limit.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from pipeline.extractors.base import Inputs
from pipeline.ffmpeg import decode_frames

_BLOCK_FRAMES = 4


def pose_pictures(
    inputs: Inputs, *, rate_hz: float, short_side_max_px: int
) -> Iterator[np.ndarray]:
    """Yield one RGB uint8 picture a row; row i is the last picture with pts <= i / rate_hz."""
    blocks = decode_frames(
        inputs.media.path,
        inputs.info(),
        fps=rate_hz,
        short_side_px=short_side_max_px,
        enlarge=False,
        pixel_format="rgb24",
        block_frames=_BLOCK_FRAMES,
        timeout_s=inputs.timeout_s,
    )
    for block in blocks:
        yield from block.pictures
