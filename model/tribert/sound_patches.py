"""Log-mel patches of mixtures: what a VGGish hears of a crop.

In: clips, their stored sound at 16 kHz, gains. Out: patches of 0.975 s, evenly spread over the
crop, of the mixed sound. The stored `vggish` rows are those of single videos: their mean would tell
the network what the sources are before it has separated them, and the network is not linear, so
rows of a mixture can only come from the mixture itself.

Legend: N sources, S samples at 16 kHz, R patches, T frames of a patch, M mel bands.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch

from model.tribert.clips import HEARD, Clip
from model.tribert.crops import fitted_start_row, published_crop
from model.tribert.spectrogram import SpectrogramConfig
from pipeline import logmel
from storage.store import FeatureStore

INT16_SCALE = 32768.0


class PatchReader:
    """Reads patches of mixtures from one set of stages. Picklable: it may go to loader workers.

    Parameters
    ----------
    stages
        As `clips.stages_read` gives them, with `audio_16000`.
    sizes
        Of the STFT and of the crop.
    count
        R.
    """

    def __init__(
        self,
        store: FeatureStore,
        stages: Mapping[str, str],
        sizes: SpectrogramConfig,
        count: int,
    ) -> None:
        self.store = store
        self.stage = stages[HEARD]
        self.sizes = sizes
        self.count = count

    def training(
        self, clips: Sequence[Clip], centres: Sequence[int], gains: Sequence[float]
    ) -> torch.Tensor:
        """Return float32 (R, T, M) of the mean of the sources, each times its gain.

        The crops are those of the spectra: around the picture rows `centres`, on the hop grid.
        """
        sounds = [
            gain * self._crop(clip, centre)
            for clip, centre, gain in zip(clips, centres, gains, strict=True)
        ]
        return spread_patches(np.mean(sounds, axis=0), self.count)

    def stretch(self, clips: Sequence[Clip], windows: int) -> list[torch.Tensor]:
        """Return (R, T, M) of each window of the stretch in the middle of the clips.

        The stretch is that of `separation.MixReader`, cut and filled up in the same way.
        """
        step = self._samples(self.sizes.frames * self.sizes.hop_samples)
        wanted = (windows - 1) * step + self._samples(self.sizes.crop_samples)
        sounds = []
        for clip in clips:
            sound_S = self._sound(clip, 0, clip.tracks[HEARD].rows)
            middle_s = len(sound_S) / 2 / logmel.RATE_HZ
            sounds.append(
                published_crop(sound_S, centre_s=middle_s, rate_hz=logmel.RATE_HZ, samples=wanted)
            )
        mixed_S, length = np.mean(sounds, axis=0), self._samples(self.sizes.crop_samples)
        return [
            spread_patches(mixed_S[first : first + length], self.count)
            for first in range(0, windows * step, step)
        ]

    def _crop(self, clip: Clip, centre: int) -> np.ndarray:
        """Return float32 (S,): zero beyond the clip's end."""
        row = fitted_start_row(clip.time_s(centre), clip.tracks["stft"].rows, self.sizes)
        first = self._samples(row * self.sizes.hop_samples)
        wanted = self._samples(self.sizes.crop_samples)
        sound_S = self._sound(clip, first, min(first + wanted, clip.tracks[HEARD].rows))
        return np.pad(sound_S, (0, wanted - len(sound_S)))

    def _sound(self, clip: Clip, first: int, last: int) -> np.ndarray:
        pcm_S = self.store.rows(self.stage, clip.item_id, "pcm", first, max(first, last))
        return np.asarray(pcm_S, np.float32) / np.float32(INT16_SCALE)

    def _samples(self, samples: int) -> int:
        """Return how many samples at 16 kHz last as long as so many at the STFT's rate."""
        return round(samples * logmel.RATE_HZ / self.sizes.rate_hz)


def spread_patches(sound_S: np.ndarray, count: int) -> torch.Tensor:
    """Return `count` log-mel patches, float32 (R, 96, 64), evenly spread over the sound.

    The first begins with the sound and the last ends with it; with one patch it is the middle. A
    sound shorter than a patch is filled up with zeros.

    Parameters
    ----------
    sound_S
        Samples at 16 kHz in [-1, 1].
    """
    whole_S = np.pad(sound_S, (0, max(0, logmel.PATCH_SAMPLES - len(sound_S))))
    room = len(whole_S) - logmel.PATCH_SAMPLES
    starts = np.linspace(0, room, count).round() if count > 1 else [room // 2]
    stretches = [whole_S[int(at) : int(at) + logmel.PATCH_SAMPLES] for at in starts]
    return logmel.log_mel(torch.from_numpy(np.stack(stretches))).float()
