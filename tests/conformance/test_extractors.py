"""What every registered extractor must do, tried on small synthetic clips.

A new stage is in the suite as soon as it stands in the table.
"""

from __future__ import annotations

import importlib.util
import json
import os
import pickle
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from pipeline import work
from pipeline.extractors.base import Inputs
from pipeline.media import POSE_SIDECAR, MediaInfo
from pipeline.pose.joints68 import CENTRE, EDGES, N_JOINTS
from pipeline.stages import (
    STAGES,
    TABLE,
    PoseConfig,
    PoseEmbedConfig,
    ResolvedStage,
    resolve,
    resolve_pose_embed_stage,
)
from storage.fingerprint import sha256_file
from storage.records import ArraySpec
from storage.schema import check_schema

JSON_POSE = "pose from alphapose-json"
MODEL = "stgcn-0123456789ab"
CASES = [*STAGES, JSON_POSE]
WINDOWED = "lab/a/500-1700"
GOOD = ("lab/a/whole", "lab/b/whole", WINDOWED)
MUTE, BLIND = "lab/mute/whole", "lab/blind/whole"
GOLDEN = Path(__file__).with_name("golden_outputs.json")
NO_PEOPLE = {"pose"}
"""Cases whose rows are all alike on pictures without people."""
LARGEST_BLOCK_BYTES = 64 << 20


@pytest.fixture(scope="module")
def lab(clips: Any, make_laboratory: Any, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A store with two ordinary clips, a window, one clip without sound, one without pictures."""
    folder = tmp_path_factory.mktemp("conformance")
    laboratory = make_laboratory(folder / "store")
    first = clips.lossless("conformance_a.mkv", moving_pictures(50), 25.0, rising_tone(2.0), 44100)
    second = clips.ffmpeg(
        "conformance_b.mkv",
        *("-f", "lavfi", "-i", "testsrc=s=320x240:r=25:d=2.6,negate,hflip"),
        *("-f", "lavfi", "-i", "anoisesrc=d=2.6:a=0.4:seed=1:r=44100"),
        *("-pix_fmt", "yuv420p", "-c:v", "libx264", "-preset", "ultrafast", "-c:a", "flac"),
    )
    mute = clips.numbered("mute38.mp4", count=38)
    for item, path, pictures in (
        (GOOD[0], first, 50),
        (GOOD[1], second, 65),
        (WINDOWED, first, 30),
        (MUTE, mute, 38),
    ):
        poses = folder / f"{pictures}.json"
        poses.write_text(json.dumps(list(alphapose_results(pictures))))
        laboratory.add(path, item, sidecars={POSE_SIDECAR: poses})
    laboratory.add(clips.ffmpeg("blind_short.wav", "-f", "lavfi", "-i", "sine=d=1.5"), BLIND)
    publish_model(laboratory)
    return laboratory


def moving_pictures(count: int) -> np.ndarray:
    """A coloured pattern that drifts, uint8 (count, 120, 160, 3); the same on every machine."""
    n, y, x = np.ogrid[:count, :120, :160]
    red = (2 * x + 5 * n + y) % 256
    green = (3 * y + 255 * ((x // 16 + y // 16 + n // 5) % 2)) // 2 % 256
    blue = (x * y // 40 + 3 * n) % 256
    planes = [np.broadcast_to(p, (count, 120, 160)) for p in (red, green, blue)]
    return np.stack(planes, axis=-1).astype(np.uint8)


def rising_tone(seconds: float) -> np.ndarray:
    """A tone that rises and pulses, int16 at 44.1 kHz."""
    time_s = np.arange(round(seconds * 44100)) / 44100
    pulse = 0.5 + 0.4 * np.sin(2 * np.pi * 3 * time_s)
    return np.round(20000 * pulse * np.sin(2 * np.pi * (300 + 400 * time_s) * time_s)).astype("i2")


def alphapose_results(count: int) -> Iterator[dict[str, Any]]:
    """One upright person of 136 joints who sways, as AlphaPose writes it."""
    rng = np.random.default_rng(0)
    shape = np.stack([rng.uniform(100, 200, 136), np.linspace(30, 210, 136)], axis=1)
    for number in range(count):
        joints = shape + np.array([count / 4 * np.sin(number / 4), 0.0])
        keypoints = np.concatenate([joints, np.full((136, 1), 0.9)], axis=1)
        yield {
            "image_id": f"{number}.jpg",
            "category_id": 1,
            "keypoints": keypoints.ravel().round(3).tolist(),
            "score": 2.5,
            "box": [95.0, 25.0, 110.0, 190.0],
            "idx": [0.0],
        }


def publish_model(laboratory: Any) -> None:
    """A small ST-GCN in the store, as training would publish it."""
    import torch
    from safetensors.torch import save_file

    from pipeline.networks.graph import spatial_partition
    from pipeline.networks.stgcn import Stgcn
    from pipeline.networks.stgcn_config import NetworkConfig

    torch.manual_seed(0)
    network = Stgcn(
        NetworkConfig(channels=(4, 8), strides=(2, 2)),
        spatial_partition(EDGES, N_JOINTS, CENTRE),
        n_classes=3,
    )
    folder = laboratory.layout.model(MODEL)
    folder.mkdir(parents=True)
    save_file(network.state_dict(), folder / "weights.safetensors")
    configuration = {"network": {"channels": [4, 8], "strides": [2, 2]}, "persons": 2}
    record = {"record": {"configuration": configuration}}
    (folder / "model.json").write_text(json.dumps(record))


def stages_of(laboratory: Any, case: str) -> dict[str, ResolvedStage]:
    """The case's stage, last, after all that it reads."""
    if case == "pose" and importlib.util.find_spec("mediapipe") is None:
        pytest.skip("mediapipe is not installed (it has no wheel for Python 3.12 or newer)")
    if case not in (JSON_POSE, "pose_embed"):
        return resolve({case: STAGES[case].default}, precision="float32")
    stages = resolve({"pose": PoseConfig(backend="alphapose-json")})
    if case == "pose_embed":
        weights = laboratory.layout.model(MODEL) / "weights.safetensors"
        stages[case] = resolve_pose_embed_stage(
            PoseEmbedConfig(model=MODEL), weights_sha256=sha256_file(weights), pose=stages["pose"]
        )
    return stages


@pytest.fixture(scope="module", params=CASES)
def case(request: pytest.FixtureRequest, lab: Any) -> tuple[str, ResolvedStage, Mapping[str, Any]]:
    """A stage that has been run on every item, with the outcomes."""
    stages = stages_of(lab, request.param)
    done: dict[str, Any] = {}
    for stage in stages.values():
        done = lab.run_stage(stage, [*GOOD, MUTE, BLIND])
    return request.param, stage, done


def info_of(laboratory: Any, item: str) -> MediaInfo:
    probe = resolve({"probe": STAGES["probe"].default})["probe"]
    return MediaInfo.from_json(laboratory.store.rows(probe.record.name, item)[0])


def arrays_of(laboratory: Any, stage: ResolvedStage, item: str) -> dict[str, Any]:
    names = [spec.name for spec in laboratory.store.schema(stage.record.name).arrays]
    return {n: laboratory.store.rows(stage.record.name, item, n) for n in names}


def size_bytes(spec: ArraySpec, rows: Any) -> int:
    return sum(map(len, rows)) if spec.is_bytes else rows.nbytes


def test_the_contract_can_be_stored_and_does_not_change(lab: Any, case: Any) -> None:
    _, stage, _ = case
    schema = work.stage_schema(stage, str(lab.layout.root))
    check_schema(schema)
    assert schema.anchor in ("instant", "start", "centre")
    for spec in schema.arrays:
        assert len(spec.dims) == 1 + len(spec.row_shape), spec.name
        assert spec.dims[0] == "time"
    assert work.stage_schema(stage, str(lab.layout.root)) == schema
    assert lab.store.schema(stage.record.name) == schema
    assert pickle.loads(pickle.dumps(stage)) == stage


def test_good_items_have_rows_that_cover_their_duration(lab: Any, case: Any) -> None:
    name, stage, done = case
    for item in GOOD:
        assert done[item].ok, done[item]
        base = lab.store.time_base(stage.record.name, item)
        length = lab.store.length(stage.record.name, item)
        assert length >= 1
        if name == "probe":
            continue
        duration_s = info_of(lab, item).duration_s
        assert 0 <= base.t0_s < duration_s
        assert base.hop_s > 0
        assert abs(base.t0_s + length * base.hop_s - duration_s) <= base.hop_s * 1.001, item


def test_rows_keep_the_contract(lab: Any, case: Any) -> None:
    _, stage, _ = case
    schema = lab.store.schema(stage.record.name)
    for item in GOOD:
        length = lab.store.length(stage.record.name, item)
        for spec in schema.arrays:
            rows = lab.store.rows(stage.record.name, item, spec.name)
            assert len(rows) == length, spec.name
            if spec.is_bytes:
                assert all(rows), "a row of no bytes"
                continue
            assert rows.dtype == np.dtype(spec.dtype)
            assert rows.shape[1:] == spec.row_shape
            if rows.dtype.kind == "f":
                assert np.isfinite(rows).all(), spec.name


def test_an_item_without_the_stream_gets_a_typed_reason(case: Any) -> None:
    _, stage, done = case
    needs = stage.definition.needs
    expected = {"video": {BLIND}, "audio": {MUTE}, "any": set()}[needs]
    for item in (MUTE, BLIND):
        if item not in expected:
            assert done[item].ok, done[item]
        elif "probe" in stage.upstream:
            assert done[item].reason == f"no_{needs}"
        else:
            assert done[item].reason in {f"upstream:{name}" for name in stage.upstream}


def test_a_stretch_of_time_is_the_same_rows(lab: Any, case: Any) -> None:
    name, stage, _ = case
    if name == "probe":
        return  # one row, at the start
    whole = lab.store.read(stage.record.name, GOOD[1])
    part = lab.store.read(stage.record.name, GOOD[1], start_s=1.0, end_s=2.2)
    inside = np.flatnonzero((whole.times_s >= 1.0 - 1e-9) & (whole.times_s < 2.2 - 1e-9))
    assert len(inside) >= 1
    np.testing.assert_array_equal(part.times_s, whole.times_s[inside])
    np.testing.assert_array_equal(part.values, whole.values[inside])


def test_different_clips_have_different_rows(lab: Any, case: Any) -> None:
    name, stage, _ = case
    if name in NO_PEOPLE:
        pytest.skip("no synthetic clip has people that this backend finds; see its own tests")
    first, second = (arrays_of(lab, stage, item) for item in GOOD[:2])
    rows = min(len(next(iter(first.values()))), len(next(iter(second.values()))))
    assert any(
        not np.array_equal(np.asarray(first[n][:rows]), np.asarray(second[n][:rows])) for n in first
    )


def test_blocks_are_small_and_the_same_whatever_came_before(
    lab: Any, case: Any, tmp_path: Path
) -> None:
    _, stage, _ = case
    job = lab.job(stage, WINDOWED)
    extractor = work.extractor_of(job)
    inputs = Inputs(
        media=job.media, stage=stage, store=lab.store, scratch=tmp_path, timeout_s=job.timeout_s
    )
    stored = arrays_of(lab, stage, WINDOWED)
    start = 0
    for block in extractor.extract(inputs):
        size = sum(size_bytes(spec, block[spec.name]) for spec in extractor.schema.arrays)
        assert 0 < size < LARGEST_BLOCK_BYTES
        stop = start + len(next(iter(block.values())))
        for name, rows in block.items():
            np.testing.assert_array_equal(rows, stored[name][start:stop], err_msg=name)
        start = stop
    assert start == lab.store.length(stage.record.name, WINDOWED)


def test_the_output_is_that_of_the_stages_version(lab: Any, case: Any) -> None:
    name, stage, _ = case
    found = {
        "stage_version": stage.definition.version,
        "arrays": {n: summary(rows) for n, rows in arrays_of(lab, stage, GOOD[0]).items()},
    }
    if name != JSON_POSE and name not in TABLE:
        pytest.skip("a stage of an installed package: its package keeps its numbers")
    golden = json.loads(GOLDEN.read_text()) if GOLDEN.exists() else {}
    if os.environ.get("SOUNDSTAGE_WRITE_GOLDEN"):
        GOLDEN.write_text(json.dumps(golden | {name: found}, indent=1, sort_keys=True) + "\n")
        return
    advice = (
        f"output of stage {stage.name} changed: raise its version in pipeline/stages.py (stored "
        "features are then computed anew) and run this test with SOUNDSTAGE_WRITE_GOLDEN=1"
    )
    assert name in golden, advice
    assert golden[name]["stage_version"] == found["stage_version"], advice
    assert golden[name]["arrays"].keys() == found["arrays"].keys(), advice
    tolerance = 2e-2 if stage.definition.network else 5e-3
    for array, expected in golden[name]["arrays"].items():
        got = found["arrays"][array]
        assert got["shape"] == expected["shape"], f"{array}: {advice}"
        scale = max(abs(expected["rms"]), 1e-9)
        for key in ("rms", "mean", "wave"):
            np.testing.assert_allclose(
                got[key],
                expected[key],
                atol=tolerance * scale,
                rtol=0,
                err_msg=f"{array}: {advice}",
            )


def summary(rows: Any) -> dict[str, Any]:
    """A few numbers that tell outputs apart but bear rounding: no digest would."""
    if isinstance(rows, list):
        rows = [brightness(row) for row in rows]
    values = np.asarray(rows, np.float64)
    phase = 0.37 * np.arange(values.size)
    return {
        "shape": list(values.shape),
        "rms": float(np.sqrt(np.mean(values**2))),
        "mean": float(values.mean()),
        "wave": [float(values.ravel() @ np.cos(k * phase) / values.size**0.5) for k in (1, 2, 3)],
    }


def brightness(row: bytes) -> list[float]:
    """Mean of each colour of a JPEG; the numbers of a line of JSON."""
    if row.startswith(b"{"):
        info = MediaInfo.from_json(row)
        return [info.duration_s, info.video.fps, info.video.width_px, info.audio.rate_hz / 1e3]
    return cv2.imdecode(np.frombuffer(row, np.uint8), cv2.IMREAD_COLOR).mean((0, 1)).tolist()
