"""Log-mel spectrograms as VGGish was trained on: sound flows in, natural-log mel patches flow out.

The recipe is the one published with AudioSet's VGGish: 16 kHz mono, magnitude STFT (25 ms periodic
Hann window, 10 ms hop, 512-point FFT, no centre padding), 64 triangles that are linear on the HTK
mel scale between 125 and 7500 Hz, log(x + 0.01). torchaudio's filter banks have triangles that are
linear in hertz, which is another filter bank; hence the few lines here.
Shapes: B stretches of sound, S samples, T frames, Q mel bands.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import torch
from torch.nn import functional

RATE_HZ = 16000
WINDOW_SAMPLES = 400
HOP_SAMPLES = 160
FFT_SIZE = 512
MEL_BANDS = 64
LOWEST_HZ = 125.0
HIGHEST_HZ = 7500.0
LOG_OFFSET = 0.01
PATCH_FRAMES = 96
PATCH_HOP_SAMPLES = PATCH_FRAMES * HOP_SAMPLES
"""0.96 s: the next patch begins with the frame after the last one of this patch."""
PATCH_SAMPLES = (PATCH_FRAMES - 1) * HOP_SAMPLES + WINDOW_SAMPLES
"""0.975 s: what the frames of one patch cover."""


def mel_matrix() -> np.ndarray:
    """Return the weights from FFT bins to mel bands, (257, 64) float64; bin 0 weighs nothing."""
    bins_mel = _mel(np.linspace(0.0, RATE_HZ / 2, FFT_SIZE // 2 + 1))[:, None]
    edges_mel = np.linspace(_mel(LOWEST_HZ), _mel(HIGHEST_HZ), MEL_BANDS + 2)
    low, centre, high = edges_mel[:-2], edges_mel[1:-1], edges_mel[2:]
    rising = (bins_mel - low) / (centre - low)
    falling = (high - bins_mel) / (high - centre)
    weights = np.maximum(0.0, np.minimum(rising, falling))
    weights[0] = 0.0
    return weights


def log_mel(sound_BS: torch.Tensor) -> torch.Tensor:
    """Return log-mel frames, shape (B, T, 64), float64, with T = 1 + (S - 400) // 160.

    Parameters
    ----------
    sound_BS
        Samples at 16 kHz in [-1, 1), at least 400 a row.
    """
    # torch centres a short window in the FFT frame: padding both ends puts frame i at sample 160 i.
    margin = (FFT_SIZE - WINDOW_SAMPLES) // 2
    spectrum = torch.stft(
        functional.pad(sound_BS.double(), (margin, margin)),
        n_fft=FFT_SIZE,
        hop_length=HOP_SAMPLES,
        win_length=WINDOW_SAMPLES,
        window=torch.hann_window(WINDOW_SAMPLES, periodic=True, dtype=torch.float64),
        center=False,
        return_complex=True,
    )
    return torch.log(spectrum.abs().transpose(1, 2) @ _mel_tensor() + LOG_OFFSET)


def patches(sound_S: np.ndarray, count: int, hop_samples: int) -> torch.Tensor:
    """Return patches of 96 frames, shape (count, 1, 96, 64), float32.

    Patch i sees the 15600 samples (0.975 s) from sample i * hop_samples on, and nothing else.
    Missing samples are zeros.

    Parameters
    ----------
    sound_S
        int16 samples at 16 kHz, mono.
    count
        How many patches; sound after the last is left out.
    hop_samples
        15360 (96 frames) lets the frames of one patch follow those of the patch before.
    """
    whole_S = np.zeros((count - 1) * hop_samples + PATCH_SAMPLES, dtype=np.float64)
    given_S = sound_S[: whole_S.size]
    whole_S[: given_S.size] = given_S / 32768.0
    stretches_BS = torch.from_numpy(whole_S).unfold(0, PATCH_SAMPLES, hop_samples)
    return log_mel(stretches_BS)[:, None].float()


def patches_per_second(sound_S: np.ndarray, seconds: int) -> torch.Tensor:
    """Return one patch a second, as the published LLP features do; see `patches`."""
    return patches(sound_S, seconds, RATE_HZ)


def patch_count(samples: int) -> int:
    """Return how many whole patches follow each other in a sound: the published recipe.

    What is left after the last whole patch is dropped, so a sound of less than 0.975 s has none.
    """
    frames = 1 + (samples - WINDOW_SAMPLES) // HOP_SAMPLES
    return max(0, frames) // PATCH_FRAMES


def _mel(hz: float | np.ndarray) -> np.ndarray:
    return 1127.0 * np.log1p(np.asarray(hz, dtype=np.float64) / 700.0)


@lru_cache(maxsize=1)
def _mel_tensor() -> torch.Tensor:
    return torch.from_numpy(mel_matrix())
