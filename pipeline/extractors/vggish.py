"""VGGish: the sound at 16 kHz flows in, one 128-d row a second flows out.

With the hop 'second', row i describes the first 0.975 s of second i, alone, as the published LLP
and AVE features do (Tian et al., ECCV 2020). An item has round(duration) rows, halves up, and at
least one: a last second that is at least half there is filled up with zeros, a shorter rest is
left out. So ten seconds have ten rows.

With the hop '0.96', row i describes 0.975 s from i * 0.96 s on, as AudioSet's own code cuts a clip:
what is left after the last whole example is dropped. A clip shorter than one example is filled up
with zeros to one row, where that code gives none.
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
from pipeline.weights import VGGISH_PCA, VGGISH_PCA_TF, check_file
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
_BLOCK_ROWS = 10
"""Rows through the network at once; fixed, because batched sums may differ in the last bit."""


class VggishExtractor:
    """One row a hop; the network is loaded at the first item of the process."""

    schema = SCHEMA

    def __init__(self, stage: ResolvedStage) -> None:
        self._stage = stage
        self._variant: str = stage.config.variant
        self._by_second: bool = stage.config.hop == "second"
        self._hop_samples = logmel.RATE_HZ if self._by_second else logmel.PATCH_HOP_SAMPLES
        self._pca = _pca(stage) if self._variant == "pca" else None

    def time_base(self, inputs: Inputs) -> TimeBase:
        """Return one row a hop from t = 0."""
        return TimeBase(0.0, self._hop_samples / logmel.RATE_HZ)

    def extract(self, inputs: Inputs) -> Iterator[Block]:
        """Yield ten rows at a time."""
        network = loading.runner(self._stage)
        samples = inputs.length("audio_16000")
        rows = row_count(samples, logmel.RATE_HZ)
        if not self._by_second:
            rows = max(1, logmel.patch_count(samples))
        for start in range(0, rows, _BLOCK_ROWS):
            stop = min(start + _BLOCK_ROWS, rows)
            first = start * self._hop_samples
            end = min((stop - 1) * self._hop_samples + logmel.PATCH_SAMPLES, samples)
            sound_S = np.asarray(inputs.rows("audio_16000", "pcm", first, end), np.int16)
            embedding_BD = network(logmel.patches(sound_S, stop - start, self._hop_samples))
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
    folder = Path(stage.weights_path).parent
    beside = [folder / known.file_name for known in (VGGISH_PCA, VGGISH_PCA_TF)]
    path, _ = check_file(next((p for p in beside if p.is_file()), beside[0]))
    return vggish.read_pca(path)
