"""Child processes: an argument vector goes in, bytes come out, and nothing outlives us.

Every child has its own process group, a time limit, a checked exit code and a tail of its stderr;
it is killed with its group at the limit, and by the kernel when the thread that started it ends
(PR_SET_PDEATHSIG), however that came about.
"""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import os
import shutil
import signal
import subprocess
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from pipeline.failures import ProcessFailed, ProcessTimeout, ProgramMissing

TAIL_LINES = 12
PIPE_BYTES = 1 << 20
_PR_SET_PDEATHSIG = 1
_CHUNK_BYTES = 1 << 16


@dataclass(frozen=True, slots=True, kw_only=True)
class Completed:
    """What a child that ended with code 0 wrote."""

    stdout: bytes
    stderr_tail: str


class Child:
    """A running child whose stdout is read as it comes; a context manager.

    Parameters
    ----------
    argv : sequence of str
        Program and arguments; no shell sees them.
    timeout_s : float
        Time limit for the whole life of the child.
    stdin : bytes, optional
        What the child reads; otherwise its stdin is empty.
    on_stderr : callable, optional
        Called with each line of stderr, from a thread of its own; lines for which it returns True
        are not kept in the tail.

    Leaving the block without an exception waits for the child and checks its exit code; leaving
    it with one kills the group.

    Raises
    ------
    ProgramMissing
        The program is not installed.
    ProcessFailed, ProcessTimeout
        It ended with another code than 0, or had to be killed at the limit.
    """

    def __init__(
        self,
        argv: Sequence[str],
        *,
        timeout_s: float,
        stdin: bytes | None = None,
        on_stderr: Callable[[str], bool] | None = None,
        cwd: Path | None = None,
    ) -> None:
        self.program = Path(argv[0]).name
        self._timeout_s = timeout_s
        self._timed_out = False
        self._stopped = False
        self._tail: deque[str] = deque(maxlen=TAIL_LINES)
        self._on_stderr = on_stderr
        self._process = start_process(argv, feeds=stdin is not None, cwd=cwd)
        self._threads = [threading.Thread(target=self._read_stderr, daemon=True)]
        if stdin is not None:
            self._threads.append(threading.Thread(target=self._feed, args=(stdin,), daemon=True))
        self._timer = threading.Timer(timeout_s, self._on_timeout)
        self._timer.daemon = True
        for thread in (*self._threads, self._timer):
            thread.start()

    def __enter__(self) -> Child:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if self._stopped:
            return
        if kind is not None:
            self.stop()
            return
        self._drain()
        self._check(self._finish())

    def _check(self, returncode: int) -> None:
        if self._timed_out:
            raise ProcessTimeout(self.program, self._timeout_s, self.stderr_tail)
        if returncode != 0:
            raise ProcessFailed(self.program, returncode, self.stderr_tail)

    @property
    def stderr_tail(self) -> str:
        """The last lines of stderr so far."""
        return "\n".join(self._tail)

    def read(self, count: int) -> bytes:
        """Return the next `count` bytes of stdout; fewer only at its end."""
        pipe = self._process.stdout
        return b"" if pipe is None else pipe.read(count)

    def lines(self) -> Iterator[str]:
        """Yield the lines of stdout."""
        for raw in self._process.stdout or ():
            yield raw.decode("utf-8", "replace")

    def read_into(self, view: memoryview) -> int:
        """Fill `view` (bytes) from stdout and return how many bytes came; fewer only at its end."""
        pipe, filled = self._process.stdout, 0
        while pipe is not None and filled < len(view):
            count = pipe.readinto(view[filled:])  # type: ignore[attr-defined]
            if not count:
                break
            filled += count
        return filled

    def stop(self) -> None:
        """Kill the child's group now: what it still has to say is of no interest."""
        self._stopped = True
        self._kill()
        self._finish()

    def wait(self) -> int:
        """Return the exit code when the child has ended; nobody checks it afterwards."""
        self._stopped = True
        self._drain()
        return self._finish()

    def _drain(self) -> None:
        while self.read(_CHUNK_BYTES):
            pass

    def _finish(self) -> int:
        returncode = self._process.wait()
        self._timer.cancel()
        for thread in self._threads:
            thread.join(timeout=5)
        for pipe in (self._process.stdout, self._process.stderr):
            if pipe is not None:
                pipe.close()
        return returncode

    def _kill(self) -> None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, signal.SIGKILL)

    def _on_timeout(self) -> None:
        self._timed_out = True
        self._kill()

    def _feed(self, data: bytes) -> None:
        pipe = self._process.stdin
        if pipe is not None:
            with contextlib.suppress(BrokenPipeError), pipe:
                pipe.write(data)

    def _read_stderr(self) -> None:
        pipe = self._process.stderr
        if pipe is None:
            return
        for raw in pipe:
            line = raw.decode("utf-8", "replace").rstrip()
            if line and not (self._on_stderr is not None and self._on_stderr(line)):
                self._tail.append(line[:500])


def run(
    argv: Sequence[str], *, timeout_s: float, stdin: bytes | None = None, cwd: Path | None = None
) -> Completed:
    """Run a child to its end and return all that it wrote on stdout; errors as for `Child`."""
    with Child(argv, timeout_s=timeout_s, stdin=stdin, cwd=cwd) as child:
        chunks = list(iter(lambda: child.read(_CHUNK_BYTES), b""))
    return Completed(stdout=b"".join(chunks), stderr_tail=child.stderr_tail)


def stream(
    argv: Sequence[str], *, timeout_s: float, chunk_bytes: int = _CHUNK_BYTES
) -> Iterator[bytes]:
    """Yield a child's stdout in chunks of `chunk_bytes` (the last may be shorter).

    Closing the iterator early kills the child. Errors as for `Child`, after the last chunk.
    """
    with Child(argv, timeout_s=timeout_s) as child:
        while chunk := child.read(chunk_bytes):
            yield chunk


def start_process(
    argv: Sequence[str], *, feeds: bool, cwd: Path | None = None
) -> subprocess.Popen[bytes]:
    """Start a child with a process group of its own that dies with this thread; pipes all round.

    For `Child` and `pipeline.helper.Helper`, which see to its end. With `feeds` its stdin is a
    pipe, else empty. Raises ProgramMissing.
    """
    program = shutil.which(argv[0])
    if program is None:
        raise ProgramMissing(str(argv[0]))
    command = [program, *argv[1:]]
    launcher = _launcher()
    process = subprocess.Popen(
        [*launcher, *command],
        stdin=subprocess.PIPE if feeds else subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
        preexec_fn=None if launcher else _die_with_parent,
        cwd=cwd,
    )
    if process.stdout is not None:
        with contextlib.suppress(OSError):
            fcntl.fcntl(process.stdout, fcntl.F_SETPIPE_SZ, PIPE_BYTES)
    return process


@lru_cache(maxsize=1)
def _launcher() -> tuple[str, ...]:
    """Return the vector that starts a program which dies with its parent; () when there is none.

    util-linux's setpriv keeps the parent from forking (a large worker forks slowly, and code
    between fork and exec may meet a lock that another thread held).
    """
    setpriv = shutil.which("setpriv")
    if setpriv is None:
        return ()
    launcher = (setpriv, "--pdeathsig", "KILL", "--")
    tried = subprocess.run([*launcher, "true"], capture_output=True, timeout=10, check=False)
    return launcher if tried.returncode == 0 else ()


def _die_with_parent() -> None:
    """Between fork and exec, where there is no setpriv: the prctl call itself."""
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
