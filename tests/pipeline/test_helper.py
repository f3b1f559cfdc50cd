"""A child that stays and answers: what it says, how it ends, and that nothing of it is left."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipeline.failures import ProcessFailed, ProcessTimeout, ProgramMissing
from pipeline.helper import Helper

ECHO = """
import json, sys
for line in sys.stdin:
    message = json.loads(line)
    print("not an answer", flush=True)
    print("[1, 2]", flush=True)
    print("on its stderr", message["n"], file=sys.stderr, flush=True)
    print(json.dumps({"twice": 2 * message["n"]}), flush=True)
"""


@pytest.fixture
def started() -> Iterator[list[Helper]]:
    """Helpers that are stopped after the test."""
    helpers: list[Helper] = []
    yield helpers
    for helper in helpers:
        helper.stop()


def start(started: list[Helper], code: str) -> Helper:
    helper = Helper([sys.executable, "-c", code])
    started.append(helper)
    return helper


def gone(pid: int, limit_s: float = 5.0) -> bool:
    """Whether a process has ended, a zombie included, within the limit."""
    end = time.monotonic() + limit_s
    while time.monotonic() < end:
        try:
            if Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z":
                return True
        except (FileNotFoundError, ProcessLookupError):
            return True
        time.sleep(0.02)
    return False


def test_one_helper_answers_many_times(started: list[Helper]) -> None:
    helper = start(started, ECHO)
    for n in (3, 4):
        helper.send({"n": n})
        assert helper.receive(timeout_s=30) == {"twice": 2 * n}
    assert helper.stop() == -9
    assert helper.stderr_tail == "on its stderr 3\non its stderr 4"
    assert gone(helper.pid)


def test_a_helper_that_hangs_is_killed_with_its_group(started: list[Helper]) -> None:
    helper = start(
        started,
        "import json, subprocess, time\n"
        "child = subprocess.Popen(['sleep', '600'])\n"
        "print(json.dumps({'pid': child.pid}), flush=True)\n"
        "time.sleep(600)",
    )
    child = helper.receive(timeout_s=30)["pid"]
    with pytest.raises(ProcessTimeout, match=r"still running after 0\.2 s"):
        helper.receive(timeout_s=0.2)
    assert gone(child)
    assert gone(helper.pid)


@pytest.mark.parametrize("code", [0, 3])
def test_a_helper_that_ends_gave_no_answer(started: list[Helper], code: int) -> None:
    helper = start(started, f"import sys; print('why', file=sys.stderr); sys.exit({code})")
    with pytest.raises(ProcessFailed, match=rf"ended with code {code}: why"):
        helper.receive(timeout_s=30)
    helper.send({"n": 1})
    with pytest.raises(ProcessFailed):
        helper.receive(timeout_s=1)


def test_a_program_that_is_missing_is_named() -> None:
    with pytest.raises(ProgramMissing, match="no-such-program"):
        Helper(["no-such-program"])
