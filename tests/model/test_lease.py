"""One trainer at a time, whatever became of the other."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from model.train.errors import LeaseLost
from model.train.lease import Holder, hold

HOLD_FOREVER = """
import sys, time
from pathlib import Path
from model.train.lease import hold
with hold(Path(sys.argv[1]), finished=lambda: False, heartbeat_s=0.05) as lease:
    print(lease.number, flush=True)
    time.sleep(60)
"""


def never() -> bool:
    return False


def leave_lease(run_dir: Path, holder: Holder, number: int = 1) -> Path:
    """A lease that its holder did not release."""
    path = run_dir / f"lease-{number:06d}.json"
    path.write_text(json.dumps(asdict(holder)))
    return path


def elsewhere() -> Holder:
    return replace(Holder.me(), host="other-machine", boot_id="another-boot", pid_space="x")


def start_holder(run_dir: Path) -> subprocess.Popen:
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD_FOREVER, str(run_dir)], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline().strip() == "1"
    return process


def test_a_released_lease_is_free_at_once(tmp_path: Path) -> None:
    for number in (1, 2, 3):
        with hold(tmp_path, finished=never) as lease:
            assert lease is not None
            assert lease.number == number
            lease.check()


def test_finished_work_needs_no_lease(tmp_path: Path) -> None:
    with hold(tmp_path / "run", finished=lambda: True) as lease:
        assert lease is None


def test_a_killed_holder_is_replaced_at_once(tmp_path: Path) -> None:
    process = start_holder(tmp_path)
    process.kill()
    began = time.monotonic()  # not waited for: a zombie is gone, too
    with hold(tmp_path, finished=never, poll_s=0.05) as lease:
        assert lease is not None
        assert lease.number == 2
    assert time.monotonic() - began < 5
    process.communicate()


def test_a_live_holder_is_waited_for_until_the_work_is_done(tmp_path: Path) -> None:
    process = start_holder(tmp_path)
    done = threading.Event()
    timer = threading.Timer(0.5, done.set)
    timer.start()
    try:
        with hold(tmp_path, finished=done.is_set, poll_s=0.05, stale_after_s=0.2) as lease:
            assert lease is None
    finally:
        process.kill()
        process.communicate()


def test_a_process_with_the_same_pid_but_a_later_start_is_another(tmp_path: Path) -> None:
    me = Holder.me()
    assert not me.certainly_gone()
    assert replace(me, start_ticks=me.start_ticks - 1).certainly_gone()
    assert not replace(me, boot_id="another machine of the same name").certainly_gone()
    assert not elsewhere().certainly_gone()


def test_a_silent_holder_elsewhere_is_replaced_after_a_while(tmp_path: Path) -> None:
    leave_lease(tmp_path, elsewhere())
    began = time.monotonic()
    with hold(tmp_path, finished=never, poll_s=0.02, stale_after_s=0.3) as lease:
        assert lease is not None
        assert lease.number == 2
    assert time.monotonic() - began >= 0.3


def test_a_beating_holder_elsewhere_keeps_its_lease(tmp_path: Path) -> None:
    path = leave_lease(tmp_path, elsewhere())
    stop = threading.Event()

    def beat() -> None:
        while not stop.wait(0.05):
            os.utime(path)

    thread = threading.Thread(target=beat)
    thread.start()
    deadline = time.monotonic() + 0.8
    try:
        with hold(
            tmp_path, finished=lambda: time.monotonic() > deadline, poll_s=0.02, stale_after_s=0.4
        ) as lease:
            assert lease is None
    finally:
        stop.set()
        thread.join()


def test_a_holder_that_was_replaced_notices(tmp_path: Path) -> None:
    with hold(tmp_path, finished=never, heartbeat_s=0.02) as lease:
        assert lease is not None
        leave_lease(tmp_path, elsewhere(), number=2)
        deadline = time.monotonic() + 5
        while not lease.lost and time.monotonic() < deadline:
            time.sleep(0.01)
        assert lease.lost
        with pytest.raises(LeaseLost, match="another trainer took the run over"):
            lease.check()


def test_of_many_that_want_a_dead_holders_lease_one_at_a_time_gets_it(tmp_path: Path) -> None:
    leave_lease(tmp_path, replace(Holder.me(), start_ticks=1))
    inside, most, numbers = [0], [0], []
    lock = threading.Lock()

    def work() -> None:
        with hold(tmp_path, finished=never, poll_s=0.005) as lease:
            assert lease is not None
            with lock:
                inside[0] += 1
                most[0] = max(most[0], inside[0])
                numbers.append(lease.number)
            time.sleep(0.01)
            with lock:
                inside[0] -= 1

    threads = [threading.Thread(target=work) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most[0] == 1
    assert sorted(numbers) == list(range(2, 8))
