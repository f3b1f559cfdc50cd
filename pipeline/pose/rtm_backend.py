"""Persons found by RTMPose networks through rtmlib: body and hands, all 68 joints observed.

Flows in: RGB pictures. Flows out: for each a list of `Person`. A detector finds the persons, one
network the 26 joints of each body (Halpe-26, whose order is ours), another one 133 joints of which
the hands are taken. The models are files that lie here: nothing is downloaded.
"""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import io
import tempfile
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from pipeline.extractors.base import Inputs
from pipeline.failures import WeightsMissing
from pipeline.pose.backends import BackendUnavailable, RowOfPersons
from pipeline.pose.config import PoseConfig, RtmConfig
from pipeline.pose.joints68 import LEFT_HAND, N_BODY, N_HAND, N_JOINTS, RIGHT_HAND
from pipeline.pose.person import Person, make_person
from pipeline.pose.pictures import pose_pictures

WHOLE_BODY_HANDS = {LEFT_HAND: 91, RIGHT_HAND: 112}
"""Where the hands of our 68 joints begin, and where among the 133 of COCO-WholeBody."""
N_WHOLE_BODY = 133
_DETECTOR_SIDE_PX = 640
_NETWORK_SIZE_PX = (192, 256)
"""Input sizes (side; width, height) of models that do not state theirs."""


class RtmBackend:
    """Detector and both networks, loaded once."""

    def __init__(self, parameters: PoseConfig) -> None:
        self._short_side_max_px = parameters.short_side_max_px
        config = parameters.rtm
        rtmlib = _rtmlib(config.device)
        paths = {what: path for what, (path, _) in config.files().items()}
        self._detector = _load(rtmlib.YOLOX, paths["detector"], config, "detector")
        self._body = _load(rtmlib.RTMPose, paths["body"], config, "body")
        self._hands = _load(rtmlib.RTMPose, paths["hands"], config, "hands")

    def rows(self, inputs: Inputs, *, rate_hz: float) -> Iterator[RowOfPersons]:
        """Yield the persons of each picture of the clip."""
        pictures = pose_pictures(inputs, rate_hz=rate_hz, short_side_max_px=self._short_side_max_px)
        for picture in pictures:
            height, width = picture.shape[:2]
            yield RowOfPersons(size_px=(width, height), persons=self.find_persons(picture))

    def find_persons(self, picture: np.ndarray) -> list[Person]:
        """Return the persons in an RGB uint8 picture.

        The detector was trained on BGR pictures, the networks on RGB ones; rtmlib itself leaves the
        order to its caller.
        """
        boxes = np.asarray(self._detector(cv2.cvtColor(picture, cv2.COLOR_RGB2BGR)), np.float32)
        if not len(boxes):
            return []  # without a box the networks would take the whole picture for a person
        body, body_scores = self._body(picture, boxes)
        whole, whole_scores = self._hands(picture, boxes)
        return [
            make_person(joints_of(*one), box)
            for *one, box in zip(body, body_scores, whole, whole_scores, boxes, strict=True)
        ]


def build(parameters: PoseConfig) -> RtmBackend:
    """Return the backend with its models loaded."""
    return RtmBackend(parameters)


def joints_of(
    body_px: np.ndarray, body_scores: np.ndarray, whole_px: np.ndarray, whole_scores: np.ndarray
) -> np.ndarray:
    """Return the (68, 3) keypoints of one person.

    Parameters
    ----------
    body_px, body_scores
        (26, 2) pixels and (26,) scores in Halpe-26's order.
    whole_px, whole_scores
        (133, 2) and (133,) in COCO-WholeBody's order.

    Raises
    ------
    ValueError
        Other numbers of joints: the models are not those that are expected.
    """
    if len(body_px) != N_BODY or len(whole_px) != N_WHOLE_BODY:
        raise ValueError(
            f"[rtm] the body model gives {len(body_px)} joints, the hands model {len(whole_px)}; "
            f"expected {N_BODY} (Halpe-26) and {N_WHOLE_BODY} (COCO-WholeBody)"
        )
    joints = np.zeros((N_JOINTS, 3), np.float32)
    joints[:N_BODY, :2], joints[:N_BODY, 2] = body_px, body_scores
    for ours, theirs in WHOLE_BODY_HANDS.items():
        joints[ours : ours + N_HAND, :2] = whole_px[theirs : theirs + N_HAND]
        joints[ours : ours + N_HAND, 2] = whole_scores[theirs : theirs + N_HAND]
    joints[joints[:, 2] <= 0] = 0.0  # rtmlib puts joints without any response at (-1, -1)
    return joints


def _rtmlib(device: str) -> Any:
    """The package, checked to be there with the runtime that it uses, and this with the device."""
    for package in ("rtmlib", "onnxruntime"):
        if importlib.util.find_spec(package) is None:
            raise BackendUnavailable(
                f"pose backend 'rtm' needs the package {package}, which is not installed; "
                "run: pip install 'soundstage[rtm]'"
            )
    providers = importlib.import_module("onnxruntime").get_available_providers()
    if device != "cpu" and "CUDAExecutionProvider" not in providers:
        raise BackendUnavailable(_no_cuda(device))
    return importlib.import_module("rtmlib")


def _no_cuda(device: str) -> str:
    return (
        f"[rtm] device {device}: onnxruntime sees the CPU alone; run: pip uninstall onnxruntime, "
        "then: pip install onnxruntime-gpu, or set device = cpu"
    )


def _load(kind: Any, path: Path, config: RtmConfig, what: str) -> Any:
    """A model of rtmlib from a file, with the input size that the model itself states."""
    with tempfile.TemporaryDirectory(prefix="soundstage-") as folder:
        onnx = _onnx_file(path, Path(folder), what)
        try:
            with contextlib.redirect_stdout(io.StringIO()):  # it prints the path of each model
                model = kind(str(onnx), backend="onnxruntime", device=config.device)
        except Exception as error:  # onnxruntime's errors have no class in common
            raise BackendUnavailable(
                f"[rtm] {what}: {path.name} cannot be loaded on {config.device}: {error}"
            ) from error
    if config.device != "cpu" and model.session.get_providers()[0] == "CPUExecutionProvider":
        raise BackendUnavailable(_no_cuda(config.device))  # it goes on with the CPU by itself
    stated = model.session.get_inputs()[0].shape[2:]
    height, width = (side if isinstance(side, int) else None for side in stated)
    if what == "detector":
        side_px = (height or _DETECTOR_SIDE_PX, width or _DETECTOR_SIDE_PX)
    else:
        side_px = (width or _NETWORK_SIZE_PX[0], height or _NETWORK_SIZE_PX[1])
    model.model_input_size = side_px
    return model


def _onnx_file(path: Path, folder: Path, what: str) -> Path:
    """The model itself: the file, or the one model in a published archive, unpacked."""
    if not zipfile.is_zipfile(path):
        return path
    with zipfile.ZipFile(path) as archive:
        models = [name for name in archive.namelist() if name.endswith(".onnx")]
        if len(models) != 1:
            raise WeightsMissing(
                f"[rtm] {what}: expected one .onnx file in the archive {path}, found {models}"
            )
        unpacked = folder / "model.onnx"
        unpacked.write_bytes(archive.read(models[0]))
    return unpacked
