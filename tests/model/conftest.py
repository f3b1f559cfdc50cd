"""A small feature store with two instruments, made through the storage API only."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from model.tribert.batch import Batch
from model.tribert.config import presets
from model.tribert.network import TriBERT
from model.tribert.spectrogram import SpectrogramConfig, stft
from storage.fingerprint import StageRecord
from storage.layout import Layout, open_store
from storage.models import MODEL_FILE, ModelRecord, publish_model, write_snapshot
from storage.records import (
    ArraySpec,
    DatasetItem,
    Outcome,
    StageSchema,
    TimeBase,
)
from storage.shard_writer import write_shard
from storage.staging import ItemWriter, stage_failure

SOURCE = "tones"
RATE_HZ = 11025
FPS = 8.0
EMBED_CHANNELS = 8
PITCH_HZ = {"flute": 523.0, "tuba": 98.0}
SIZES = SpectrogramConfig()
PICTURE_SIZE = (320, 256)
NATIVE_SIZE = (640, 512)

SCHEMAS = {
    "frames": StageSchema(
        arrays=(
            ArraySpec(name="jpeg", dtype="bytes"),
            ArraySpec(name="picture_time_s", dtype="float64"),
        )
    ),
    "audio_11025": StageSchema(arrays=(ArraySpec(name="pcm", dtype="int16", chunk_rows=11025),)),
    "stft": StageSchema(
        arrays=(ArraySpec(name="stft", dtype="float32", row_shape=(512, 2), chunk_rows=32),)
    ),
    "pose": StageSchema(
        arrays=(
            ArraySpec(name="keypoints", dtype="float32", row_shape=(2, 68, 3)),
            ArraySpec(name="box", dtype="float32", row_shape=(2, 4)),
            ArraySpec(name="present", dtype="uint8", row_shape=(2,)),
            ArraySpec(name="frame_size", dtype="int32", row_shape=(2,)),
        )
    ),
    "pose_embed": StageSchema(
        arrays=(ArraySpec(name="embedding", dtype="float16", row_shape=(2, EMBED_CHANNELS, 68)),)
    ),
}
_RECORDS = {
    "frames": StageRecord(
        stage="frames", stage_version=1, parameters={"fps": FPS, "short_side_px": 256}
    ),
    "audio_11025": StageRecord(
        stage="audio_11025", stage_version=1, parameters={"rate_hz": RATE_HZ}
    ),
    "stft": StageRecord(
        stage="stft", stage_version=1, parameters={"n_fft": 1022, "hop_samples": 256}
    ),
    "pose": StageRecord(stage="pose", stage_version=1, backend="synthetic"),
    "pose_embed": StageRecord(stage="pose_embed", stage_version=1, parameters={"model": "stgcn-x"}),
}


def _records() -> dict[str, StageRecord]:
    """Records whose upstream fingerprints are those of the others."""
    made = dict(_RECORDS)
    for name, above in (("stft", "audio_11025"), ("pose_embed", "pose")):
        made[name] = replace(made[name], upstream={above: made[above].fingerprint})
    return made


RECORDS = _records()


@pytest.fixture
def noise_batch() -> Batch:
    """Two mixes of two videos: noise to see and to hear, nobody is there, no labels."""
    generator = torch.Generator().manual_seed(0)

    def uniform(*shape: int) -> torch.Tensor:
        return torch.rand(shape, generator=generator)

    return Batch(
        frames_BNTHWC=uniform(2, 2, 3, 16, 16, 3),
        pose_BNTPKV=torch.zeros(2, 2, 3, 2, 1, 1),
        present_BNTP=torch.zeros(2, 2, 3, 2, dtype=torch.bool),
        box_BNTP5=torch.zeros(2, 2, 3, 2, 5),
        mix_B1QF=uniform(2, 1, 16, 16),
        masks_BNQF=uniform(2, 2, 16, 16).round(),
        weight_B1QF=uniform(2, 1, 16, 16),
        labels_BNC=torch.zeros(2, 2, 2),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class ToneStore:
    """A store, the stages in it, and its items."""

    layout: Layout
    stages: Mapping[str, str]
    items: tuple[DatasetItem, ...]

    def split(self, split: str) -> list[DatasetItem]:
        return [item for item in self.items if item.split == split]


@dataclass(frozen=True, slots=True, kw_only=True)
class TribertStore:
    """A store, and the name of a TriBERT that is published in it."""

    store: ToneStore
    model: str


@pytest.fixture(scope="session")
def tone_store(tmp_path_factory: pytest.TempPathFactory) -> ToneStore:
    """18 clips of 3 s (10 train, 4 val, 4 test), one of 0.5 s, one poseless, one unlabelled."""
    return make_tone_store(tmp_path_factory.mktemp("store"))


@pytest.fixture(scope="session")
def tone_store_maker() -> Callable[[Path], ToneStore]:
    """Makes such a store for a module of its own, with a stand-in for the ST-GCN of its poses."""

    def make(root: Path) -> ToneStore:
        made = make_tone_store(root)
        snapshot = write_snapshot(made.layout, SOURCE, made.split("train"))
        record = ModelRecord(recipe="stgcn", recipe_version=1, snapshot=snapshot, dataset=SOURCE)
        described = made.layout.model(RECORDS["pose_embed"].parameters["model"]) / MODEL_FILE
        described.parent.mkdir(parents=True)
        described.write_text(json.dumps({"record": record.as_json()}))
        return made

    return make


SMALL_TRIBERT = replace(
    presets["tiny"],
    data=replace(presets["tiny"].data, picture_px=32, spec_frames=32, spec_rows=64),
    pose=replace(presets["tiny"].pose, channels=EMBED_CHANNELS),
)


@pytest.fixture(scope="module")
def with_tribert(tone_store: ToneStore, tmp_path_factory: pytest.TempPathFactory) -> TribertStore:
    """A copy of the store, and an untrained TriBERT in it that saw the training clips."""
    root = tmp_path_factory.mktemp("copy") / "store"
    shutil.copytree(tone_store.layout.root, root)
    store = replace(tone_store, layout=open_store(root))
    record = ModelRecord(
        recipe="tribert",
        recipe_version=1,
        configuration=SMALL_TRIBERT.as_json(),
        stages={name: store.stages[name] for name in ("frames", "stft", "pose_embed")},
        snapshot=write_snapshot(store.layout, "tones", store.items),
        dataset="tones",
    )
    torch.manual_seed(0)
    folder = root / "prepared"
    folder.mkdir()
    state = TriBERT(SMALL_TRIBERT, len(PITCH_HZ)).state_dict()
    weights = {name: value.clone().contiguous() for name, value in state.items()}
    save_file(weights, folder / "weights.safetensors")
    used = {"train": [item.item_id for item in store.split("train")]}
    publish_model(store.layout, record, folder, {"classes": sorted(PITCH_HZ), "ids_used": used})
    return TribertStore(store=store, model=record.name)


def make_tone_store(root: Path) -> ToneStore:
    layout = open_store(root, create=True)
    items, seconds = _items()
    ids = [item.item_id for item in items]
    for stage, record in RECORDS.items():
        for number, item in enumerate(items):
            path = layout.staged_item(record.name, SOURCE, 0, item.item_id)
            path.parent.mkdir(parents=True, exist_ok=True)
            if stage in ("pose", "pose_embed") and "nobody" in item.item_id:
                reason = "empty" if stage == "pose" else "upstream:pose"
                stage_failure(path, Outcome(item_id=item.item_id, reason=reason), "0" * 64)
                continue
            base, block = make_rows(stage, item, seconds[item.item_id], number)
            with ItemWriter(path, SCHEMAS[stage], base, "0" * 64, item_id=item.item_id) as writer:
                writer.append(block)
        write_shard(layout, record, SOURCE, 0, ids, provenance={}, schema=SCHEMAS[stage])
    return ToneStore(
        layout=layout,
        stages={stage: record.name for stage, record in RECORDS.items()},
        items=items,
    )


def _items() -> tuple[tuple[DatasetItem, ...], dict[str, float]]:
    counts = {"train": 5, "val": 2, "test": 2}
    rows = [
        (f"{split}-{label}-{n}", (label,), split, 3.0)
        for split, count in counts.items()
        for label in PITCH_HZ
        for n in range(count)
    ]
    rows += [
        ("short", ("flute",), "train", 0.5),
        ("nobody", ("tuba",), "train", 3.0),
        ("unlabelled", (), "train", 3.0),
    ]
    items = tuple(
        DatasetItem(item_id=f"{SOURCE}/{name}/whole", labels=labels, split=split)
        for name, labels, split, _ in rows
    )
    return items, {item.item_id: row[3] for item, row in zip(items, rows, strict=True)}


def make_rows(stage: str, item: DatasetItem, seconds: float, number: int):
    """Time base and all rows of one stage for one item."""
    rng = np.random.default_rng([number, len(stage)])
    pictures = int(seconds * FPS)
    if stage == "frames":
        shade = 60 if "flute" in item.labels else 180
        jpegs = [_jpeg(rng, shade, row) for row in range(pictures)]
        times = np.arange(pictures) / FPS
        return TimeBase(0.0, 1 / FPS), {"jpeg": jpegs, "picture_time_s": times}
    if stage == "audio_11025":
        return TimeBase(0.0, 1 / RATE_HZ), {"pcm": tone(item, seconds, number)}
    if stage == "stft":
        wave = torch.from_numpy(tone(item, seconds, number).astype(np.float32) / 32768)
        rows = torch.view_as_real(stft(wave, SIZES).T.contiguous()).numpy()
        return TimeBase(0.0, SIZES.hop_s), {"stft": rows}
    if stage == "pose":
        return TimeBase(0.0, 1 / FPS), _persons(rng, pictures)
    steps = int(seconds * 2) + 1
    values = rng.normal(size=(steps, 2, EMBED_CHANNELS, 68)).astype(np.float16)
    return TimeBase(0.0, 0.5), {"embedding": values}


def tone(item: DatasetItem, seconds: float, number: int) -> np.ndarray:
    """A trembling harmonic tone at the instrument's pitch, int16."""
    times = np.arange(int(seconds * RATE_HZ)) / RATE_HZ
    pitch = PITCH_HZ.get(item.labels[0] if item.labels else "", 300.0) * (1 + 0.01 * number)
    wave = sum(np.sin(2 * np.pi * k * pitch * times) / k for k in (1, 2, 3))
    swell = 0.6 + 0.4 * np.sin(2 * np.pi * (1 + number % 3) * times)
    return (6000 * wave * swell).astype(np.int16)


def _jpeg(rng: np.random.Generator, shade: int, row: int) -> bytes:
    width, height = PICTURE_SIZE
    picture = np.full((height, width, 3), shade, np.uint8)
    picture[:, width // 2 :] = 255 - shade
    cv2.circle(picture, (int(rng.integers(width)), int(rng.integers(height))), 30, (0, 0, row), -1)
    return cv2.imencode(".jpg", picture)[1].tobytes()


def _persons(rng: np.random.Generator, pictures: int) -> dict[str, np.ndarray]:
    """One person in the left half, all the time; slot 1 is empty."""
    keypoints = np.zeros((pictures, 2, 68, 3), np.float32)
    keypoints[:, 0, :, :2] = rng.uniform(50, 300, (pictures, 68, 2))
    keypoints[:, 0, :, 2] = 0.9
    box = np.zeros((pictures, 2, 4), np.float32)
    box[:, 0] = (160, 128, 320, 512)
    return {
        "keypoints": keypoints,
        "box": box,
        "present": np.tile(np.array([1, 0], np.uint8), (pictures, 1)),
        "frame_size": np.tile(np.array(NATIVE_SIZE, np.int32), (pictures, 1)),
    }
