"""Ready AlphaPose results beside a clip: its JSON file flows in, the persons of each row flow out.

`image_id` "k.jpg" of the file is taken as the k-th picture, counted from 0 in the order in which
they are shown, of the clip as it is stored (a window that was cut: of the cut file).
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from pipeline.extractors.base import Inputs
from pipeline.failures import ItemFailure
from pipeline.ffmpeg import read_packets, row_count
from pipeline.media import POSE_SIDECAR
from pipeline.pose.alphapose_format import read_detections
from pipeline.pose.backends import RowOfPersons
from pipeline.pose.config import PoseConfig
from pipeline.pose.person import Person

_SLACK_PICTURES = 2
"""Decoders disagree by a picture or two about where a clip ends."""


class AlphaposeJson:
    """Reads the sidecar; looks at no picture."""

    def __init__(self, json_fps: float | None) -> None:
        self._json_fps = json_fps

    def rows(self, inputs: Inputs, *, rate_hz: float) -> Iterator[RowOfPersons]:
        """Yield the persons of each row.

        Raises
        ------
        ItemFailure
            'no_pose_file' without a sidecar, 'invalid_pose_file' when it cannot be read or counts
            more pictures than the clip has.
        """
        path = inputs.media.sidecars.get(POSE_SIDECAR)
        if path is None or not Path(path).is_file():
            raise ItemFailure(
                "no_pose_file",
                "no AlphaPose results beside the clip; put them there as <clip>.alphapose.json, or "
                "choose another pose backend",
            )
        video = inputs.info().video
        if video is None:
            raise ItemFailure("no_video", "ready poses need the clip's pictures for their times")
        picture_of_row, n_pictures = self._pictures(inputs, rate_hz)
        persons = _read_persons(Path(path), frozenset(picture_of_row.tolist()), n_pictures)
        for picture in picture_of_row.tolist():
            yield RowOfPersons(
                size_px=(video.width_px, video.height_px), persons=persons.get(picture, [])
            )

    def _pictures(self, inputs: Inputs, rate_hz: float) -> tuple[np.ndarray, int]:
        """Picture number of each row, and how many pictures there are."""
        info = inputs.info()
        rows_s = np.arange(row_count(info.duration_s, rate_hz)) / rate_hz
        if self._json_fps is not None:
            numbers = np.floor(rows_s * self._json_fps + 1e-6).astype(int)
            return numbers, math.ceil(info.duration_s * self._json_fps)
        starts_s = np.sort(
            [
                start_s - info.origin_s
                for index, start_s, _ in read_packets(inputs.media.path, timeout_s=inputs.timeout_s)
                if info.video is not None and index == info.video.index
            ]
        )
        if not len(starts_s):
            raise ItemFailure("corrupt", "the pictures of the clip have no timestamps")
        numbers = np.searchsorted(starts_s, rows_s + 1e-6, side="right") - 1
        return np.maximum(numbers, 0), len(starts_s)


def build(parameters: PoseConfig) -> AlphaposeJson:
    """Return the backend."""
    return AlphaposeJson(parameters.json_fps)


def _read_persons(path: Path, wanted: frozenset[int], n_pictures: int) -> dict[int, list[Person]]:
    """{picture number: persons} of the wanted pictures; every entry of the file is checked."""
    persons: dict[int, list[Person]] = {}
    for found in read_detections(path):
        if found.picture >= n_pictures + _SLACK_PICTURES:
            raise ItemFailure(
                "invalid_pose_file",
                f"{path.name}: entry {found.number} is of picture {found.picture}, but the clip "
                f"has {n_pictures}: results of another file, or json_fps is not set",
            )
        if found.picture in wanted:
            persons.setdefault(found.picture, []).append(found.person)
    return persons
