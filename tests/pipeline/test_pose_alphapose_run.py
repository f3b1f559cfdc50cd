"""Running a user's AlphaPose: the protocol, and every way in which it can go wrong.

The checkout is a stand-in (`alphapose_standin`) with AlphaPose's interfaces and documented traps.
"""

from __future__ import annotations

import ast
import importlib.util
import json
import os
import sys
import time
import types
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from alphapose_standin import CHECKPOINT, CONFIG, make_checkout

from pipeline.failures import WeightsMissing
from pipeline.pose import alphapose_backend
from pipeline.pose.alphapose_backend import DRIVER, AlphaposeBackend
from pipeline.pose.backends import BackendUnavailable
from pipeline.pose.config import AlphaposeConfig
from pipeline.stages import PoseConfig, resolve
from pipeline.work import _EXTRACTORS

FPS = 8.0


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A stand-in checkout; a file `trap` in it says what goes wrong."""
    return make_checkout(tmp_path / "Alpha Pose")


def settings_of(checkout: Path, **more: Any) -> PoseConfig:
    alphapose = AlphaposeConfig(
        root=str(checkout), config=CONFIG, checkpoint=CHECKPOINT, device="cpu", **more
    )
    return PoseConfig(backend="alphapose", alphapose=alphapose)


class RunLab:
    """Runs the pose stage through the stand-in, and looks after its processes."""

    def __init__(self, laboratory: Any, checkout: Path, clips: Any) -> None:
        self.laboratory, self.checkout, self._clips = laboratory, checkout, clips

    def run(self, *, count: int = 24, fps: float = FPS, **more: Any) -> tuple[Any, Any]:
        """Outcome and stage of a new clip of numbered pictures."""
        self.item = self.laboratory.add(self._clips.numbered(f"n{count}.mp4", count=count, fps=fps))
        stages = resolve({"pose": settings_of(self.checkout, **more)})
        for stage in stages.values():
            outcomes = self.laboratory.run_stage(stage, [self.item])
        return outcomes[self.item], stages["pose"]

    def rows(self, stage: Any, array: str) -> np.ndarray:
        return self.laboratory.store.rows(stage.record.name, self.item, array)

    def trap(self, name: str) -> None:
        (self.checkout / "trap").write_text(name)

    def backend(self, stage: Any) -> AlphaposeBackend:
        return _EXTRACTORS[stage.record.name, stage.device]._backend

    def processes(self) -> set[int]:
        """Ids of the processes that have the checkout on their command line."""
        found = set()
        for folder in Path("/proc").iterdir():
            if folder.name.isdigit():
                try:
                    if str(self.checkout).encode() in (folder / "cmdline").read_bytes():
                        found.add(int(folder.name))
                except (FileNotFoundError, ProcessLookupError):
                    continue
        return found


@pytest.fixture
def lab(laboratory: Any, checkout: Path, clips: Any) -> Iterator[RunLab]:
    lab = RunLab(laboratory, checkout, clips)
    yield lab
    for key in [key for key in _EXTRACTORS if key[0].startswith("pose-")]:
        backend = _EXTRACTORS.pop(key)._backend
        if isinstance(backend, AlphaposeBackend):
            backend.close()
    assert lab.processes() == set()


def seen(n_rows: int) -> np.ndarray:
    """The rows in which the stand-in sees its person, when row i shows picture i."""
    return np.arange(n_rows) % 5 != 3


def test_row_i_is_picture_i_and_models_are_loaded_once(
    lab: RunLab, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(alphapose_backend, "BATCH_PICTURES", 10)
    outcome, stage = lab.run(count=24)
    assert outcome.ok, outcome
    present = lab.rows(stage, "present")
    np.testing.assert_array_equal(present[:, 0], seen(24))
    assert not present[:, 1].any()
    box = lab.rows(stage, "box")[seen(24), 0]
    number = np.arange(24)[seen(24)]
    np.testing.assert_array_equal(
        box, np.stack([number, 0 * number + 5, number + 40, 0 * number + 85], 1)
    )
    keypoints = lab.rows(stage, "keypoints")[seen(24), 0]
    np.testing.assert_array_equal(keypoints[:, 0, 0], number)
    np.testing.assert_array_equal(keypoints[:, 67, 1], 72)
    np.testing.assert_array_equal(lab.rows(stage, "frame_size"), [[192, 96]] * 24)
    first = lab.processes()
    assert len(first) == 1
    outcome, stage = lab.run(count=17, fps=16.0)
    assert outcome.ok, outcome
    number = 2 * np.arange(9)
    np.testing.assert_array_equal(lab.rows(stage, "present")[:, 0], number % 5 != 3)
    assert lab.processes() == first


def test_nothing_of_a_path_is_fingerprinted_and_every_file_is(checkout: Path) -> None:
    config = settings_of(checkout)

    def record(config: PoseConfig) -> Any:
        return resolve({"pose": config})["pose"].record

    before = record(config)
    assert before.backend == "alphapose"
    assert before.weights["joints"] == "68"
    assert str(checkout) not in json.dumps(before.parameters) + json.dumps(before.weights)
    moved = checkout.with_name("moved")
    checkout.rename(moved)
    same = replace(config, alphapose=replace(config.alphapose, root=str(moved), device="cuda"))
    assert record(same).fingerprint == before.fingerprint
    for name in (CONFIG, CHECKPOINT, "detector/yolo/data/yolov3-spp.weights"):
        path, text = moved / name, (moved / name).read_text()
        path.write_text(text + " # other")
        assert record(same).fingerprint != before.fingerprint, name
        path.write_text(text)


@pytest.mark.parametrize(
    "trap, reason, words",
    [
        ("hangs at the end", "timeout", "still running after"),
        ("exits with 0", "crash", "ended with code 0"),
        ("thread dies", "crash", "CUDA out of memory"),
        ("writes nothing", "crash", "without a alphapose-results.json"),
        ("writes half", "crash", "not valid JSON"),
        ("other pictures", "crash", "is of picture"),
        ("other joints", "crash", "26 joints"),
    ],
)
def test_what_goes_wrong_costs_one_clip(lab: RunLab, trap: str, reason: str, words: str) -> None:
    """The clip gets a typed reason that a later run tries again; the next clip is done."""
    lab.trap(trap)
    started = time.monotonic()
    outcome, stage = lab.run(video_timeout_s=0.7 if reason == "timeout" else 60.0)
    assert time.monotonic() - started < 30
    assert outcome.reason == reason, outcome
    assert outcome.transient
    assert words in outcome.detail
    assert "rows 0 to 23" in outcome.detail
    assert lab.processes() == set(), "an AlphaPose that failed is gone with its group"
    lab.trap("")
    outcome, stage = lab.run(count=9)
    assert outcome.ok, outcome
    np.testing.assert_array_equal(lab.rows(stage, "present")[:, 0], seen(9))


def test_a_killed_driver_is_started_anew(lab: RunLab) -> None:
    assert lab.run()[0].ok
    [pid] = lab.processes()
    os.kill(pid, 9)
    outcome, _ = lab.run(count=9)
    assert outcome.reason == "crash"
    assert "killed by signal 9" in outcome.detail
    assert lab.run(count=10)[0].ok


def test_a_checkout_that_does_not_start_stops_the_run(lab: RunLab) -> None:
    (lab.checkout / "alphapose/models/builder.py").write_text("import easydict_of_yore")
    with pytest.raises(BackendUnavailable) as caught:
        lab.run()
    assert "No module named 'easydict_of_yore'" in str(caught.value)
    assert f"soundstage doctor --alphapose {lab.checkout}" in str(caught.value)


def test_other_joints_than_the_configuration_says_stop_the_run(lab: RunLab) -> None:
    path = lab.checkout / "alphapose/utils/config.py"
    path.write_text(path.read_text().replace("NUM_JOINTS=joints", "NUM_JOINTS=17"))
    with pytest.raises(BackendUnavailable, match="17 joints, expected the 68"):
        lab.run()


def test_settings_that_cannot_work_are_named(checkout: Path) -> None:
    with pytest.raises(BackendUnavailable, match=r"set \[alphapose\] root"):
        resolve({"pose": PoseConfig(backend="alphapose")})
    with pytest.raises(BackendUnavailable, match="expected the folder of an AlphaPose checkout"):
        resolve({"pose": settings_of(checkout / "alphapose")})
    with pytest.raises(ValueError, match="yolo or yolox"):
        settings_of(checkout, detector="tracker")
    with pytest.raises(WeightsMissing, match=r"yolox_x\.pth does not exist"):
        resolve({"pose": settings_of(checkout, detector="yolox-x")})
    (checkout / CONFIG).write_text("DATA_PRESET:\n  NUM_JOINTS: 17\n")
    with pytest.raises(BackendUnavailable, match="NUM_JOINTS 136, 68, 26"):
        resolve({"pose": settings_of(checkout)})
    (checkout / CHECKPOINT).unlink()
    (checkout / CONFIG).write_text("DATA_PRESET:\n  NUM_JOINTS: 26\n")
    with pytest.raises(WeightsMissing, match="soundstage doctor --alphapose"):
        resolve({"pose": settings_of(checkout)})


def test_the_driver_can_be_read_by_an_old_python() -> None:
    assert ast.parse(DRIVER.read_text(), feature_version=(3, 7)).body


def test_the_driver_imports_nothing_of_ours() -> None:
    ours = {"storage", "pipeline", "model", "tasks"}
    for node in ast.walk(ast.parse(DRIVER.read_text())):
        if isinstance(node, ast.ImportFrom):
            assert (node.module or "").split(".")[0] not in ours
        elif isinstance(node, ast.Import):
            assert not {alias.name.split(".")[0] for alias in node.names} & ours


@pytest.fixture(scope="module")
def driver() -> Any:
    """The driver as a module."""
    spec = importlib.util.spec_from_file_location("alphapose_driver", DRIVER)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_what_stands_in_for_the_compiled_nms(driver: Any) -> None:
    torch = pytest.importorskip("torch")
    boxes = torch.tensor(
        [[0, 0, 100, 100, 0.9], [5, 5, 105, 105, 0.8], [300, 0, 400, 100, 0.7], [0, 0, 9, 9, 0.6]]
    )
    for name in ("detector.nms.nms_cpu", "detector.nms.nms_cuda"):
        assert driver._placeholder(name).nms(boxes, 0.6).tolist() == [0, 2, 3]
    with pytest.raises(RuntimeError, match="which is not built"):
        driver._placeholder("detector.nms.soft_nms_cpu").soft_nms_cpu(boxes)


def test_what_stands_in_for_the_deformable_convolution(
    driver: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """AlphaPose's offsets are (y, x) of each kernel position, in this order."""
    torch = pytest.importorskip("torch")
    name = "alphapose.models.layers.dcn.deform_conv"
    parts = name.split(".")
    for k in range(1, len(parts) + 1):
        monkeypatch.setitem(sys.modules, ".".join(parts[:k]), types.ModuleType(parts[k - 1]))
    driver._replace_deformable_convolution()
    module = sys.modules[name]
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(2, 4, 9, 11, generator=generator)
    weight = torch.randn(6, 4, 3, 3, generator=generator)
    conv = torch.nn.functional.conv2d
    offset = torch.zeros(2, 18, 9, 11)
    got = module.deform_conv(x, offset, weight, (1, 1), (1, 1), (1, 1), 1, 1)
    torch.testing.assert_close(got, conv(x, weight, padding=1))
    offset[:, 0::2] = 1.0
    got = module.deform_conv(x, offset, weight, (1, 1), (1, 1), (1, 1), 1, 1)
    down = torch.nn.functional.pad(x, (0, 0, 0, 1))[:, :, 1:]
    torch.testing.assert_close(got[:, :, 1:], conv(down, weight, padding=1)[:, :, 1:])
    mask = torch.full((2, 9, 9, 11), 0.5)
    got = module.modulated_deform_conv(x, 0 * offset, mask, weight, None, 1, 1, 1, 1, 1)
    torch.testing.assert_close(got, 0.5 * conv(x, weight, padding=1))


def test_networks_are_built_without_a_download(
    driver: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    models = pytest.importorskip("torchvision.models")

    def no_network(*_: object, **__: object) -> None:
        raise AssertionError("a download was tried")

    monkeypatch.setattr("torch.hub.load_state_dict_from_url", no_network)
    monkeypatch.setattr("torchvision.models._api.load_state_dict_from_url", no_network)
    for depth in (18, 34, 50, 101, 152):
        monkeypatch.setattr(models, f"resnet{depth}", getattr(models, f"resnet{depth}"))
    with pytest.raises(AssertionError, match="a download was tried"):
        models.resnet18(weights="IMAGENET1K_V1")
    driver._keep_pretrained_weights_home()
    assert models.resnet18(pretrained=True).fc.out_features == 1000
