"""Complex spectra: sound at 11,025 Hz flows in, one STFT frame every hop flows out.

Equal to `torch.stft(x, n_fft, hop, window=hann, center=True, pad_mode="reflect")` of the whole
signal x in [-1, 1), whatever the block size. Shapes: S samples, T frames, Q frequency bins.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np
import scipy.fft
import scipy.signal

from pipeline.failures import ItemFailure
from storage.records import ArraySpec, Block, StageSchema, TimeBase

if TYPE_CHECKING:
    from pipeline.extractors.base import Inputs
    from pipeline.stages import ResolvedStage, StftConfig

SOURCE = "audio_11025"
BLOCK_FRAMES = 256
FULL_SCALE = 32768


def covered_samples(
    start: int, stop: int, length: int, *, n_fft: int, hop_samples: int
) -> np.ndarray:
    """Return which samples of `length` the centred frames start..stop-1 see, mirrored at the ends.

    int64, (stop - start - 1) * hop + n_fft of them.
    """
    half = n_fft // 2
    index_S = np.abs(np.arange(start * hop_samples - half, (stop - 1) * hop_samples + half))
    return np.where(index_S < length, index_S, 2 * (length - 1) - index_S)


def full_scale(pcm: np.ndarray) -> np.ndarray:
    """Return int16 samples as float32 in [-1, 1)."""
    return pcm.astype(np.float32) / FULL_SCALE


class StftExtractor:
    """STFT frames as (bins, 2): real and imaginary part."""

    def __init__(self, config: StftConfig) -> None:
        self._config = config
        self._window_S = scipy.signal.get_window("hann", config.n_fft, fftbins=True).astype("f4")
        bins = config.n_fft // 2 + 1
        self.schema = StageSchema(
            arrays=(
                ArraySpec(
                    name="stft",
                    dtype=config.dtype,
                    row_shape=(bins, 2),
                    dims=("time", "frequency", "real and imaginary"),
                    chunk_rows=64,
                ),
            ),
            anchor="centre",
        )

    def time_base(self, inputs: Inputs) -> TimeBase:
        """Return the times of the frames' centres."""
        return TimeBase(0.0, self._config.hop_samples * inputs.time_base(SOURCE).hop_s)

    def extract(self, inputs: Inputs) -> Iterator[Block]:
        """Yield blocks of at most 256 frames; 1 + samples // hop frames in all."""
        length = inputs.length(SOURCE)
        if length <= self._config.n_fft // 2:
            raise ItemFailure(
                "too_short",
                f"{length} samples at 11,025 Hz, expected more than {self._config.n_fft // 2}",
            )
        frames = 1 + length // self._config.hop_samples
        for start in range(0, frames, BLOCK_FRAMES):
            stop = min(start + BLOCK_FRAMES, frames)
            samples_S = self._samples(inputs, start, stop, length)
            yield {"stft": self._spectra(samples_S, stop - start)}

    def _samples(self, inputs: Inputs, start: int, stop: int, length: int) -> np.ndarray:
        """Return what frames start..stop-1 cover, float32, mirrored at the item's ends."""
        index_S = covered_samples(
            start, stop, length, n_fft=self._config.n_fft, hop_samples=self._config.hop_samples
        )
        first = int(index_S.min())
        pcm_S = np.asarray(inputs.rows(SOURCE, "pcm", first, int(index_S.max()) + 1))
        return full_scale(pcm_S[index_S - first])

    def _spectra(self, samples_S: np.ndarray, frames: int) -> np.ndarray:
        """Return (frames, bins, 2) of the samples that the frames cover."""
        cut_TS = np.lib.stride_tricks.sliding_window_view(samples_S, self._config.n_fft)
        cut_TS = cut_TS[:: self._config.hop_samples][:frames]
        spectra_TQ = scipy.fft.rfft(cut_TS * self._window_S, axis=1)
        spectra_TQ2 = np.stack([spectra_TQ.real, spectra_TQ.imag], axis=-1)
        return spectra_TQ2.astype(self._config.dtype, copy=False)


def build(stage: ResolvedStage) -> StftExtractor:
    """Return the extractor of the stage's settings."""
    return StftExtractor(stage.config)
