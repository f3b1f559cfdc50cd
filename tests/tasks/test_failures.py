"""A user's error is said in one line and once; a programmer's keeps its traceback."""

from __future__ import annotations

import logging
import traceback
from collections.abc import Iterator

import pytest

from storage.errors import CorruptShard
from tasks.failures import quieten_luigi


@pytest.fixture
def luigi_log(caplog: pytest.LogCaptureFixture) -> Iterator[logging.Logger]:
    logger = logging.getLogger("luigi-interface")
    before = list(logger.filters)
    quieten_luigi()
    yield logger
    logger.filters[:] = before


def trace_of(error: Exception) -> str:
    try:
        raise error from OSError("file signature not found")
    except type(error):
        return traceback.format_exc()


def test_one_line_for_a_damaged_shard_however_many_tasks_meet_it(
    luigi_log: logging.Logger,
    caplog: pytest.LogCaptureFixture,
    capsys: pytest.CaptureFixture[str],
) -> None:
    for task in ("Report()", "Features()"):
        trace = trace_of(CorruptShard("shard-00000.h5: cannot be opened; delete it"))
        luigi_log.warning(f"Will not run {task} due to error in complete() method:\n{trace}")
    assert capsys.readouterr().err == "soundstage: shard-00000.h5: cannot be opened; delete it\n"
    assert caplog.records == []


def test_a_programmers_error_is_logged_as_it_is(
    luigi_log: logging.Logger, caplog: pytest.LogCaptureFixture
) -> None:
    luigi_log.warning(f"Will not run Report():\n{trace_of(ZeroDivisionError('by zero'))}")
    assert "ZeroDivisionError: by zero" in caplog.text
