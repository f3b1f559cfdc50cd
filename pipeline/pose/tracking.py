"""Follow persons through a clip.

Flows in: the persons of one picture after another. Flows out: a track number for each of them, and
per track the running sums that the choice of persons needs; memory does not grow with the clip.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.optimize import linear_sum_assignment

from pipeline.pose.person import Person, box_iou, joint_distance_px, torso_px

_IMPOSSIBLE = 1e6
_MIN_IOU = 0.2
_MAX_TORSOS = 1.0
"""A person is the same if its box overlaps or its joints moved by less than this many torsos."""


@dataclass(slots=True, kw_only=True)
class Track:
    """One person as long as it could be followed; rows `first` to `last` inclusive."""

    number: int
    first: int
    last: int
    n_rows: int
    weight: float
    first_box: np.ndarray
    last_person: Person

    def extend(self, row: int, person: Person) -> None:
        """Add the person seen in `row`."""
        self.last = row
        self.n_rows += 1
        self.weight += _weight(person)
        self.last_person = person


def _weight(person: Person) -> float:
    """Confident and large persons count."""
    return person.score * person.area_px**0.5


class Tracker:
    """Assign each picture's persons to tracks (Hungarian on box overlap and joint distance).

    Parameters
    ----------
    max_gap_rows
        A track that was not seen for more rows than this has ended.
    """

    def __init__(self, max_gap_rows: int) -> None:
        self.tracks: list[Track] = []
        self._alive: list[Track] = []
        self._max_gap_rows = max_gap_rows

    def update(self, row: int, persons: Sequence[Person]) -> list[int]:
        """Return the track number of each person of picture `row`; rows must increase."""
        self._alive = [t for t in self._alive if row - t.last <= self._max_gap_rows + 1]
        numbers = [-1] * len(persons)
        for k, track in _match(self._alive, persons):
            track.extend(row, persons[k])
            numbers[k] = track.number
        for k, person in enumerate(persons):
            if numbers[k] < 0:
                numbers[k] = self._begin(row, person)
        return numbers

    def _begin(self, row: int, person: Person) -> int:
        """Start a new track."""
        track = Track(
            number=len(self.tracks),
            first=row,
            last=row,
            n_rows=1,
            weight=_weight(person),
            first_box=person.box,
            last_person=person,
        )
        self.tracks.append(track)
        self._alive.append(track)
        return track.number


def _match(alive: Sequence[Track], persons: Sequence[Person]) -> list[tuple[int, Track]]:
    """Pairs (person index, track) of the cheapest one-to-one assignment."""
    if not alive or not persons:
        return []
    cost = np.array([[_cost(t.last_person, p) for t in alive] for p in persons])
    rows, columns = linear_sum_assignment(cost)
    return [
        (int(k), alive[t]) for k, t in zip(rows, columns, strict=True) if cost[k, t] < _IMPOSSIBLE
    ]


def _cost(before: Person, now: Person) -> float:
    """Low where boxes overlap and joints are near; `_IMPOSSIBLE` where it cannot be the same."""
    iou = box_iou(before.box, now.box)
    gap_px = joint_distance_px(before, now)
    if gap_px is None:
        return 2.0 * (1.0 - iou) if iou >= _MIN_IOU else _IMPOSSIBLE
    torsos = gap_px / max(torso_px(before), torso_px(now))
    if iou < _MIN_IOU and torsos > _MAX_TORSOS:
        return _IMPOSSIBLE
    return 1.0 - iou + min(torsos, 2.0 * _MAX_TORSOS)
