"""Runs AlphaPose for many videos with its models loaded once. Runs with AlphaPose's own Python.

Nothing of this project is imported here, and nothing of AlphaPose is part of this project: the
script is given the folder of a checkout that the user has installed. Jobs come as JSON lines on
stdin ({"job", "pictures": folder, "names", "results": folder}); for each one AlphaPose's own loader
and writer, in one process as with its option --sp, leave `alphapose-results.json` in the folder for
results, and a JSON line on stdout says so. With --probe it says what the checkout needs and has.

The end is quick and plain: an error anywhere, in AlphaPose's threads too, ends the process with its
traceback on stderr, where AlphaPose itself would wait for ever. Python 3.7 can run this file.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import sys
import threading
import traceback
import types
from pathlib import Path
from typing import Any

MODULES = (
    *("torch", "torchvision", "cv2", "numpy", "scipy", "yaml", "easydict", "natsort", "tqdm"),
    *("pycocotools", "halpecocotools", "matplotlib"),
)
"""What the parts of AlphaPose that are used here import."""
EXTENSIONS = {
    "roi_align_cuda": ("alphapose.utils.roi_align", "an empty module: inference never calls it"),
    "nms_cpu": ("detector.nms", "torchvision's nms"),
    "nms_cuda": ("detector.nms", "torchvision's nms"),
    "soft_nms_cpu": ("detector.nms", "an empty function: the detectors do not call it"),
    "deform_conv_cuda": ("alphapose.models.layers.dcn", "torchvision's deform_conv2d"),
    "deform_pool_cuda": (
        "alphapose.models.layers.dcn",
        "an empty module: inference never calls it",
    ),
}
"""Compiled parts of AlphaPose: the package of each, and what stands in where it is not built."""
_LOADER_QUEUE = 16
"""Pictures that wait in AlphaPose's queues; its default of 1024 takes tens of GB."""


def built(root: Path, extension: str) -> bool:
    """Return whether a compiled part is there."""
    folder = root.joinpath(*EXTENSIONS[extension][0].split("."))
    return any(path.suffix in (".so", ".pyd") for path in folder.glob(extension + ".*"))


def fill_gaps(root: Path, device: str) -> list[str]:
    """Put stand-ins where compiled parts or unused imports are missing; return what was done.

    The checkout's files stay as they are.
    """
    done = []
    for extension, (package, instead) in EXTENSIONS.items():
        if not built(root, extension):
            sys.modules[package + "." + extension] = _placeholder(package + "." + extension)
            done.append(extension + ": " + instead)
    try:
        importlib.import_module("tkinter")
    except ImportError:
        sys.modules["tkinter"] = _placeholder("tkinter")
        done.append("tkinter: an empty module, its import is not used")
    _keep_pretrained_weights_home()
    if root.joinpath("alphapose", "models", "layers", "dcn", "deform_conv.py").is_file() and (
        device == "cpu" or not built(root, "deform_conv_cuda")
    ):
        _replace_deformable_convolution()
    return done


def _placeholder(name: str) -> types.ModuleType:
    """Return a module that can be imported; `nms` works, all else says what is missing."""
    module = types.ModuleType(name)

    def nms(boxes: Any, threshold: float) -> Any:
        from torchvision.ops import nms as torchvision_nms

        return torchvision_nms(boxes[:, :4], boxes[:, 4], threshold)

    def missing(*_: object, **__: object) -> None:
        raise RuntimeError("AlphaPose called " + name + ", which is not built")

    if name.endswith(("nms_cpu", "nms_cuda")) and "soft" not in name:
        module.nms = nms  # type: ignore[attr-defined]
    elif name.endswith("soft_nms_cpu"):
        module.soft_nms_cpu = missing  # type: ignore[attr-defined]
    elif name == "tkinter":
        module._flatten = missing  # type: ignore[attr-defined]
    return module


def _keep_pretrained_weights_home() -> None:
    """Let networks be built without a download: the checkpoint replaces these weights anyway."""
    models = importlib.import_module("torchvision.models")

    def untrained(build: Any) -> Any:
        return lambda *_, **__: build()

    for depth in (18, 34, 50, 101, 152):
        name = "resnet" + str(depth)
        setattr(models, name, untrained(getattr(models, name)))


def _replace_deformable_convolution() -> None:
    """Compute deformable convolutions with torchvision, on CPU too."""
    from torchvision.ops import deform_conv2d

    module: Any = importlib.import_module("alphapose.models.layers.dcn.deform_conv")

    def plain(
        x: Any,
        offset: Any,
        weight: Any,
        stride: Any = 1,
        padding: Any = 0,
        dilation: Any = 1,
        *_: Any,
    ) -> Any:
        return deform_conv2d(x, offset, weight, None, stride, padding, dilation)

    def modulated(
        x: Any,
        offset: Any,
        mask: Any,
        weight: Any,
        bias: Any = None,
        stride: Any = 1,
        padding: Any = 0,
        dilation: Any = 1,
        *_: Any,
    ) -> Any:
        return deform_conv2d(x, offset, weight, bias, stride, padding, dilation, mask)

    module.deform_conv, module.modulated_deform_conv = plain, modulated


class Driver:
    """AlphaPose with its detector and its pose network loaded."""

    def __init__(self, arguments: argparse.Namespace) -> None:
        import torch

        root = Path(arguments.root)
        self.device = arguments.device
        if self.device == "auto":
            self.device = "cuda" if torch.cuda.is_available() else "cpu"
        self.instead = fill_gaps(root, self.device)
        builder = importlib.import_module("alphapose.models.builder")
        self._cfg = importlib.import_module("alphapose.utils.config").update_config(
            arguments.config
        )
        self.options = _options(arguments, torch.device(self.device))
        self._detector = importlib.import_module("detector.apis").get_detector(self.options)
        if hasattr(self._detector, "load_model"):
            self._detector.load_model()
        network = builder.build_sppe(self._cfg.MODEL, preset_cfg=self._cfg.DATA_PRESET)
        network.load_state_dict(torch.load(arguments.checkpoint, map_location=self.options.device))
        self._network = network.to(self.options.device).eval()
        self.joints = int(self._cfg.DATA_PRESET.NUM_JOINTS)

    def run(self, pictures: str, names: list[str], results: str) -> None:
        """Look at the named pictures of a folder; AlphaPose's file appears in `results`."""
        import torch

        loading = importlib.import_module("alphapose.utils.detector")
        writing = importlib.import_module("alphapose.utils.writer")
        self.options.inputpath, self.options.outputpath = pictures, results
        loader = loading.DetectionLoader(
            names,
            self._detector,
            self._cfg,
            self.options,
            mode="image",
            batchSize=self.options.detbatch,
            queueSize=_LOADER_QUEUE,
        )
        loader.start()
        writer = writing.DataWriter(self._cfg, self.options, queueSize=_LOADER_QUEUE).start()
        with torch.no_grad():
            for _ in names:
                crops, picture, name, boxes, scores, ids, cropped = loader.read()
                if picture is None:
                    break
                if boxes is None or boxes.nelement() == 0:
                    writer.save(None, None, None, None, None, picture, name)
                    continue
                maps = [
                    self._network(part.to(self.options.device)).cpu()
                    for part in crops.split(self.options.posebatch)
                ]
                writer.save(boxes, scores, ids, torch.cat(maps), cropped, picture, name)
        writer.stop()
        loader.stop()


def _options(arguments: argparse.Namespace, device: Any) -> argparse.Namespace:
    """Return what AlphaPose's parts read of its command line, in one process, without tracking."""
    off = ("tracking", "pose_track", "pose_flow", "save_img", "save_video", "vis", "vis_fast")
    return argparse.Namespace(
        **dict.fromkeys((*off, "showbox", "eval", "debug", "profile", "flip"), False),
        device=device,
        gpus=[-1] if device.type == "cpu" else [device.index or 0],
        sp=True,
        format=None,
        min_box_area=0,
        detector=arguments.detector,
        detbatch=arguments.detector_batch,
        posebatch=arguments.pose_batch,
        qsize=_LOADER_QUEUE,
        inputpath="",
        outputpath="",
    )


def probe(root: Path) -> dict[str, Any]:
    """Return what this Python and the checkout have: modules, compiled parts, what imports."""
    modules = {name: _version(name) for name in MODULES}
    found: dict[str, Any] = {
        "python": sys.version.split()[0],
        "modules": modules,
        "extensions": {name: built(root, name) for name in EXTENSIONS},
        "instead": {name: instead for name, (_, instead) in EXTENSIONS.items()},
        "cuda": False,
    }
    if modules["torch"][0]:
        found["cuda"] = importlib.import_module("torch").cuda.is_available()
    return found


def _version(name: str) -> tuple[bool, str]:
    """Return whether a module imports, and its version or what went wrong."""
    try:
        module = importlib.import_module(name)
    except (ImportError, OSError, RuntimeError, AttributeError) as error:
        return False, type(error).__name__ + ": " + str(error)
    return True, str(getattr(module, "__version__", ""))


def _die(arguments: Any) -> None:
    """End the process when one of AlphaPose's threads fails: the others would wait for ever."""
    traceback.print_exception(arguments.exc_type, arguments.exc_value, arguments.exc_traceback)
    sys.stderr.flush()
    os._exit(1)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("root", help="folder of the checkout")
    parser.add_argument("--probe", action="store_true", help="say what is there and end")
    parser.add_argument("--config", default="")
    parser.add_argument("--checkpoint", default="")
    parser.add_argument("--detector", default="yolo")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--detector-batch", type=int, default=5)
    parser.add_argument("--pose-batch", type=int, default=64)
    return parser.parse_args()


def main() -> None:
    """Answer jobs until stdin ends."""
    arguments = _arguments()
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what AlphaPose prints is no answer

    def answer(**message: Any) -> None:
        answers.write(json.dumps(message) + "\n")
        answers.flush()

    os.chdir(arguments.root)
    sys.path[0] = arguments.root  # instead of this file's folder
    if arguments.probe:
        answer(**probe(Path(arguments.root)))
        return
    threading.excepthook = _die
    driver = Driver(arguments)
    answer(event="ready", joints=driver.joints, device=driver.device, instead=driver.instead)
    for line in sys.stdin:
        job = json.loads(line)
        driver.run(job["pictures"], job["names"], job["results"])
        answer(event="done", job=job["job"])


if __name__ == "__main__":
    code = 1
    try:
        main()
        code = 0
    finally:
        if sys.exc_info()[1] is not None:
            traceback.print_exc()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)  # threads of AlphaPose may still be waiting for something
