"""Ready AlphaPose results beside a clip: its JSON file flows in, the persons of each row flow out.

The file is AlphaPose's default format: one list of detections, each with `image_id`, `keypoints`
(136, 68 or 26 joints of x, y, confidence in pixels of the video), and usually `box` and `idx`.
Pictures without people have no entry. `image_id` "k.jpg" is taken as the k-th picture, counted from
0 in the order in which they are shown, of the clip as it is stored (a window that was cut: of the
cut file). Identity and order of persons are not taken from the file (`idx` is missing, nested or a
track, by version).
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.extractors.base import Inputs
from pipeline.failures import ItemFailure
from pipeline.ffmpeg import read_packets, row_count
from pipeline.media import POSE_SIDECAR
from pipeline.pose.backends import RowOfPersons
from pipeline.pose.config import PoseConfig
from pipeline.pose.joints68 import from_joint_count
from pipeline.pose.person import Person, make_person

_CHUNK_CHARS = 1 << 20
_SLACK_PICTURES = 2
"""Decoders disagree by a picture or two about where a clip ends."""
_NUMBER_AT_END = re.compile(r"(\d+)$")


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
    for number, entry in enumerate(_entries(path)):
        picture, person = _parse(entry, number)
        if picture >= n_pictures + _SLACK_PICTURES:
            raise ItemFailure(
                "invalid_pose_file",
                f"{path.name}: entry {number} is of picture {picture}, but the clip has "
                f"{n_pictures}: results of another file, or json_fps is not set",
            )
        if picture in wanted:
            persons.setdefault(picture, []).append(person)
    return persons


def _entries(path: Path) -> Iterator[Any]:
    """Objects of a file that holds one JSON list, one after another: it may be large."""
    decoder = json.JSONDecoder()
    try:
        with path.open(encoding="utf-8") as file:
            text = file.read(_CHUNK_CHARS).lstrip()
            if not text.startswith("["):
                raise ItemFailure(
                    "invalid_pose_file",
                    f"{path.name}: expected AlphaPose's default format, a list of detections "
                    f"(not --format cmu or open); it begins with {text[:20]!r}",
                )
            text = text[1:]
            while True:
                text = text.lstrip(" \t\r\n,")
                if text.startswith("]"):
                    return
                try:
                    entry, end = decoder.raw_decode(text)
                except json.JSONDecodeError:
                    more = file.read(_CHUNK_CHARS)
                    if not more:
                        raise
                    text += more
                    continue
                yield entry
                text = text[end:]
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ItemFailure("invalid_pose_file", f"{path.name}: not valid JSON: {error}") from error


def _parse(entry: Any, number: int) -> tuple[int, Person]:
    """Picture number and person of one entry."""
    try:
        picture = _picture_number(entry["image_id"])
        joints = np.asarray(entry["keypoints"], np.float32)
        if joints.ndim != 1 or joints.size % 3 or not np.isfinite(joints).all():
            raise ValueError("keypoints: expected a flat list of finite x, y, confidence")
        keypoints = from_joint_count(joints.reshape(-1, 3))
        box = None
        if entry.get("box") is not None:
            x, y, width, height = (float(value) for value in entry["box"])
            box = np.array([x, y, x + width, y + height], np.float32)
        return picture, make_person(keypoints, box)
    except KeyError as error:
        detail = f"entry {number} has no {error}"
    except (TypeError, ValueError, AttributeError) as error:
        detail = f"entry {number}: {error}"
    raise ItemFailure("invalid_pose_file", detail)


def _picture_number(image_id: str | int) -> int:
    """Number in an image_id: 'k.jpg', a name that ends in a number, or an integer."""
    if isinstance(image_id, int):
        return image_id
    match = _NUMBER_AT_END.search(Path(image_id).stem)
    if match is None:
        raise ValueError(f"image_id {image_id!r}: expected '<number>.jpg'")
    return int(match[1])
