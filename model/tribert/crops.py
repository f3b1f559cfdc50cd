"""Where a crop lies: spectrogram rows around a picture, and the papers' padded audio crop.

In: times of pictures, lengths of the stored rows, waveforms. Out: row ranges on the hop grid and
waveforms of exactly one crop.

Training crops start on the hop grid and have `hop * frames - 1` samples, so that the stored STFT
serves as it is: its edge frames see the true sound around the crop. Evaluation follows the papers:
zeros where the recording ends (tribert.md section 3, golden/spectrogram/crop_cases.json).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from model.tribert.spectrogram import SpectrogramConfig
from storage.records import TimeBase


@dataclass(frozen=True, slots=True, kw_only=True)
class CentreRange:
    """The picture rows that a crop can be centred on: first..last, both included."""

    first: int
    last: int

    def __len__(self) -> int:
        return max(0, self.last - self.first + 1)

    @property
    def middle(self) -> int:
        """The row half way."""
        return (self.first + self.last) // 2


def start_row(centre_s: float, config: SpectrogramConfig) -> int:
    """Return the STFT row at which the crop centred on `centre_s` starts; may be negative."""
    start_sample = centre_s * config.rate_hz - config.crop_samples / 2
    return round(start_sample / config.hop_samples)


def fitted_start_row(centre_s: float, stft_rows: int, config: SpectrogramConfig) -> int:
    """Return `start_row` moved by as little as puts the whole crop among `stft_rows` rows."""
    return min(max(start_row(centre_s, config), 0), stft_rows - config.frames)


def picture_rows(centre: int, steps: int, stride: int) -> range:
    """Return `steps` picture rows, `stride` apart; `centre` is number `steps // 2` of them."""
    first = centre - stride * (steps // 2)
    return range(first, first + stride * steps, stride)


def centre_range(
    *,
    pictures: int,
    picture_base: TimeBase,
    stft_rows: int,
    reach: tuple[int, int],
    config: SpectrogramConfig,
) -> CentreRange:
    """Return the rows whose pictures and whose audio crop both exist in the recording.

    `reach`: how many picture rows a sample needs before and after its centre.

    The crop may lie up to half a picture interval off centre, so that a clip no longer than one
    crop still has a centre. Empty when the clip is too short.
    """
    slack_s = picture_base.hop_s / 2
    half_s = config.crop_s / 2
    last_start_s = (stft_rows - config.frames) * config.hop_s
    earliest = (half_s - slack_s - picture_base.t0_s) / picture_base.hop_s
    latest = (last_start_s + half_s + slack_s - picture_base.t0_s) / picture_base.hop_s
    if last_start_s < 0:
        return CentreRange(first=0, last=-1)
    return CentreRange(
        first=max(reach[0], int(np.ceil(earliest))),
        last=min(pictures - 1 - reach[1], int(np.floor(latest))),
    )


def published_crop(
    wave_S: np.ndarray, *, centre_s: float, rate_hz: int, samples: int
) -> np.ndarray:
    """Return `samples` samples around `centre_s`, as Sound-of-Pixels and TriBERT cut them.

    A shorter recording is repeated; what lies outside is zero; the last sample is always zero
    (of an odd length only twice the half is filled); clipped to [-1, 1].

    Parameters
    ----------
    wave_S
        float32 mono waveform, not empty.
    centre_s
        Seconds from the recording's start.
    """
    if len(wave_S) < samples:
        wave_S = np.tile(wave_S, samples // len(wave_S) + 1)
    half = samples // 2
    centre = int(centre_s * rate_hz)
    first, stop = max(0, centre - half), min(len(wave_S), centre + half)
    crop_S = np.zeros(samples, dtype=np.float32)
    if first < stop:
        offset = half - centre
        crop_S[first + offset : stop + offset] = wave_S[first:stop]
    return crop_S.clip(-1.0, 1.0)
