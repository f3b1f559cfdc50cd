"""STFT rows as float32 against float16: what is lost after warp, masks and inverse, and what saved.

    python -m bench.stft_dtype [--clips 8] [--seconds 20] [--json]

Pairs of clips are mixed from the stored rows, as in training. Compared with float64 spectra of the
same sound: the largest error of a cell of the spectrum; of the warped magnitude, as a share of the
crop's loudest cell; the share of mask cells that turn over; how far the mixture masked by them and
transformed back lies below the signal (dB). Then bytes a second, and the time to read a crop.

The default, float32, rests on the first figure: spectra read from shards and spectra computed from
the stored sound are to agree to 1e-4, so that one may stand in for the other; float32 keeps 5e-6,
float16 loses 0.015 on loud cells. For training float16 would do: its error lies 56 dB below the
masked sound, and one mask cell in 50,000 turns over. It halves the largest stage of the store, but
a crop that is in the page cache takes half as long again to read (conversion costs more than the
checksums of the bytes saved). Who has to save room sets `[stft] dtype = float16`, or computes
spectra from the sound, which needs no shards at all.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.console import Console
from rich.table import Table

from bench.sound_store import DTYPES, SoundStore, make_store
from model.tribert.masks import half_masks
from model.tribert.mixing import mean_mixture
from model.tribert.spectrogram import SpectrogramConfig, from_rows, istft, stft_of_covered, warp
from model.tribert.spectrogram import unwarp as unwarped
from model.tribert.spectrum import SpectrumReader

SIZES = SpectrogramConfig()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--clips", type=int, default=8)
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory(prefix="bench-stft-") as folder:
        made = make_store(Path(folder), clips=arguments.clips, seconds=arguments.seconds)
        found = {dtype: measure(made, dtype, arguments.seconds) for dtype in DTYPES}
    if arguments.json:
        print(json.dumps({"stft_dtype": found}))
        return
    table = Table("", *DTYPES)
    for key in found["float32"]:
        table.add_row(key, *(f"{found[dtype][key]:.3g}" for dtype in DTYPES))
    Console(width=100).print(table)


def measure(made: SoundStore, dtype: str, seconds: float) -> dict[str, Any]:
    """Return the figures of one dtype."""
    errors = [pair_errors(made, dtype, pair) for pair in pairwise(made.items)]
    folder = made.store.layout.root / "stages" / made.stft[dtype]
    size = sum(path.stat().st_size for path in folder.rglob("*.h5"))
    worst = {
        key: max(each[key] for each in errors) for key in ("cell error", "warped error, share")
    }
    return {
        **worst,
        "mask cells turned, share": float(np.mean([each["masks"] for each in errors])),
        "masked sound above error, dB": float(min(each["decibel"] for each in errors)),
        "bytes a second": size / (len(made.items) * seconds),
        "ms to read a crop": 1e3 * read_s(made, dtype),
    }


def pair_errors(made: SoundStore, dtype: str, pair: tuple[str, str]) -> dict[str, float]:
    """Compare a mix of two clips with the mix of their exact spectra."""
    reader = SpectrumReader(
        made.store, {"stft": made.stft[dtype], "audio_11025": made.audio}, SIZES
    )
    stored, exact = [], []
    for item in pair:
        start = (made.store.length(made.stft[dtype], item) - SIZES.frames) // 2
        stored.append(reader.stored(item, start))
        covered_S = reader.covered(item, start, made.store.length(made.audio, item))
        exact.append(stft_of_covered(covered_S.double(), SIZES))
    results = [mixed(torch.stack(each)) for each in (stored, exact)]
    (warped, masks, sound), (true_warped, true_masks, true_sound) = results
    noise = (sound - true_sound).square().sum(-1)
    return {
        "cell error": float(max((a - b).abs().max() for a, b in zip(stored, exact, strict=True))),
        "warped error, share": float((warped - true_warped).abs().max() / true_warped.max()),
        "masks": float((masks != true_masks).double().mean()),
        "decibel": float((10 * torch.log10(true_sound.square().sum(-1) / noise)).min()),
    }


def mixed(sources_NLF: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return the warped magnitudes, the masks, and the sound of the mixture under true masks."""
    sources_NLF, mixture_LF = mean_mixture(sources_NLF.to(torch.complex64))
    warped = warp(torch.cat([sources_NLF, mixture_LF[None]]).abs(), SIZES.rows)
    masks = half_masks(warped[:-1], warped[-1])
    linear = unwarped(masks, SIZES.bins) > 0.5
    sound = istft(mixture_LF * linear, SIZES)
    return warped.double(), masks, sound.double()


def read_s(made: SoundStore, dtype: str, crops: int = 200) -> float:
    """Return the seconds that reading a crop takes: from the page cache, checked, as complex64."""
    rng = np.random.default_rng(0)
    name = made.stft[dtype]
    picks = [made.items[i] for i in rng.integers(len(made.items), size=crops)]
    starts = [int(rng.integers(made.store.length(name, item) - SIZES.frames)) for item in picks]
    began = 0.0
    for number, (item, start) in enumerate(zip(picks, starts, strict=True)):
        if number == crops // 10:  # the first ones open files and warm up
            began = time.perf_counter()
        from_rows(np.asarray(made.store.rows(name, item, "stft", start, start + SIZES.frames)))
    return (time.perf_counter() - began) / (crops - crops // 10)


if __name__ == "__main__":
    main()
