"""Spectra of training crops: read from the stored STFT, or computed from the stored sound.

In: a clip and a picture row. Out: the complex STFT of the crop around it, with the true sound
beyond its edges either way. Both agree to 1e-4 where the STFT is stored as float32.

Legend: L linear bins, F frames, S samples.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch

from model.tribert.clips import SOUND, Clip
from model.tribert.crops import fitted_start_row
from model.tribert.spectrogram import SpectrogramConfig, from_rows, stft_of_covered
from pipeline.extractors.stft import covered_samples, full_scale
from storage.store import FeatureStore


class SpectrumReader:
    """Reads spectra from one set of stages. Picklable: it may go to loader workers.

    Parameters
    ----------
    stages
        As `clips.stages_read` gives them: without `stft`, spectra are computed.
    sizes
        Of the STFT and of the crop.
    """

    def __init__(
        self, store: FeatureStore, stages: Mapping[str, str], sizes: SpectrogramConfig
    ) -> None:
        self.store = store
        self.stages = dict(stages)
        self.sizes = sizes

    def read(self, clip: Clip, centre: int) -> torch.Tensor:
        """Return the STFT around picture row `centre`: complex64 (L, F)."""
        rows = clip.tracks["stft"].rows
        start = fitted_start_row(clip.time_s(centre), rows, self.sizes)
        if "stft" in self.stages:
            return self.stored(clip.item_id, start)
        return self.computed(clip.item_id, start, clip.tracks[SOUND].rows)

    def stored(self, item_id: str, start: int) -> torch.Tensor:
        """Return STFT rows from `start` on as they are stored."""
        rows_FL2 = self.store.rows(
            self.stages["stft"], item_id, "stft", start, start + self.sizes.frames
        )
        return from_rows(np.asarray(rows_FL2))

    def computed(self, item_id: str, start: int, samples: int) -> torch.Tensor:
        """Return the same rows from the sound of the item, which has so many samples."""
        return stft_of_covered(self.covered(item_id, start, samples), self.sizes)

    def covered(self, item_id: str, start: int, samples: int) -> torch.Tensor:
        """Return what the rows from `start` on cover, float32 (S,) in [-1, 1)."""
        index_S = covered_samples(
            start,
            start + self.sizes.frames,
            samples,
            n_fft=self.sizes.n_fft,
            hop_samples=self.sizes.hop_samples,
        )
        first = int(index_S.min())
        pcm_S = self.store.rows(self.stages[SOUND], item_id, "pcm", first, int(index_S.max()) + 1)
        return torch.from_numpy(full_scale(np.asarray(pcm_S)[index_S - first]))
