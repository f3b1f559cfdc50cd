"""Poses of up to two persons: a video flows in, joints, boxes and presence flow out.

A backend finds the persons of each picture; following them, choosing who is shown in which slot for
the whole clip, and filling with zeros is the same for all backends.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterator, Mapping

import numpy as np

from pipeline.extractors.base import Inputs
from pipeline.pose.backends import PoseBackend, RowOfPersons, open_backend
from pipeline.pose.joints68 import N_JOINTS
from pipeline.pose.person import Person
from pipeline.pose.selection import select_slots
from pipeline.pose.spool import Spool
from pipeline.pose.tracking import Tracker
from pipeline.stages import PoseConfig, ResolvedStage
from storage.records import ArraySpec, Block, StageSchema, TimeBase

_BLOCK_ROWS = 256
_CHUNK_ROWS = 64
_MIN_TRACK_ROWS = 3
_SHORT_CLIP_ROWS = 24
_MIN_AREA = 0.05**2
"""Part of the picture below which a person cannot be told from noise."""


class PoseExtractor:
    """See the module's docstring."""

    def __init__(self, config: PoseConfig) -> None:
        self._config = config
        self._backend: PoseBackend | None = None
        self.schema = pose_schema(config.max_persons)

    def time_base(self, inputs: Inputs) -> TimeBase:
        """Return the pose grid: row i at i / fps."""
        return TimeBase(0.0, 1.0 / self._config.fps)

    def extract(self, inputs: Inputs) -> Iterator[Block]:
        """Yield blocks of rows; the first comes when the whole clip has been seen.

        Raises
        ------
        BackendUnavailable
            The backend is not installed here.
        """
        self._backend = self._backend or open_backend(self._config)
        tracker = Tracker(max_gap_rows=round(self._config.max_gap_s * self._config.fps))
        sizes = array("h")
        with Spool(inputs.scratch) as spool:
            for row, found in enumerate(self._backend.rows(inputs, rate_hz=self._config.fps)):
                persons = self._worth_following(found)
                for number, person in zip(tracker.update(row, persons), persons, strict=True):
                    spool.add(row, number, person)
                sizes.extend(found.size_px)
            n_rows = len(sizes) // 2
            slots = select_slots(
                tracker.tracks,
                max_persons=self._config.max_persons,
                min_track_rows=_MIN_TRACK_ROWS if n_rows >= _SHORT_CLIP_ROWS else 1,
            )
            frame_size = np.array(sizes, np.int16).reshape(-1, 2)
            for start in range(0, n_rows, _BLOCK_ROWS):
                stop = min(start + _BLOCK_ROWS, n_rows)
                records = spool.between(start, stop)
                yield {
                    **_rows_of_slots(records, slots, start, stop, self._config.max_persons),
                    "frame_size": frame_size[start:stop],
                }

    def _worth_following(self, found: RowOfPersons) -> list[Person]:
        """Persons that are confident and large enough."""
        least_px = _MIN_AREA * found.size_px[0] * found.size_px[1]
        return [
            person
            for person in found.persons
            if person.score >= self._config.min_score and person.area_px >= least_px
        ]


def pose_schema(max_persons: int) -> StageSchema:
    """Return the arrays of the stage; everything of an absent person is zero, its track id -1."""

    def per_person(
        name: str,
        dtype: str,
        shape: tuple[int, ...] = (),
        dims: tuple[str, ...] = (),
        unit: str = "",
    ) -> ArraySpec:
        return ArraySpec(
            name=name,
            dtype=dtype,
            row_shape=(max_persons, *shape),
            unit=unit,
            dims=("time", "person", *dims),
            chunk_rows=_CHUNK_ROWS,
        )

    return StageSchema(
        arrays=(
            per_person(
                "keypoints",
                "float32",
                (N_JOINTS, 3),
                ("joint", "x y confidence"),
                "px, px, confidence",
            ),
            per_person("box", "float32", (4,), ("x1 y1 x2 y2",), "px"),
            per_person("track_id", "int32"),
            per_person("present", "uint8"),
            ArraySpec(
                name="frame_size",
                dtype="int16",
                row_shape=(2,),
                unit="px",
                dims=("time", "width height"),
                chunk_rows=_CHUNK_ROWS,
            ),
        )
    )


def _rows_of_slots(
    records: np.ndarray, slots: Mapping[int, int], start: int, stop: int, max_persons: int
) -> dict[str, np.ndarray]:
    """Rows start..stop-1 with the chosen tracks in their slots and zeros elsewhere."""
    n_rows = stop - start
    keypoints = np.zeros((n_rows, max_persons, N_JOINTS, 3), np.float32)
    box = np.zeros((n_rows, max_persons, 4), np.float32)
    track_id = np.full((n_rows, max_persons), -1, np.int32)
    present = np.zeros((n_rows, max_persons), np.uint8)
    for record in records:
        slot = slots.get(int(record["track"]))
        if slot is not None:
            at = int(record["row"]) - start, slot
            keypoints[at], box[at] = record["keypoints"], record["box"]
            track_id[at], present[at] = record["track"], 1
    return {"keypoints": keypoints, "box": box, "track_id": track_id, "present": present}


def build(stage: ResolvedStage) -> PoseExtractor:
    """Return the extractor; its backend is loaded at the first item."""
    return PoseExtractor(stage.config)
