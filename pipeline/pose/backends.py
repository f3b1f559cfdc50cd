"""The pose backends by name, and what each has to give. Light: importing it loads no model.

Flows in: a backend's name. Flows out: an object that gives the persons of each row of a clip.
All that comes after (tracking, choice of persons, zero fill, normalisation) is common.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from pipeline.failures import EnvironmentBroken
from pipeline.media import POSE_SIDECAR

if TYPE_CHECKING:
    from pipeline.extractors.base import Inputs
    from pipeline.pose.config import PoseConfig
    from pipeline.pose.person import Person

MEDIAPIPE_WEIGHTS: Mapping[str, str] = {
    "pose.task": "0da8c039787a1de83d66c1dee1626ca79e81070ea8c7cfd83bbd837936fe90c9",
    "hand.task": "ef3f184fa8d5e6905ea4770282627d6937975119af763054312d05985c059bda",
}
"""sha256 of the bundles that `mediapipe_models` makes from mediapipe 0.10.14's own files."""


class BackendUnavailable(EnvironmentBroken):
    """A pose backend cannot run here; the message says how to install it or what to choose."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RowOfPersons:
    """The persons of one row of the pose grid, in pixels of a picture of `size_px` = (w, h)."""

    size_px: tuple[int, int]
    persons: list[Person]


class PoseBackend(Protocol):
    """What a backend has to give.

    A backend that looks at pictures is usually a loop over `pipeline.pose.pictures.pose_pictures`:
    RGB arrays at the pose rate, short side at most 720 pixels.
    """

    def rows(self, inputs: Inputs, *, rate_hz: float) -> Iterator[RowOfPersons]:
        """Yield one entry per row: row i is the last picture with pts <= i / rate_hz.

        Raises `ItemFailure` when this clip cannot be done and `BackendUnavailable` when none can.
        """
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class BackendEntry:
    """Where a backend lives: `module` exposes `build(parameters: PoseConfig) -> PoseBackend`.

    `weights` (file name -> sha256) are part of the fingerprint of what it makes, where the settings
    (`PoseConfig.weight_digests`) do not name others; `sidecars` are the kinds of files beside the
    clip that it reads.
    """

    module: str
    weights: Mapping[str, str] = field(default_factory=dict)
    sidecars: tuple[str, ...] = ()


BACKENDS: Mapping[str, BackendEntry] = {
    "mediapipe": BackendEntry(module="pipeline.pose.mediapipe_backend", weights=MEDIAPIPE_WEIGHTS),
    "alphapose": BackendEntry(module="pipeline.pose.alphapose_backend"),
    "alphapose-json": BackendEntry(module="pipeline.pose.alphapose_json", sidecars=(POSE_SIDECAR,)),
    "rtm": BackendEntry(module="pipeline.pose.rtm_backend"),
}


def open_backend(parameters: PoseConfig) -> PoseBackend:
    """Return the backend that the stage's settings name, ready to use.

    Raises
    ------
    BackendUnavailable
        It is not installed here.
    """
    entry = BACKENDS[parameters.backend]
    backend: PoseBackend = importlib.import_module(entry.module).build(parameters)
    return backend
