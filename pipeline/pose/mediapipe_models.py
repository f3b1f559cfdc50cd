"""MediaPipe's pose and hand models, made from the files inside its own wheel.

Flows in: the installed `mediapipe` package. Flows out: one PoseLandmarker and one HandLandmarker a
process.

Later releases have no models inside; the one pinned by the extra `soundstage[mediapipe]` has them
as single files for the legacy interface, which follows one person. Packed with normalisation
metadata into task bundles they serve the interface for several persons.
"""

from __future__ import annotations

import functools
import hashlib
import importlib.util
import io
import os
import tempfile
import warnings
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.pose.backends import MEDIAPIPE_WEIGHTS, BackendUnavailable

MAX_POSES = 4
MIN_POSE_CONFIDENCE = 0.25
"""Default 0.5 misses seated and partly hidden players; duplicates and guesses are removed after."""
MIN_HAND_CONFIDENCE = 0.5
_ZIP_DATE = (1980, 1, 1, 0, 0, 0)


@dataclass(frozen=True, slots=True)
class Models:
    """Both landmarkers; call them through `landmarks`."""

    pose: Any
    hand: Any


def load_models() -> Models:
    """Return this process's models, loaded on first use (0.7 s).

    Raises
    ------
    BackendUnavailable
        Without the package, or with a release whose models are not the known ones.
    """
    return _load(os.getpid())


def landmarks(model: Any, picture: np.ndarray) -> Any:
    """Return the model's result for an RGB uint8 picture."""
    import mediapipe

    image = mediapipe.Image(
        image_format=mediapipe.ImageFormat.SRGB, data=np.ascontiguousarray(picture)
    )
    with warnings.catch_warnings():
        warnings.filterwarnings(
            "ignore", message="SymbolDatabase.GetPrototype", category=UserWarning
        )
        return model.detect(image)


@functools.lru_cache(maxsize=1)
def _load(pid: int) -> Models:
    """Build bundles and landmarkers; `pid` keeps a forked child from using its parent's threads."""
    bundles = build_bundles()
    for name, data in bundles.items():
        got = hashlib.sha256(data).hexdigest()
        if got != MEDIAPIPE_WEIGHTS[name]:
            raise BackendUnavailable(
                f"mediapipe's {name} has sha256 {got[:12]}, expected "
                f"{MEDIAPIPE_WEIGHTS[name][:12]}: another release is installed; "
                "run: pip install 'soundstage[mediapipe]'"
            )
    from mediapipe.tasks.python import BaseOptions, vision

    with _quiet_stderr():
        pose = vision.PoseLandmarker.create_from_options(
            vision.PoseLandmarkerOptions(
                base_options=BaseOptions(model_asset_buffer=bundles["pose.task"]),
                num_poses=MAX_POSES,
                min_pose_detection_confidence=MIN_POSE_CONFIDENCE,
            )
        )
        hand = vision.HandLandmarker.create_from_options(
            vision.HandLandmarkerOptions(
                base_options=BaseOptions(model_asset_buffer=bundles["hand.task"]),
                num_hands=1,
                min_hand_detection_confidence=MIN_HAND_CONFIDENCE,
            )
        )
        blank = np.zeros((64, 64, 3), np.uint8)
        landmarks(pose, blank)
        landmarks(hand, blank)
    return Models(pose, hand)


def build_bundles() -> dict[str, bytes]:
    """Return {file name: task bundle}; the bytes are the same on every machine."""
    modules = _package_folder() / "modules"
    try:
        pose = {
            "pose_detector.tflite": _with_normalisation(
                modules / "pose_detection/pose_detection.tflite", mean=127.5, std=127.5
            ),
            "pose_landmarks_detector.tflite": _with_normalisation(
                modules / "pose_landmark/pose_landmark_full.tflite", mean=0.0, std=255.0
            ),
        }
        hand = {
            "hand_detector.tflite": (
                modules / "palm_detection/palm_detection_full.tflite"
            ).read_bytes(),
            "hand_landmarks_detector.tflite": (
                modules / "hand_landmark/hand_landmark_full.tflite"
            ).read_bytes(),
        }
    except FileNotFoundError as error:
        raise BackendUnavailable(
            f"the installed mediapipe has no {error.filename}: releases after 0.10.21 come without "
            "models; run: pip install 'soundstage[mediapipe]'"
        ) from error
    return {"pose.task": _bundle(pose), "hand.task": _bundle(hand)}


def _package_folder() -> Path:
    """Folder of the installed package, found without importing it."""
    spec = importlib.util.find_spec("mediapipe")
    if spec is None or not spec.submodule_search_locations:
        raise BackendUnavailable(
            "pose backend 'mediapipe' is not installed; run: pip install 'soundstage[mediapipe]' "
            "(Python 3.11), or choose backend 'alphapose-json'"
        )
    return Path(spec.submodule_search_locations[0])


def _with_normalisation(path: Path, *, mean: float, std: float) -> bytes:
    """Model file with the input normalisation that the task interface asks for."""
    data = path.read_bytes()
    with warnings.catch_warnings():
        # The writer leaves its temporary zip file to the garbage collector.
        warnings.simplefilter("ignore", ResourceWarning)
        from mediapipe.tasks.metadata import schema_py_generated as schema
        from mediapipe.tasks.python.metadata.metadata_writers import metadata_writer

        model = schema.Model.GetRootAs(data, 0)
        writer = metadata_writer.MetadataWriter.create(bytearray(data))
        writer.add_image_input([mean], [std])
        for _ in range(model.Subgraphs(0).OutputsLength()):
            writer.add_feature_output()
        return bytes(writer.populate()[0])


def _bundle(files: Mapping[str, bytes]) -> bytes:
    """Uncompressed zip with fixed dates."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        for name, data in files.items():
            archive.writestr(zipfile.ZipInfo(name, _ZIP_DATE), data)
    return buffer.getvalue()


@contextmanager
def _quiet_stderr() -> Iterator[None]:
    """Keep what C++ prints on file descriptor 2 out of the terminal; an error shows it."""
    kept = os.dup(2)
    with tempfile.TemporaryFile() as capture:
        os.dup2(capture.fileno(), 2)
        try:
            yield
        except RuntimeError as error:
            capture.seek(0)
            error.add_note(capture.read()[-2000:].decode(errors="replace"))
            raise
        finally:
            os.dup2(kept, 2)
            os.close(kept)
