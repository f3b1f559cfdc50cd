"""Who is followed, who is chosen, and in which slot, with persons made of numbers."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.pose.person import Person, make_person
from pipeline.pose.selection import select_slots
from pipeline.pose.tracking import Tracker

FIGURE = np.random.default_rng(0).uniform(0, 1, (68, 2)) * [40, 100]


def person_at(x: float, *, y: float = 0.0, size: float = 1.0, score: float = 0.8) -> Person:
    keypoints = np.concatenate([FIGURE * size + [x, y], np.full((68, 1), score)], axis=1)
    return make_person(keypoints)


def follow(rows: Sequence[Sequence[Person]], max_gap_rows: int = 8) -> tuple[Tracker, list]:
    tracker = Tracker(max_gap_rows)
    return tracker, [tracker.update(row, persons) for row, persons in enumerate(rows)]


def slots_of(rows: Sequence[Sequence[Person]], *, max_persons: int = 2) -> list[list[int | None]]:
    tracker, numbers = follow(rows)
    slots = select_slots(tracker.tracks, max_persons=max_persons, min_track_rows=3)
    return [[slots.get(number) for number in row] for row in numbers]


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10_000), st.integers(2, 4))
def test_the_order_of_detections_is_no_identity(seed: int, n_persons: int) -> None:
    rng = np.random.default_rng(seed)
    rows, orders = [], []
    for row in range(20):
        order = rng.permutation(n_persons)
        orders.append(order)
        rows.append([person_at(200 * k + 3 * row + rng.normal(0, 1)) for k in order])
    _, numbers = follow(rows)
    by_person = [
        {numbers[row][list(orders[row]).index(k)] for row in range(20)} for k in range(n_persons)
    ]
    assert all(len(each) == 1 for each in by_person)
    assert len(set.union(*by_person)) == n_persons


def test_a_short_gap_is_survived_a_long_one_is_not() -> None:
    for gap, tracks in ((8, 1), (9, 2)):
        rows = [[person_at(0)]] * 5 + [[]] * gap + [[person_at(2)]] * 5
        assert len(follow(rows)[0].tracks) == tracks


def test_persons_that_cross_keep_their_tracks() -> None:
    rows = [[person_at(20.0 * row), person_at(600 - 20.0 * row, y=40)] for row in range(30)]
    _, numbers = follow(rows)
    assert all(row == [0, 1] for row in numbers)


def test_a_person_elsewhere_is_another_one() -> None:
    tracker, _ = follow([[person_at(0)]] * 3 + [[person_at(700)]] * 3)
    assert len(tracker.tracks) == 2


def test_largest_persons_get_the_slots_for_the_whole_clip() -> None:
    rows = [[person_at(0, size=0.5), person_at(300, size=2), person_at(900, size=1)]] * 10
    assert slots_of(rows) == [[None, 0, 1]] * 10
    assert slots_of(rows, max_persons=1) == [[None, 0, None]] * 10


def test_equal_persons_are_ordered_from_left_to_right() -> None:
    rows = [[person_at(500), person_at(0)]] * 10
    assert slots_of(rows) == [[1, 0]] * 10


def test_a_person_who_was_lost_comes_back_into_the_slot() -> None:
    left, right = person_at(0), person_at(500, size=1.2)
    rows = [[left, right]] * 10 + [[right]] * 20 + [[right, left]] * 5
    assert slots_of(rows) == [[1, 0]] * 10 + [[0]] * 20 + [[0, 1]] * 5


def test_after_a_cut_both_slots_are_filled_again_by_place() -> None:
    before = [[person_at(0), person_at(500, size=1.1)]] * 10
    after = [[person_at(620, y=300, size=1.1), person_at(100, y=300)]] * 10
    assert slots_of([*before, *after]) == [[1, 0]] * 10 + [[0, 1]] * 10


def test_a_passing_ghost_takes_no_slot() -> None:
    rows = [[person_at(0)]] * 10 + [[person_at(0), person_at(600, size=3)]] * 2 + [[]]
    assert slots_of(rows)[10] == [0, None]


def test_nobody_gives_no_slot() -> None:
    assert slots_of([[], [], []]) == [[], [], []]
