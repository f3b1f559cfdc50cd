"""Attempts are counted from the log: passing failures in a row, since the last mark."""

from __future__ import annotations

from pathlib import Path

import pytest

from storage.layout import Layout, open_store
from storage.outcomes import (
    FetchEvent,
    FetchLog,
    count_attempts,
    read_fetch_attempts,
    read_fetch_history,
)
from storage.retries import FETCH, RetryMark, mark

ITEM = "web/v/whole"


def events(*reasons: str) -> list[FetchEvent]:
    return [
        FetchEvent(item_id=ITEM, reason=reason, utc=f"2026-01-01T00:00:{second:02d}")
        for second, reason in enumerate(reasons)
    ]


@pytest.mark.parametrize(
    "reasons, expected",
    [
        ((), 0),
        (("network",), 1),
        (("network", "forbidden", "unknown"), 3),
        (("network", "ok"), 0),
        (("network", "ok", "timeout"), 1),
        (("server_error", "private"), 0),
    ],
)
def test_passing_failures_in_a_row(reasons: tuple[str, ...], expected: int) -> None:
    assert count_attempts(events(*reasons)) == expected


def test_what_came_before_a_mark_does_not_count(tmp_path: Path) -> None:
    layout: Layout = open_store(tmp_path, create=True)
    first, second, third = events("network", "network", "network")
    for event in (third, first):  # two processes, each with a file of its own
        with FetchLog(layout, "web") as log:
            log.append(event)
    assert read_fetch_history(layout, "web") == {ITEM: [first, third]}
    assert read_fetch_attempts(layout, "web") == {ITEM: 2}
    mark(layout, [RetryMark(scope=FETCH, item_id=ITEM, utc="2026-01-01T00:00:01.5+00:00")])
    assert read_fetch_attempts(layout, "web") == {ITEM: 1}
    assert count_attempts([first, second], "2026-01-01T00:00:01.5+00:00") == 0
