"""Items that a thread makes ahead."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.ahead import THREAD_NAME, ahead


@given(st.lists(st.integers()), st.integers(1, 4))
def test_all_items_come_in_order(items: list[int], depth: int) -> None:
    assert list(ahead(iter(items), depth)) == items


def test_an_error_comes_in_its_place() -> None:
    def items() -> Iterator[int]:
        yield 1
        raise ValueError("the second one")

    taken = ahead(items())
    assert next(taken) == 1
    with pytest.raises(ValueError, match="the second one"):
        next(taken)


def test_no_more_than_depth_items_are_made_ahead() -> None:
    made: list[int] = []

    def items() -> Iterator[int]:
        for number in range(100):
            made.append(number)
            yield number

    taken = ahead(items(), depth=2)
    next(taken)
    time.sleep(0.3)
    assert len(made) == 1 + 2
    taken.close()


def test_closing_ends_the_thread() -> None:
    taken = ahead(iter(range(1000)))
    next(taken)
    assert any(thread.name.startswith(THREAD_NAME) for thread in threading.enumerate())
    taken.close()
    assert not any(thread.name.startswith(THREAD_NAME) for thread in threading.enumerate())
