"""The same synthetic videos twice: as shards for our loader, as files for the peer's.

A folder and sizes flow in; a feature store, and one folder of JPEG files and one WAV file a video
flow out. Pictures have 256 x 256 pixels at 8 a second, about 24 kB each, both times the same bytes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from scipy.io import wavfile

from model.tribert.spectrogram import SpectrogramConfig, stft
from storage.fingerprint import StageRecord
from storage.layout import Layout, open_store
from storage.records import ArraySpec, DatasetItem, StageSchema, TimeBase
from storage.shard_writer import write_shard
from storage.staging import ItemWriter

SOURCE = "bench"
RATE_HZ = 11025
FPS = 8.0
PICTURE_PX = 256
JPEG_QUALITY = 90
PERSONS, CHANNELS, JOINTS = 2, 256, 68
EMBED_HOP_S = 0.5
CLASSES = tuple(f"class{number}" for number in range(6))
DISTINCT_PICTURES = 48
SIZES = SpectrogramConfig()
NO_DIGEST = "0" * 64

SCHEMAS = {
    "frames": StageSchema(
        arrays=(
            ArraySpec(name="jpeg", dtype="bytes"),
            ArraySpec(name="picture_time_s", dtype="float64"),
        )
    ),
    "audio_11025": StageSchema(arrays=(ArraySpec(name="pcm", dtype="int16", chunk_rows=RATE_HZ),)),
    "stft": StageSchema(
        arrays=(ArraySpec(name="stft", dtype="float32", row_shape=(512, 2), chunk_rows=32),)
    ),
    "pose": StageSchema(
        arrays=(
            ArraySpec(name="keypoints", dtype="float32", row_shape=(PERSONS, JOINTS, 3)),
            ArraySpec(name="box", dtype="float32", row_shape=(PERSONS, 4)),
            ArraySpec(name="present", dtype="uint8", row_shape=(PERSONS,)),
            ArraySpec(name="frame_size", dtype="int32", row_shape=(2,)),
        )
    ),
    "pose_embed": StageSchema(
        arrays=(
            ArraySpec(name="embedding", dtype="float16", row_shape=(PERSONS, CHANNELS, JOINTS)),
        )
    ),
}
_PARAMETERS: dict[str, dict[str, Any]] = {
    "frames": {"fps": FPS, "short_side_px": PICTURE_PX},
    "audio_11025": {"rate_hz": RATE_HZ},
    "stft": {"n_fft": SIZES.n_fft, "hop_samples": SIZES.hop_samples},
    "pose": {},
    "pose_embed": {"model": "stgcn-bench"},
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Videos:
    """Where everything lies. `files` has `<number>/<picture>.jpg` and `<number>.wav`."""

    layout: Layout
    stages: Mapping[str, str]
    items: tuple[DatasetItem, ...]
    files: Path
    pictures: int


def make_videos(folder: Path, *, clips: int, seconds: float) -> Videos:
    """Return so many videos of so many seconds each, in `folder`."""
    layout = open_store(folder / "store", create=True)
    records = make_records()
    items = tuple(
        DatasetItem(
            item_id=f"{SOURCE}/clip{number:03d}/whole",
            labels=(CLASSES[number % len(CLASSES)],),
            split="train",
        )
        for number in range(clips)
    )
    files = folder / "files"
    for number, item in enumerate(items):
        rows = make_rows(seconds, number)
        write_files(files, number, rows)
        for stage, (base, block) in rows.items():
            path = layout.staged_item(records[stage].name, SOURCE, 0, item.item_id)
            path.parent.mkdir(parents=True, exist_ok=True)
            with ItemWriter(path, SCHEMAS[stage], base, NO_DIGEST, item_id=item.item_id) as writer:
                writer.append(block)
    ids = [item.item_id for item in items]
    for stage, record in records.items():
        write_shard(layout, record, SOURCE, 0, ids, provenance={}, schema=SCHEMAS[stage])
    return Videos(
        layout=layout,
        stages={stage: record.name for stage, record in records.items()},
        items=items,
        files=files,
        pictures=int(seconds * FPS),
    )


def make_records() -> dict[str, StageRecord]:
    made = {
        stage: StageRecord(stage=stage, stage_version=1, parameters=parameters)
        for stage, parameters in _PARAMETERS.items()
    }
    for stage, above in (("stft", "audio_11025"), ("pose_embed", "pose")):
        made[stage] = replace(made[stage], upstream={above: made[above].fingerprint})
    return made


def make_rows(seconds: float, seed: int) -> dict[str, tuple[TimeBase, dict[str, Any]]]:
    """Return time base and rows of every stage for one video."""
    rng = np.random.default_rng(seed)
    pictures, steps = int(seconds * FPS), int(seconds / EMBED_HOP_S) + 1
    distinct = [make_jpeg(rng) for _ in range(min(DISTINCT_PICTURES, pictures))]
    pcm = make_sound(rng, seconds)
    wave = torch.from_numpy(pcm.astype(np.float32) / 32768)
    spectrum = torch.view_as_real(stft(wave, SIZES).T.contiguous()).numpy()
    poses = {
        "keypoints": rng.uniform(0, PICTURE_PX, (pictures, PERSONS, JOINTS, 3)).astype(np.float32),
        "box": np.tile(np.float32([40, 30, 200, 250]), (pictures, PERSONS, 1)),
        "present": np.ones((pictures, PERSONS), np.uint8),
        "frame_size": np.full((pictures, 2), PICTURE_PX, np.int32),
    }
    embedding = rng.standard_normal((steps, PERSONS, CHANNELS, JOINTS), np.float32)
    return {
        "frames": (
            TimeBase(0.0, 1 / FPS),
            {
                "jpeg": [distinct[row % len(distinct)] for row in range(pictures)],
                "picture_time_s": np.arange(pictures) / FPS,
            },
        ),
        "audio_11025": (TimeBase(0.0, 1 / RATE_HZ), {"pcm": pcm}),
        "stft": (TimeBase(0.0, SIZES.hop_s), {"stft": spectrum}),
        "pose": (TimeBase(0.0, 1 / FPS), poses),
        "pose_embed": (TimeBase(0.0, EMBED_HOP_S), {"embedding": embedding.astype(np.float16)}),
    }


def make_jpeg(rng: np.random.Generator) -> bytes:
    """Return a picture with large shapes and some grain, about 24 kB."""
    coarse = rng.integers(0, 256, (8, 8, 3), np.uint8)
    smooth = cv2.resize(coarse, (PICTURE_PX, PICTURE_PX), interpolation=cv2.INTER_CUBIC)
    grain = rng.normal(0, 9, smooth.shape)
    picture = np.clip(smooth + grain, 0, 255).astype(np.uint8)
    done, data = cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])
    if not done:
        raise SystemExit(f"a {PICTURE_PX} px picture could not be written as JPEG")
    return data.tobytes()


def make_sound(rng: np.random.Generator, seconds: float) -> np.ndarray:
    times_s = np.arange(int(seconds * RATE_HZ)) / RATE_HZ
    tones = sum(np.sin(2 * np.pi * rng.uniform(60, 2000) * times_s) for _ in range(6))
    return (3000 * tones + rng.normal(0, 100, len(times_s))).astype(np.int16)


def write_files(
    files: Path, number: int, rows: Mapping[str, tuple[TimeBase, dict[str, Any]]]
) -> None:
    folder = files / str(number)
    folder.mkdir(parents=True)
    for row, jpeg in enumerate(rows["frames"][1]["jpeg"]):
        (folder / f"{row:06d}.jpg").write_bytes(jpeg)
    wavfile.write(files / f"{number}.wav", RATE_HZ, rows["audio_11025"][1]["pcm"])
