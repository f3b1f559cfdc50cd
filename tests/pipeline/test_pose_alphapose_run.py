"""Running a user's AlphaPose: the protocol, and every way in which it can go wrong.

The checkout here is a stand-in with AlphaPose's interfaces and its documented traps; it was written
for these tests. It "sees" one person whose x is the number that a picture carries in blocks.
"""

from __future__ import annotations

import ast
import importlib.util
import json
import os
import sys
import textwrap
import time
import types
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipeline.failures import WeightsMissing
from pipeline.pose import alphapose_backend
from pipeline.pose.alphapose_backend import DRIVER, AlphaposeBackend
from pipeline.pose.backends import BackendUnavailable
from pipeline.pose.config import AlphaposeConfig
from pipeline.stages import PoseConfig, resolve
from pipeline.work import _EXTRACTORS

CONFIG = "configs/halpe_68.yaml"
CHECKPOINT = "pretrained_models/standin.pth"
FPS = 8.0

LIGHT_TORCH = """
    import contextlib
    import numpy as np

    no_grad = contextlib.nullcontext

    class device(str):
        type = "cpu"
        index = None

    class cuda:
        is_available = staticmethod(lambda: False)

    class Tensor(np.ndarray):
        def to(self, device): return self
        def cpu(self): return self
        def nelement(self): return self.size
        def split(self, count): return [self[k:k + count] for k in range(0, len(self), count)]

    def as_tensor(values): return np.asarray(values, np.float32).view(Tensor)
    def cat(parts): return np.concatenate(parts).view(Tensor)
    def load(path, map_location): return {"weight": open(path, "rb").read()}
"""

FILES = {
    CONFIG: "DATA_PRESET:\n  TYPE: simple\n  NUM_JOINTS: 68\n",
    CHECKPOINT: "trained",
    "detector/yolo/data/yolov3-spp.weights": "darknet",
    "alphapose/__init__.py": "",
    "alphapose/utils/__init__.py": "",
    "alphapose/utils/roi_align/__init__.py": "from . import roi_align_cuda",
    "alphapose/models/__init__.py": "",
    "alphapose/utils/config.py": """
        from types import SimpleNamespace as N

        def update_config(path):
            words = open(path).read().split()
            joints = int(words[words.index("NUM_JOINTS:") + 1])
            return N(MODEL=N(TYPE="FastPose"), DATA_PRESET=N(NUM_JOINTS=joints))
    """,
    "alphapose/models/builder.py": """
        import torch, torchvision
        import alphapose.utils.roi_align

        class Network:
            def __init__(self, joints): self.joints = joints
            def load_state_dict(self, state): assert state["weight"] == b"trained"
            def to(self, device): return self
            def eval(self): return self
            def __call__(self, crops):
                return torch.as_tensor([[[float(c.ravel()[0]), k] for k in range(self.joints)]
                                        for c in crops])

        def build_sppe(model, preset_cfg):
            torchvision.models.resnet50(pretrained=True)
            return Network(preset_cfg.NUM_JOINTS)
    """,
    "detector/__init__.py": "",
    "detector/nms/__init__.py": "",
    "detector/apis.py": """
        import os
        from detector.nms import nms_cpu, nms_cuda
        from detector.nms.soft_nms_cpu import soft_nms_cpu

        class Detector:
            def load_model(self):
                assert os.path.isfile("detector/yolo/data/yolov3-spp.weights"), os.getcwd()
                print("Loading YOLO model..")

        def get_detector(opt):
            assert opt.sp and opt.detector == "yolo" and not opt.tracking
            return Detector()
    """,
    "alphapose/utils/detector.py": """
        import os
        from queue import Queue
        from threading import Thread
        import cv2
        import torch

        def trap():
            return open("trap").read() if os.path.exists("trap") else ""

        class DetectionLoader:
            def __init__(self, names, detector, cfg, opt, mode, batchSize, queueSize):
                assert mode == "image"
                self.paths = [os.path.join(opt.inputpath, name) for name in names]
                self.queue = Queue(queueSize)

            def start(self):
                Thread(target=self.work).start()

            def work(self):
                for path in self.paths:
                    picture = cv2.imread(path)[:, :, ::-1]
                    name = os.path.basename(path)
                    number = sum(1 << b for b in range(12) if picture[8, 16 * b + 8].mean() > 128)
                    if trap() == "thread dies" and number >= 3:
                        raise RuntimeError("CUDA out of memory (not really)")
                    if trap() == "exits with 0" and number >= 3:
                        os._exit(0)
                    boxes = crops = None
                    if number % 5 != 3:
                        boxes = torch.as_tensor([[number, 5, number + 40, 85]])
                        crops = torch.as_tensor([[number]])
                    self.queue.put((crops, picture, name, boxes, [0.9], [0.0], boxes))

            def read(self):
                return self.queue.get()

            def stop(self):
                pass
    """,
    "alphapose/utils/writer.py": """
        import json, os, time
        from queue import Queue
        from threading import Thread
        from alphapose.utils.detector import trap

        class DataWriter:
            def __init__(self, cfg, opt, queueSize):
                self.opt = opt
                self.queue = Queue(queueSize)

            def start(self):
                self.worker = Thread(target=self.update)
                self.worker.start()
                return self

            def save(self, *result):
                self.queue.put(result)

            def stop(self):
                self.save(None, None, None, None, None, None, None)
                self.worker.join()

            def update(self):
                final = []
                while True:
                    boxes, scores, ids, maps, crops, picture, name = self.queue.get()
                    if picture is None:
                        return self.write(final)
                    for k in range(0 if boxes is None else len(boxes)):
                        x1, y1, x2, y2 = (float(v) for v in boxes[k])
                        joints = [[x1 + float(m[0]) * 0 + i % 7, y1 + i, 0.9]
                                  for i, m in enumerate(maps[k])]
                        final.append({
                            "image_id": name, "category_id": 1, "score": 2.9,
                            "keypoints": [v for joint in joints for v in joint],
                            "box": [x1, y1, x2 - x1, y2 - y1], "idx": [[0.0]],
                        })

            def write(self, final):
                print("Results have been written to json.")
                text = json.dumps(final)
                if trap() == "hangs at the end":
                    time.sleep(600)
                if trap() == "writes nothing":
                    return
                if trap() == "writes half":
                    text = text[: len(text) // 2]
                if trap() == "other pictures":
                    text = text.replace('.png"', '7777.png"')
                if trap() == "other joints":
                    text = json.dumps([e | {"keypoints": e["keypoints"][:78]} for e in final])
                with open(os.path.join(self.opt.outputpath, "alphapose-results.json"), "w") as f:
                    f.write(text)
    """,
}


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A stand-in checkout; a file `trap` in it says what goes wrong."""
    root = tmp_path / "Alpha Pose"
    light = {
        "torch.py": LIGHT_TORCH,
        "torchvision/__init__.py": "from . import models",
        "torchvision/models.py": """
            def resnet50(pretrained=False): assert not pretrained, "a download"
            resnet18 = resnet34 = resnet101 = resnet152 = resnet50
        """,
    }
    for name, text in (FILES | light).items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(textwrap.dedent(text))
    return root


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
    outcome, stage = lab.run(video_timeout_s=1.5 if reason == "timeout" else 60.0)
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
    ast.parse(DRIVER.read_text(), feature_version=(3, 7))


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
