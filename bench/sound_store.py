"""A store of synthetic music for the benchmarks of spectra: real stages, run on real files.

A folder flows in; a store with sound at 11,025 Hz and its STFT as float32 and as float16 flows out.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy.io import wavfile

from pipeline.fetch import import_file
from pipeline.media import MediaRef
from pipeline.stages import StftConfig, resolve
from pipeline.work import ItemJob, run_item, stage_schema
from storage.layout import open_store
from storage.plan import extend_plan
from storage.shard_writer import write_shard
from storage.store import FeatureStore

DTYPES = ("float32", "float16")
RATE_HZ = 44100


@dataclass(frozen=True, slots=True, kw_only=True)
class SoundStore:
    """The store, its items, and the addresses of the stages; `stft` by dtype."""

    store: FeatureStore
    items: tuple[str, ...]
    audio: str
    stft: dict[str, str]


def make_store(folder: Path, *, clips: int, seconds: float) -> SoundStore:
    """Return a store with so many clips of so many seconds."""
    layout = open_store(folder / "store", create=True)
    media = {}
    for number in range(clips):
        path = folder / f"{number}.wav"
        wavfile.write(path, RATE_HZ, music(seconds, number))
        item = f"bench/clip{number:03d}/whole"
        event = import_file(layout, item, path, None, mode="hardlink")
        media[item] = MediaRef(item_id=item, path=str(path), sha256=event.sha256)
    extend_plan(layout, "bench", [(item, 1.0) for item in media])
    addresses: dict[str, str] = {}
    for dtype in DTYPES:
        for stage in resolve({"stft": StftConfig(dtype=dtype)}).values():
            name = stage.record.name
            addresses[f"{stage.name} {dtype}"] = name
            if layout.shard(name, "bench", 0).exists():
                continue
            for item, ref in media.items():
                staged = str(layout.staged_item(name, "bench", 0, item))
                outcome = run_item(
                    ItemJob(stage=stage, media=ref, store_root=str(layout.root), staged_path=staged)
                )
                if not outcome.ok:
                    raise SystemExit(f"{stage.name} of {item}: {outcome.reason} {outcome.detail}")
            schema = stage_schema(stage)
            write_shard(layout, stage.record, "bench", 0, list(media), provenance={}, schema=schema)
    return SoundStore(
        store=FeatureStore(layout.root),
        items=tuple(media),
        audio=addresses["audio_11025 float32"],
        stft={dtype: addresses[f"stft {dtype}"] for dtype in DTYPES},
    )


def music(seconds: float, seed: int) -> np.ndarray:
    """Return notes with harmonics, strokes of noise, loud and soft passages; int16."""
    rng = np.random.default_rng(seed)
    time_s = np.arange(round(seconds * RATE_HZ)) / RATE_HZ
    sound = 1e-4 * rng.standard_normal(len(time_s))
    for start_s in np.arange(0, seconds, 0.25):
        since_s = np.clip(time_s - start_s, 0, None)
        decay = np.exp(-since_s / rng.uniform(0.05, 0.6)) * (time_s >= start_s)
        pitch_hz = 55 * 2 ** (rng.integers(0, 48) / 12)
        loudness = 10 ** rng.uniform(-2.5, -0.7)
        for harmonic in range(1, 9):
            sound += loudness / harmonic * decay * np.sin(2 * np.pi * harmonic * pitch_hz * since_s)
        if rng.random() < 0.3:
            sound += 0.3 * loudness * decay * rng.standard_normal(len(time_s))
    return np.round(np.clip(sound, -1, 1) * 32767).astype(np.int16)
