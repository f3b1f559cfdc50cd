"""One trainer per run directory: a lease that dies with its holder.

In: a run directory. Out: the right to train in it, or word that another finished the work.

`lease-<n>.json` says who holds the run; the highest number is the current one. A number is taken
by publishing its file exclusively, so two processes never both get it; a holder that finds a
higher number than its own has lost the run. The heartbeat is the file's modification time.
"""

from __future__ import annotations

import json
import logging
import os
import re
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from model.train.errors import LeaseLost
from storage.atomic import publish_json, sweep_temp

HEARTBEAT_S = 10.0
STALE_AFTER_S = 120.0
_LEASE_FILE = re.compile(r"lease-(\d{6})\.json")
log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Holder:
    """A process, told apart from every other on every machine.

    `start_ticks` (clock ticks from boot to the process's start) tells a process from a later one
    with the same pid; `pid_space` tells containers apart that share a kernel and a host name.
    """

    host: str
    boot_id: str
    pid_space: str
    pid: int
    start_ticks: int

    @classmethod
    def me(cls) -> Holder:
        """Return the calling process."""
        return cls(
            host=socket.gethostname(),
            boot_id=_boot_id(),
            pid_space=str(Path("/proc/self/ns/pid").readlink()),
            pid=os.getpid(),
            start_ticks=_start_ticks(os.getpid()) or 0,
        )

    def certainly_gone(self) -> bool:
        """Whether the process has ended, as far as that can be known from here without waiting.

        After a reboot it cannot: another machine may have the same host name.
        """
        here = Holder.me()
        if (self.boot_id, self.pid_space) != (here.boot_id, here.pid_space):
            return False
        return _start_ticks(self.pid) != self.start_ticks


class Lease:
    """The right to train in a run directory; made by `hold`."""

    def __init__(self, run_dir: Path, number: int, heartbeat_s: float) -> None:
        self.run_dir = run_dir
        self.number = number
        self.path = _lease_path(run_dir, number)
        self.heartbeat_s = heartbeat_s
        self.lost = False
        """Whether the last heartbeat found that another trainer took the run over."""
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._beat, name="lease heartbeat", daemon=True)

    def check(self) -> None:
        """Raise LeaseLost if another trainer took the run over."""
        newest = _newest(self.run_dir)
        if newest != self.number:
            raise LeaseLost(
                f"{self.run_dir}: lease {newest} replaced this process's lease {self.number}: "
                "another trainer took the run over because this one did not answer in time; "
                "nothing is lost, the other goes on from the last checkpoint"
            )

    def _beat(self) -> None:
        while not self._ended.wait(self.heartbeat_s):
            try:
                os.utime(self.path)
                self.lost = _newest(self.run_dir) != self.number
            except OSError as error:  # a file server that hiccups; the next beat tries again
                log.warning("%s: heartbeat failed: %s", self.path, error)

    def _start(self) -> None:
        self._thread.start()

    def _release(self) -> None:
        """Mark the lease as over; its file stays, so that numbers only grow."""
        self._ended.set()
        self._thread.join()
        publish_json(_released_path(self.path), asdict(Holder.me()))


@contextmanager
def hold(
    run_dir: Path,
    *,
    finished: Callable[[], bool],
    heartbeat_s: float = HEARTBEAT_S,
    stale_after_s: float = STALE_AFTER_S,
    poll_s: float = 1.0,
) -> Iterator[Lease | None]:
    """Wait for the run and yield its lease, or None once `finished()` says that it is all done.

    A holder that is gone from this machine is replaced at once. One elsewhere is replaced when
    its heartbeat stood still for `stale_after_s`, timed by this process: clocks need not agree.
    """
    run_dir.mkdir(parents=True, exist_ok=True)
    sweep_temp(run_dir, older_than_s=0)
    number = _acquire(run_dir, finished, stale_after_s, poll_s)
    if number is None:
        yield None
        return
    lease = Lease(run_dir, number, heartbeat_s)
    lease._start()
    try:
        yield lease
    finally:
        lease._release()


def _acquire(
    run_dir: Path, finished: Callable[[], bool], stale_after_s: float, poll_s: float
) -> int | None:
    watch = _Watch(stale_after_s)
    waiting_for = -1
    while not finished():
        newest = _newest(run_dir)
        if newest == 0 or watch.over(_lease_path(run_dir, newest)):
            if publish_json(_lease_path(run_dir, newest + 1), asdict(Holder.me())):
                return None if finished() else newest + 1
        elif waiting_for != newest:
            waiting_for = newest
            log.info("%s: waiting for the trainer that holds lease %d", run_dir, newest)
        time.sleep(poll_s)
    return None


class _Watch:
    """Judges whether the holder of a lease is gone, watching its heartbeat between calls."""

    def __init__(self, stale_after_s: float) -> None:
        self.stale_after_s = stale_after_s
        self._seen: tuple[Path, int] | None = None
        self._since_s = 0.0

    def over(self, path: Path) -> bool:
        """Whether the lease at `path` is released, or its holder gone or silent for too long."""
        if _released_path(path).exists():
            return True
        holder = Holder(**json.loads(path.read_text()))
        if holder.certainly_gone():
            log.info("%s: process %d on %s is gone, taking over", path, holder.pid, holder.host)
            return True
        beat = (path, path.stat().st_mtime_ns)
        if beat != self._seen:
            self._seen, self._since_s = beat, time.monotonic()
        silent_s = time.monotonic() - self._since_s
        if silent_s > self.stale_after_s:
            log.warning(
                "%s: no heartbeat from process %d on %s for %.0f s, taking over",
                *(path, holder.pid, holder.host, silent_s),
            )
            return True
        return False


def _lease_path(run_dir: Path, number: int) -> Path:
    return run_dir / f"lease-{number:06d}.json"


def _released_path(lease: Path) -> Path:
    return lease.with_suffix(".released")


def _newest(run_dir: Path) -> int:
    """Return the highest lease number, 0 if there is none."""
    numbers = (_LEASE_FILE.fullmatch(path.name) for path in run_dir.glob("lease-*.json"))
    return max((int(match[1]) for match in numbers if match), default=0)


def _boot_id() -> str:
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()


def _start_ticks(pid: int) -> int | None:
    """Return when a process started, in ticks since boot; None if it has ended (or is a zombie)."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return None
    state, *fields = stat.rpartition(")")[2].split()
    return None if state in {"Z", "X"} else int(fields[18])
