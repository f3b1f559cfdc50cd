"""AlphaPose's result file: its JSON flows in, the persons of each picture flow out.

The default format is one list of detections, each with `image_id`, `keypoints` (136, 68 or 26
joints of x, y, confidence in pixels), and usually `box` and `idx`. Pictures without people have no
entry. Identity and order of persons are not taken from the file (`idx` is missing, nested or a
track, by version).
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.failures import ItemFailure
from pipeline.pose.joints68 import from_joint_count
from pipeline.pose.person import Person, make_person

_CHUNK_CHARS = 1 << 20
_NUMBER_AT_END = re.compile(r"(\d+)$")


@dataclass(frozen=True, slots=True, kw_only=True)
class Detection:
    """One entry: a person of the picture with this number, who had `joints` joints in the file."""

    number: int
    picture: int
    joints: int
    person: Person


def read_detections(path: Path) -> Iterator[Detection]:
    """Yield the entries of a file, in its order.

    Raises
    ------
    ItemFailure
        'invalid_pose_file': no such list, or an entry that is no detection of 136, 68 or 26 joints.
    """
    for number, entry in enumerate(_entries(path)):
        yield _parse(entry, number)


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


def _parse(entry: Any, number: int) -> Detection:
    """The detection of one entry."""
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
        person = make_person(keypoints, box)
        return Detection(number=number, picture=picture, joints=joints.size // 3, person=person)
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
