"""ResNet-152: the stored frames flow in, one 2048-d row a frame flows out.

The pooled features before the classifier, as in the published LLP features (Tian et al., ECCV
2020): short side 256, centre crop 224, ImageNet statistics. After a ReLU, hence never negative.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from pipeline.networks import loading, pixels
from pipeline.networks.frames import picture_blocks, picture_times
from storage.records import ArraySpec, Block, StageSchema, TimeBase

if TYPE_CHECKING:
    from pipeline.extractors.base import Inputs
    from pipeline.stages import ResolvedStage

SCHEMA = StageSchema(
    arrays=(
        ArraySpec(
            name="feature",
            dtype="float16",
            row_shape=(2048,),
            dims=("time", "channel"),
            chunk_rows=40,
        ),
    ),
)


class Resnet152Extractor:
    """One row a frame; the network is loaded at the first item of the process."""

    schema = SCHEMA

    def __init__(self, stage: ResolvedStage) -> None:
        self._stage = stage
        self._sampling: str = stage.config.sampling
        self._batch_frames: int = stage.config.batch_frames

    def time_base(self, inputs: Inputs) -> TimeBase:
        """Return the times of the frames."""
        return picture_times(inputs, self._sampling)

    def extract(self, inputs: Inputs) -> Iterator[Block]:
        """Yield rows, one batch at a time."""
        network = loading.runner(self._stage)
        frames = network.examples(self._batch_frames, cpu=8, gpu=64)
        cropped = (
            pixels.centre_crop(pictures_NHW3, pixels.RESNET.size_px)
            for pictures_NHW3 in picture_blocks(inputs, self._sampling, frames)
        )
        for cropped_NHW3 in network.fed(cropped):
            feature_ND = network(pixels.normalised(cropped_NHW3, pixels.RESNET, network.device))
            yield {"feature": feature_ND.half().numpy()}


def build(stage: ResolvedStage) -> Resnet152Extractor:
    """Return the extractor of a resolved stage."""
    return Resnet152Extractor(stage)
