"""The peer of `bench.loader`: a loader in the manner of Sound-of-Pixels.

Files flow in; mixes of two videos flow out: three augmented pictures of each, magnitudes of the
two sources, magnitude and phase of their mixture. As there, every picture is a JPEG file read with
Pillow, resized with the bicubic filter, cut at random, flipped at random and normalised; the whole
WAV file is read for each crop; three STFTs are taken. Its warp and its masks, which it leaves to
the training step, are not counted.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from scipy import fft
from scipy.io import wavfile
from torch.utils.data import Dataset
from torchvision import transforms

from bench.loader_data import FPS, RATE_HZ
from model.tribert.crops import published_crop
from model.tribert.spectrogram import SpectrogramConfig

SIZES = SpectrogramConfig()
MARGIN = 65
"""Pictures at each end that no mix is centred on: eight seconds and one."""
STRIDE = 1
NAMES = ("first", "second")


class PeerDataset(Dataset[dict[str, Any]]):
    """One mix a video and epoch, with a partner drawn at random."""

    def __init__(self, files: Path, *, videos: int, pictures: int, mixes: int) -> None:
        self.files = files
        self.videos = videos
        self.pictures = pictures
        self.mixes = mixes
        self.window = np.hanning(SIZES.n_fft + 1)[:-1].astype(np.float32)
        self.transform = transforms.Compose(
            [
                transforms.Resize(246, interpolation=Image.Resampling.BICUBIC),
                transforms.RandomCrop(224),
                transforms.RandomHorizontalFlip(),
                transforms.ToTensor(),
                transforms.Normalize((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
            ]
        )

    def __len__(self) -> int:
        return self.mixes

    def __getitem__(self, index: int) -> dict[str, Any]:
        rng = np.random.default_rng(index)
        members = [index % self.videos, int(rng.integers(self.videos))]
        margin = min(MARGIN, self.pictures // 2 - 1)
        sample: dict[str, Any] = {}
        waves = []
        for name, video in zip(NAMES, members, strict=True):
            centre = int(rng.integers(margin, self.pictures - margin))
            sample[f"frames {name}"] = self.frames(video, centre)
            waves.append(self.wave(video, centre, float(rng.uniform(0.5, 1.5))))
        halves = [wave / len(waves) for wave in waves]
        for name, wave in zip(NAMES, halves, strict=True):
            sample[f"magnitude {name}"] = torch.from_numpy(np.abs(self.spectrum(wave))[None])
        mixed = self.spectrum(np.sum(halves, axis=0))
        sample["mixture"] = torch.from_numpy(np.abs(mixed)[None])
        sample["phase"] = torch.from_numpy(np.angle(mixed)[None])
        return sample

    def frames(self, video: int, centre: int) -> torch.Tensor:
        pictures = []
        for step in (-STRIDE, 0, STRIDE):
            with Image.open(self.files / str(video) / f"{centre + step:06d}.jpg") as picture:
                pictures.append(self.transform(picture.convert("RGB")))
        return torch.stack(pictures, dim=1)

    def wave(self, video: int, centre: int, gain: float) -> np.ndarray:
        rate_hz, pcm = wavfile.read(self.files / f"{video}.wav")
        if rate_hz != RATE_HZ:
            raise SystemExit(f"{video}.wav has {rate_hz} Hz, expected {RATE_HZ}")
        whole = pcm.astype(np.float32) / 32768
        crop = published_crop(
            whole, centre_s=(centre - 0.5) / FPS, rate_hz=rate_hz, samples=SIZES.crop_samples
        )
        return np.clip(gain * crop, -1, 1)

    def spectrum(self, wave: np.ndarray) -> np.ndarray:
        padded = np.pad(wave, SIZES.n_fft // 2, mode="reflect")
        frames = np.lib.stride_tricks.sliding_window_view(padded, SIZES.n_fft)
        return fft.rfft(frames[:: SIZES.hop_samples] * self.window, axis=1).T
