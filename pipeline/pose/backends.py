"""The pose backends by name, and what each has to give. Light: importing it loads no model.

Flows in: a backend's name. Flows out: an object that gives the persons of each row of a clip.
Everything after (tracking, the choice of two persons, zero fill, normalisation) is the same for all.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from pipeline.extractors.base import Inputs
    from pipeline.pose.person import Person

MEDIAPIPE_WEIGHTS: Mapping[str, str] = {
    "pose.task": "0da8c039787a1de83d66c1dee1626ca79e81070ea8c7cfd83bbd837936fe90c9",
    "hand.task": "ef3f184fa8d5e6905ea4770282627d6937975119af763054312d05985c059bda",
}
"""sha256 of the bundles that `mediapipe_models` makes from mediapipe 0.10.14's own files."""


class BackendUnavailable(RuntimeError):
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
    """Where a backend lives. `weights` and `sidecar` enter the fingerprint of what it makes.

    `module` exposes `build(parameters) -> PoseBackend`; `sidecar` is the kind of the file beside
    the clip that it reads, if any.
    """

    module: str
    weights: Mapping[str, str] = field(default_factory=dict)
    sidecar: str | None = None


BACKENDS: Mapping[str, BackendEntry] = {
    "mediapipe": BackendEntry(module="pipeline.pose.mediapipe_backend", weights=MEDIAPIPE_WEIGHTS),
    "alphapose-json": BackendEntry(module="pipeline.pose.alphapose_json", sidecar="alphapose"),
}


def open_backend(name: str, parameters: Any) -> PoseBackend:
    """Return the backend `name`; `parameters` is the stage's `PoseConfig`.

    Raises
    ------
    BackendUnavailable
        For a name that is not in `BACKENDS`.
    """
    entry = BACKENDS.get(name)
    if entry is None:
        raise BackendUnavailable(f"pose backend {name!r}: expected one of {sorted(BACKENDS)}")
    backend: PoseBackend = importlib.import_module(entry.module).build(parameters)
    return backend
