"""Sound to spectrogram and back: STFT, its inverse, and the log-frequency warp.

In: waveforms at the STFT's rate, or rows of the stored `stft` stage. Out: complex spectra,
magnitudes on logarithmic frequency rows, and masks carried back to the linear bins.

Runs where its input lies. A GPU's spectra and magnitudes lie within 1e-5 of the loudest cell of
the CPU's; masks differ only in cells that lie as near as that to their threshold.

Sources: tribert.md section 3 (Sound-of-Pixels' front end); golden/spectrogram.

Legend: S samples, L linear frequency bins, Q warped frequency rows, F spectrogram frames.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from torch.nn import functional

_BASE = 21.0
"""Row fraction t of the warp lies at the bin fraction (21^t - 1) / 20."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SpectrogramConfig:
    """Size of the STFT and of the picture that the networks see."""

    rate_hz: int = 11025
    n_fft: int = 1022
    hop_samples: int = 256
    rows: int = 256
    """Q: frequency rows after the warp."""
    frames: int = 256
    """F: STFT frames of one crop."""

    @property
    def bins(self) -> int:
        """L: linear frequency bins of the STFT."""
        return self.n_fft // 2 + 1

    @property
    def crop_samples(self) -> int:
        """Samples whose centred STFT has `frames` frames: one less than `frames` hops."""
        return self.hop_samples * self.frames - 1

    @property
    def hop_s(self) -> float:
        """Seconds from one STFT frame to the next."""
        return self.hop_samples / self.rate_hz

    @property
    def crop_s(self) -> float:
        """Seconds of sound in one crop."""
        return self.crop_samples / self.rate_hz


@lru_cache(maxsize=8)
def _window(n_fft: int, device: torch.device) -> torch.Tensor:
    return torch.hann_window(n_fft).to(device)


def stft(wave_S: torch.Tensor, config: SpectrogramConfig) -> torch.Tensor:
    """Return the complex STFT of (..., S) float32: complex64, (..., L, F).

    Hann window of `n_fft` samples; frame i is centred on sample i * `hop_samples`; the edges are
    mirrored, as librosa did before 0.9 and so the published front end.
    """
    flat_NS = wave_S.reshape(-1, wave_S.shape[-1])
    spectrum_NLF = torch.stft(
        flat_NS,
        n_fft=config.n_fft,
        hop_length=config.hop_samples,
        window=_window(config.n_fft, wave_S.device),
        center=True,
        pad_mode="reflect",
        return_complex=True,
    )
    return spectrum_NLF.reshape(*wave_S.shape[:-1], *spectrum_NLF.shape[-2:])


def stft_of_covered(covered_S: torch.Tensor, config: SpectrogramConfig) -> torch.Tensor:
    """Return the STFT frames of which (..., S) float32 is all that they cover: (..., L, F).

    Nothing is padded: S = (F - 1) * hop + n_fft, of which n_fft / 2 lie before the first centre.
    """
    flat_NS = covered_S.reshape(-1, covered_S.shape[-1])
    spectrum_NLF = torch.stft(
        flat_NS,
        n_fft=config.n_fft,
        hop_length=config.hop_samples,
        window=_window(config.n_fft, covered_S.device),
        center=False,
        return_complex=True,
    )
    return spectrum_NLF.reshape(*covered_S.shape[:-1], *spectrum_NLF.shape[-2:])


def istft(spectrum_LF: torch.Tensor, config: SpectrogramConfig) -> torch.Tensor:
    """Return the waveform of a centred STFT, clipped to [-1, 1]: (..., (F - 1) * hop samples)."""
    flat_NLF = spectrum_LF.reshape(-1, *spectrum_LF.shape[-2:])
    wave_NS = torch.istft(
        flat_NLF,
        n_fft=config.n_fft,
        hop_length=config.hop_samples,
        window=_window(config.n_fft, spectrum_LF.device),
        center=True,
    )
    return wave_NS.clamp(-1.0, 1.0).reshape(*spectrum_LF.shape[:-2], -1)


def from_rows(rows_FL2: np.ndarray) -> torch.Tensor:
    """Return complex64 (L, F) from rows of the `stft` stage: (F, L, 2), real and imaginary."""
    pairs_FL2 = torch.from_numpy(np.ascontiguousarray(rows_FL2, dtype=np.float32))
    return torch.view_as_complex(pairs_FL2).T


def warp_positions(rows: int) -> np.ndarray:
    """Return where warped row i lies on the linear axis, as a fraction 0..1: float64 (rows,)."""
    return (np.power(_BASE, np.linspace(0.0, 1.0, rows)) - 1.0) / (_BASE - 1.0)


def unwarp_positions(bins: int) -> np.ndarray:
    """Return where linear bin i lies on the warped axis, as a fraction 0..1: float64 (bins,)."""
    return np.log((_BASE - 1.0) * np.linspace(0.0, 1.0, bins) + 1.0) / np.log(_BASE)


@lru_cache(maxsize=8)
def _grid(rows: int, frames: int, inverse: bool, device: torch.device) -> torch.Tensor:
    """Return where each output cell reads its input, for `grid_sample`: (1, rows, frames, 2)."""
    fraction = unwarp_positions(rows) if inverse else warp_positions(rows)
    y = torch.from_numpy(2 * fraction - 1)[:, None].expand(rows, frames)
    x = torch.linspace(-1, 1, frames, dtype=torch.float64).expand(rows, frames)
    return torch.stack([x, y], dim=-1)[None].float().to(device)


def _resample_rows(values_IF: torch.Tensor, rows: int, *, inverse: bool) -> torch.Tensor:
    """Return `values_IF` (..., I, F) read at `rows` rows, linearly between neighbours.

    align_corners=False shifts the warp and costs 2.8 dB of oracle SDR (tribert.md section 12b).
    """
    grid = _grid(rows, values_IF.shape[-1], inverse, values_IF.device)
    flat_1NIF = values_IF.reshape(1, -1, *values_IF.shape[-2:])
    read = functional.grid_sample(flat_1NIF, grid, mode="bilinear", align_corners=True)
    return read.reshape(*values_IF.shape[:-2], rows, values_IF.shape[-1])


def warp(magnitude_LF: torch.Tensor, rows: int) -> torch.Tensor:
    """Return magnitudes on logarithmic frequency rows: (..., L, F) -> (..., Q, F)."""
    return _resample_rows(magnitude_LF, rows, inverse=False)


def unwarp(mask_QF: torch.Tensor, bins: int) -> torch.Tensor:
    """Return a mask on the linear bins of the STFT: (..., Q, F) -> (..., L, F)."""
    return _resample_rows(mask_QF, bins, inverse=True)
