"""VGGish: the sound at 16 kHz flows in, one 128-d row a second flows out.

Row i describes the first 0.975 s of second i, alone, as the published LLP and AVE features do
(Tian et al., ECCV 2020). An item has round(duration) rows, halves up, and at least one: a last
second that is at least half there is filled up with zeros, a shorter rest is left out.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch.nn import functional

from pipeline import logmel
from pipeline.networks import loading, vggish
from pipeline.networks.rows import row_count
from pipeline.weights import VGGISH_PCA, check_file
from storage.records import ArraySpec, Block, StageSchema, TimeBase

if TYPE_CHECKING:
    from pipeline.extractors.base import Inputs
    from pipeline.stages import ResolvedStage

SCHEMA = StageSchema(
    arrays=(
        ArraySpec(
            name="embedding",
            dtype="float32",
            row_shape=(vggish.EMBEDDING_SIZE,),
            dims=("time", "channel"),
            chunk_rows=40,
        ),
    ),
    anchor="start",
)
_BLOCK_S = 10
"""Seconds through the network at once; fixed, because batched sums may differ in the last bit."""


class VggishExtractor:
    """One row a second; the network is loaded at the first item of the process."""

    schema = SCHEMA

    def __init__(self, stage: ResolvedStage) -> None:
        self._stage = stage
        self._variant: str = stage.config.variant
        self._pca = _pca(stage) if self._variant == "pca" else None

    def time_base(self, inputs: Inputs) -> TimeBase:
        """Return one row a second from t = 0."""
        return TimeBase(0.0, 1.0)

    def extract(self, inputs: Inputs) -> Iterator[Block]:
        """Yield rows, ten seconds at a time."""
        network = loading.runner(self._stage)
        samples = inputs.length("audio_16000")
        rows = row_count(samples, logmel.RATE_HZ)
        for start in range(0, rows, _BLOCK_S):
            stop = min(start + _BLOCK_S, rows)
            end = min(stop * logmel.RATE_HZ, samples)
            sound_S = np.asarray(
                inputs.rows("audio_16000", "pcm", start * logmel.RATE_HZ, end), np.int16
            )
            embedding_BD = network(logmel.patches_per_second(sound_S, stop - start))
            yield {"embedding": self._finish(embedding_BD).numpy()}

    def _finish(self, embedding_BD: torch.Tensor) -> torch.Tensor:
        if self._variant == "linear":
            return embedding_BD
        rectified_BD = functional.relu(embedding_BD)
        if self._pca is None:
            return rectified_BD
        return vggish.quantise(vggish.whiten(rectified_BD, *self._pca))


def build(stage: ResolvedStage) -> VggishExtractor:
    """Return the extractor of a resolved stage.

    Raises
    ------
    WeightsMissing
        The 'pca' variant without the published PCA file beside the weights.
    """
    return VggishExtractor(stage)


def _pca(stage: ResolvedStage) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the published eigenvectors (128, 128) and means (128, 1), float32."""
    if stage.weights_path is None:
        raise ValueError("vggish: variant 'pca' belongs to the published weights, not to a seed")
    path, _ = check_file(Path(stage.weights_path).with_name(VGGISH_PCA.file_name))
    return vggish.read_pca(path)
