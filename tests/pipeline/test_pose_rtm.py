"""RTMPose networks through rtmlib: the joints, the settings, and real runs of tiny ONNX models.

The runs need the extra soundstage[rtm] and are skipped where it is not installed. Their models are
real ONNX files, made here byte by byte (the onnx package and mediapipe want different protobufs).
"""

from __future__ import annotations

import importlib.util
import struct
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipeline.failures import WeightsMissing
from pipeline.pose import rtm_backend
from pipeline.pose.backends import BackendUnavailable
from pipeline.pose.config import RtmConfig
from pipeline.pose.joints68 import JOINT_NAMES
from pipeline.pose.rtm_backend import joints_of
from pipeline.stages import PoseConfig, resolve
from pipeline.weights import PUBLISHED

needs_rtmlib = pytest.mark.skipif(
    not (importlib.util.find_spec("rtmlib") and importlib.util.find_spec("onnxruntime")),
    reason="the extra soundstage[rtm] is not installed",
)
SIDE_PX = 64
"""Side of the detector's input."""
BOX = (8.0, 16.0, 40.0, 60.0)
"""What the detector finds, in pixels of its input."""


def varint(value: int) -> bytes:
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    return bytes([*out, value])


def message(*fields: tuple[int, int | bytes | str]) -> bytes:
    """A protobuf message of numbered integers, texts and messages."""
    parts = []
    for number, value in fields:
        if isinstance(value, int):
            parts.append(varint(number << 3) + varint(value))
        else:
            data = value.encode() if isinstance(value, str) else value
            parts.append(varint(number << 3 | 2) + varint(len(data)) + data)
    return b"".join(parts)


def tensor(name: str, values: np.ndarray) -> bytes:
    kind = 1 if values.dtype == np.float32 else 7
    dims = [(1, n) for n in values.shape]
    return message(*dims, (2, kind), (8, name), (9, values.tobytes()))


def node(kind: str, inputs: Sequence[str], output: str, **attributes: int) -> bytes:
    of_node = [(5, message((1, name), (3, value), (20, 2))) for name, value in attributes.items()]
    return message(*((1, name) for name in inputs), (2, output), (4, kind), *of_node)


def value(name: str, shape: Sequence[int]) -> bytes:
    dims = message(*((1, message((1, n))) for n in shape))
    return message((1, name), (2, message((1, message((1, 1), (2, dims))))))


def onnx_model(
    nodes: Sequence[bytes],
    constants: dict[str, np.ndarray],
    inputs: dict[str, Sequence[int]],
    outputs: dict[str, Sequence[int]],
) -> bytes:
    graph = message(
        *((1, each) for each in nodes),
        (2, "graph"),
        *((5, tensor(name, values)) for name, values in constants.items()),
        *((11, value(name, shape)) for name, shape in inputs.items()),
        *((12, value(name, shape)) for name, shape in outputs.items()),
    )
    return message((1, 8), (7, graph), (8, message((1, ""), (2, 13))))


def detector_model() -> bytes:
    """One box, whose score is the mean of the picture: nobody in the dark."""
    return onnx_model(
        [
            node("ReduceMean", ["x"], "bright", keepdims=0),
            node("Mul", ["bright", "unit"], "scored"),
            node("Add", ["scored", "box"], "dets"),
        ],
        {
            "unit": np.array([[[0, 0, 0, 0, 1 / 128]]], np.float32),
            "box": np.array([[[*BOX, 0]]], np.float32),
        },
        {"x": (1, 3, SIDE_PX, SIDE_PX)},
        {"dets": (1, 1, 5)},
    )


def pose_model(joints: int, *, width: int = 48, height: int = 64) -> bytes:
    """Joint k at known places; its response is the mean of the first colour, red if all is well."""
    peaks = {"px": np.zeros((1, joints, 2 * width), np.float32)}
    peaks["py"] = np.zeros((1, joints, 2 * height), np.float32)
    for k in range(joints):
        peaks["px"][0, k, (3 * k) % (2 * width)] = 1
        peaks["py"][0, k, (5 * k) % (2 * height)] = 1
    return onnx_model(
        [
            node("Gather", ["x", "red"], "plane", axis=1),
            node("ReduceMean", ["plane"], "mean", keepdims=0),
            node("Mul", ["mean", "px"], "simcc_x"),
            node("Mul", ["mean", "py"], "simcc_y"),
        ],
        {"red": np.array([0], np.int64), **peaks},
        {"x": (1, 3, height, width)},
        {"simcc_x": (1, joints, 2 * width), "simcc_y": (1, joints, 2 * height)},
    )


@pytest.fixture
def weights_dir(tmp_path: Path) -> Path:
    """The three published archives, with tiny models inside."""
    folder = tmp_path / "weights"
    folder.mkdir()
    models = {
        "RTM_DETECTOR": detector_model(),
        "RTM_BODY": pose_model(26),
        "RTM_HANDS": pose_model(133),
    }
    for name, data in models.items():
        with zipfile.ZipFile(folder / PUBLISHED[name].file_name, "w") as archive:
            archive.writestr("2023/rtmpose_onnx/end2end.onnx", data)
            archive.writestr("2023/rtmpose_onnx/pipeline.json", "{}")
    return folder


def settings_of(weights_dir: Path, **more: Any) -> PoseConfig:
    return PoseConfig(backend="rtm", rtm=RtmConfig(weights_dir=str(weights_dir), **more))


def red_picture(height: int = 120, width: int = 100) -> np.ndarray:
    picture = np.zeros((height, width, 3), np.uint8)
    picture[..., 0] = 250
    return picture


def test_body_is_halpe26_and_hands_are_of_the_whole_body() -> None:
    body, whole = np.zeros((26, 2)), np.zeros((133, 2))
    body[:, 0], whole[:, 0] = np.arange(26), 1000 + np.arange(133)
    joints = joints_of(body, np.full(26, 0.7), whole, np.full(133, 0.4))
    x = dict(zip(JOINT_NAMES, joints[:, 0].tolist(), strict=True))
    assert (x["nose"], x["left_wrist"], x["neck"], x["right_heel"]) == (0, 9, 18, 25)
    assert (x["left_hand_root"], x["left_hand_little_4"]) == (1091, 1111)
    assert (x["right_hand_root"], x["right_hand_little_4"]) == (1112, 1132)
    np.testing.assert_allclose(joints[:, 2], [0.7] * 26 + [0.4] * 42, rtol=1e-6)


def test_joints_without_a_response_are_zero() -> None:
    scores = np.full(26, 0.7)
    scores[4] = 0.0
    joints = joints_of(np.full((26, 2), -1.0), scores, np.ones((133, 2)), np.zeros(133))
    assert not joints[4].any()
    assert not joints[26:].any()
    assert joints[5].any()


def test_models_of_other_joints_are_refused() -> None:
    with pytest.raises(ValueError, match="gives 17 joints"):
        joints_of(np.zeros((17, 2)), np.zeros(17), np.zeros((133, 2)), np.zeros(133))


def test_the_three_files_are_fingerprinted_and_their_place_is_not(weights_dir: Path) -> None:
    def record(folder: Path, **more: Any) -> Any:
        return resolve({"pose": settings_of(folder, **more)})["pose"].record

    before = record(weights_dir)
    assert sorted(before.weights) == ["body", "detector", "hands"]
    moved = weights_dir.rename(weights_dir.with_name("moved"))
    assert record(moved, device="cuda").fingerprint == before.fingerprint
    with zipfile.ZipFile(moved / PUBLISHED["RTM_HANDS"].file_name, "a") as archive:
        archive.writestr("more", "")
    assert record(moved).fingerprint != before.fingerprint


def test_a_missing_model_names_the_command(tmp_path: Path) -> None:
    with pytest.raises(WeightsMissing, match="soundstage weights fetch RTM_DETECTOR"):
        resolve({"pose": settings_of(tmp_path)})


@pytest.mark.parametrize("missing", ["rtmlib", "onnxruntime"])
def test_without_the_package_the_message_says_how_to_get_it(
    weights_dir: Path, monkeypatch: pytest.MonkeyPatch, missing: str
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == missing else 1)
    with pytest.raises(BackendUnavailable, match=rf"{missing}.*pip install 'soundstage\[rtm\]'"):
        rtm_backend.build(settings_of(weights_dir))


def test_an_archive_without_a_model_is_named(tmp_path: Path) -> None:
    archive = tmp_path / "other.zip"
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("readme.txt", "")
    with pytest.raises(WeightsMissing, match=r"one \.onnx file in the archive"):
        rtm_backend._onnx_file(archive, tmp_path, "body")


def test_the_bytes_made_here_are_protobuf() -> None:
    assert varint(300) == b"\xac\x02"
    assert message((1, 8), (2, "ab")) == b"\x08\x08\x12\x02ab"
    assert struct.unpack("<f", tensor("t", np.ones(1, np.float32))[-4:]) == (1.0,)


@needs_rtmlib
def test_a_person_is_found_where_the_models_say(weights_dir: Path) -> None:
    backend = rtm_backend.build(settings_of(weights_dir))
    picture = red_picture()
    [person] = backend.find_persons(picture)
    scale = 120 / SIDE_PX
    np.testing.assert_allclose(person.box, np.array(BOX) * scale, rtol=1e-5)
    body, scores = backend._body(picture, [person.box])
    whole, _ = backend._hands(picture, [person.box])
    np.testing.assert_allclose(person.keypoints[:26, :2], body[0], rtol=1e-5)
    np.testing.assert_allclose(person.keypoints[26:47, :2], whole[0, 91:112], rtol=1e-5)
    np.testing.assert_allclose(person.keypoints[47:, :2], whole[0, 112:133], rtol=1e-5)
    red = (250 - 123.675) / 58.395
    assert 0 < scores[0, 0] <= red * 1.01, "the network is shown red where it expects red"
    step_px = np.diff(person.keypoints[:3, 0])
    np.testing.assert_allclose(step_px, step_px[0], rtol=1e-4)
    assert step_px[0] > 0


@needs_rtmlib
def test_nobody_is_found_in_the_dark_and_colours_are_in_order(weights_dir: Path) -> None:
    backend = rtm_backend.build(settings_of(weights_dir))
    assert backend.find_persons(np.zeros((120, 100, 3), np.uint8)) == []
    blue = np.ascontiguousarray(red_picture()[..., ::-1])
    [person] = backend.find_persons(blue)
    assert not person.keypoints.any(), "of blue the tiny networks see nothing"


@needs_rtmlib
def test_the_stage_runs_and_prints_nothing(
    laboratory: Any, clips: Any, weights_dir: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    clip = clips.ffmpeg(
        "red.mp4",
        *("-f", "lavfi", "-i", "color=c=red:s=100x120:r=8:d=1,format=yuv444p", "-c:v", "libx264"),
    )
    item = laboratory.add(clip)
    config = settings_of(weights_dir)
    outcome = laboratory.run({"pose": config}, [item])["pose"][item]
    assert outcome.ok, outcome
    name = resolve({"pose": config})["pose"].record.name
    present = laboratory.store.rows(name, item, "present")
    np.testing.assert_array_equal(present, [[1, 0]] * 8)
    assert capfd.readouterr().out == ""


@needs_rtmlib
def test_a_file_that_is_no_model_stops_the_run(weights_dir: Path) -> None:
    (weights_dir / "broken.onnx").write_bytes(b"not a model")
    with pytest.raises(BackendUnavailable, match=r"body: broken\.onnx cannot be loaded on cpu"):
        rtm_backend.build(settings_of(weights_dir, body="broken.onnx"))


@needs_rtmlib
def test_a_device_that_is_not_there_stops_the_run(weights_dir: Path) -> None:
    """onnxruntime itself would go on with the CPU."""
    import onnxruntime

    if "CUDAExecutionProvider" in onnxruntime.get_available_providers():
        pytest.skip("this onnxruntime has the device")
    with pytest.raises(BackendUnavailable, match="onnxruntime-gpu"):
        rtm_backend.build(settings_of(weights_dir, device="cuda"))
