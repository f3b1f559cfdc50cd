"""Spectra for training: read from the stft stage, or computed from the stored sound.

    python -m bench.spectrogram [--clips 8] [--seconds 30] [--crops 200] [--json]

One line for each way: milliseconds a crop (256 frames) on one CPU core, as a loader worker does it;
and, where there is a GPU, from the store to complex spectra on the GPU, in batches of 24. Before
anything is timed both ways are compared: they must agree to 1e-4. Shards lie in the page cache.

On one core of an AMD EPYC a stored crop takes 0.5 ms and a computed one 1.3 ms; the default is
`[tribert] spectrogram = stored`. Of a GPU no figure stands here: run it where one is.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from rich.console import Console
from rich.table import Table

from bench.sound_store import SoundStore, make_store
from model.tribert.spectrogram import SpectrogramConfig, stft_of_covered
from model.tribert.spectrum import SpectrumReader

SIZES = SpectrogramConfig()
BATCH = 24
AGREE = 1e-4

Crop = tuple[str, int, int]
"""Item, first STFT row, samples of the item."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--clips", type=int, default=8)
    parser.add_argument("--seconds", type=float, default=30.0)
    parser.add_argument("--crops", type=int, default=200)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory(prefix="bench-spectrogram-") as folder:
        made = make_store(Path(folder), clips=arguments.clips, seconds=arguments.seconds)
        found = {"agree to": largest_difference(made), "cpu": on_cpu(made, arguments.crops)}
        if torch.cuda.is_available():
            found["gpu"] = on_gpu(made, arguments.crops)
    if arguments.json:
        print(json.dumps({"spectrogram": found}))
        return
    table = Table("ms a crop", *(device for device in ("cpu", "gpu") if device in found))
    for way in found["cpu"]:
        cells = (found[device] for device in ("cpu", "gpu") if device in found)
        table.add_row(way, *(f"{cell[way]:.2f}" for cell in cells))
    table.caption = f"both ways agree to {found['agree to']:.1e}"
    if "gpu" not in found:
        table.caption += "; no GPU here"
    Console(width=100).print(table)


def reader_of(made: SoundStore, dtype: str) -> SpectrumReader:
    return SpectrumReader(made.store, {"stft": made.stft[dtype], "audio_11025": made.audio}, SIZES)


def draw(made: SoundStore, count: int) -> list[Crop]:
    rng = np.random.default_rng(0)
    crops = []
    for _ in range(count):
        item = made.items[int(rng.integers(len(made.items)))]
        samples = made.store.length(made.audio, item)
        last = 1 + samples // SIZES.hop_samples - SIZES.frames
        crops.append((item, int(rng.integers(last + 1)), samples))
    return crops


def largest_difference(made: SoundStore) -> float:
    reader = reader_of(made, "float32")
    worst = 0.0
    for item, start, samples in draw(made, 20):
        gap = reader.stored(item, start) - reader.computed(item, start, samples)
        worst = max(worst, float(gap.abs().max()))
    if worst > AGREE:
        raise SystemExit(f"stored and computed spectra differ by {worst:.1e}, expected {AGREE:.0e}")
    return worst


def on_cpu(made: SoundStore, count: int) -> dict[str, float]:
    full, half = reader_of(made, "float32"), reader_of(made, "float16")
    ways: dict[str, Callable[[Crop], object]] = {
        "stored float32": lambda crop: full.stored(crop[0], crop[1]),
        "stored float16": lambda crop: half.stored(crop[0], crop[1]),
        "computed": lambda crop: full.computed(*crop),
    }
    return {name: ms_a_crop(way, draw(made, count)) for name, way in ways.items()}


def ms_a_crop(way: Callable[[Crop], object], crops: list[Crop]) -> float:
    for crop in crops[: len(crops) // 10]:
        way(crop)
    began = time.perf_counter()
    for crop in crops:
        way(crop)
    return 1e3 * (time.perf_counter() - began) / len(crops)


def on_gpu(made: SoundStore, count: int) -> dict[str, float]:
    full, half = reader_of(made, "float32"), reader_of(made, "float16")

    def moved(read: Callable[[Crop], torch.Tensor], batch: list[Crop]) -> torch.Tensor:
        return torch.stack([read(crop) for crop in batch]).pin_memory().cuda(non_blocking=True)

    def computed(batch: list[Crop]) -> torch.Tensor:
        return stft_of_covered(moved(lambda crop: full.covered(*crop), batch), SIZES)

    ways: dict[str, Callable[[list[Crop]], torch.Tensor]] = {
        "stored float32": lambda batch: moved(lambda c: full.stored(c[0], c[1]), batch),
        "stored float16": lambda batch: moved(lambda c: half.stored(c[0], c[1]), batch),
        "computed": computed,
    }
    crops = draw(made, max(count, 2 * BATCH))
    batches = [crops[i : i + BATCH] for i in range(0, len(crops) - BATCH + 1, BATCH)]
    found = {}
    for name, way in ways.items():
        way(batches[0])
        torch.cuda.synchronize()
        began = time.perf_counter()
        for batch in batches:
            way(batch)
        torch.cuda.synchronize()
        found[name] = 1e3 * (time.perf_counter() - began) / (len(batches) * BATCH)
    return found


if __name__ == "__main__":
    main()
