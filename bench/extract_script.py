"""The peer of `bench.extract`: one clip at a time, as the published extraction scripts work."""

from __future__ import annotations

import subprocess
import time
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
from PIL import Image
from scipy.io import wavfile
from torchvision import transforms

from pipeline import logmel
from pipeline.networks import loading

ROWS = 80
_RESNET = transforms.Compose(
    [
        transforms.Resize(256),
        transforms.CenterCrop(224),
        transforms.ToTensor(),
        transforms.Normalize((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
    ]
)
_R2PLUS1D = transforms.Compose(
    [
        transforms.Resize((112, 112)),
        transforms.ToTensor(),
        transforms.Normalize((0.43216, 0.394666, 0.37645), (0.22803, 0.22145, 0.216989)),
    ]
)


class Script:
    """Networks in float32, loaded once; everything else is done clip by clip."""

    def __init__(self, folder: Path, device: str = "cpu") -> None:
        torch.set_num_threads(2)
        self.folder = folder
        self.device = device
        self.networks = {
            name: loading.from_seed(name, 0).to(device)
            for name in ("resnet152", "r2plus1d", "vggish")
        }

    @torch.inference_mode()
    def extract(self, clip: Path) -> dict[str, float]:
        """Write the three features of a clip as .npy files; return the seconds of each part."""
        clock, parts = time.perf_counter(), {}
        with TemporaryDirectory(dir=self.folder) as scratch:
            call("-i", clip, "-r", "8", f"{scratch}/%06d.jpg")
            call("-i", clip, "-ar", "16000", "-ac", "1", f"{scratch}/sound.wav")
            parts["decode"], clock = time.perf_counter() - clock, time.perf_counter()
            pictures = [Image.open(path) for path in sorted(Path(scratch).glob("*.jpg"))]
            chosen = np.linspace(0, len(pictures) - 1, ROWS).round().astype(int)
            batch = torch.stack([_RESNET(pictures[i]) for i in chosen])
            self._save(clip, "resnet152", batch)
            parts["resnet152"], clock = time.perf_counter() - clock, time.perf_counter()
            frames = torch.stack([_R2PLUS1D(pictures[i]) for i in chosen])
            batch = frames.reshape(10, 8, 3, 112, 112).transpose(1, 2)
            self._save(clip, "r2plus1d", batch)
            parts["r2plus1d"], clock = time.perf_counter() - clock, time.perf_counter()
            _, sound = wavfile.read(f"{scratch}/sound.wav")
            patches = logmel.patches_per_second(sound[: 10 * 16000], 10)
            self._save(clip, "vggish", patches)
            parts["vggish"] = time.perf_counter() - clock
        return parts

    def _save(self, clip: Path, name: str, batch: torch.Tensor) -> None:
        feature = self.networks[name](batch.to(self.device)).cpu()
        np.save(self.folder / f"{clip.stem}.{name}.npy", feature.numpy())


def call(*arguments: object) -> None:
    subprocess.run(["ffmpeg", "-v", "error", "-y", *map(str, arguments)], check=True)
