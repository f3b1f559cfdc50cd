"""A child that stays and answers: JSON lines go in on its stdin, JSON lines come back on stdout.

For programs that load a model once and serve many items. Like every child it has a process group
of its own, dies with the thread that started it, and keeps the tail of its stderr for messages.
"""

from __future__ import annotations

import contextlib
import json
import os
import queue
import signal
import subprocess
import threading
import time
from collections import deque
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pipeline.failures import ProcessFailed, ProcessTimeout
from pipeline.process import TAIL_LINES, start_process

_LINE_CHARS = 500
_END_S = 5.0


class Helper:
    """A running helper; `stop` ends it with everything that it started.

    Parameters
    ----------
    argv : sequence of str
        Program and arguments; no shell sees them.
    cwd : Path, optional
        Its working directory.

    Raises
    ------
    ProgramMissing
        The program is not installed.
    """

    def __init__(self, argv: Sequence[str], *, cwd: Path | None = None) -> None:
        self.program = Path(argv[0]).name
        self._tail: deque[str] = deque(maxlen=TAIL_LINES)
        self._answers: queue.Queue[str | None] = queue.Queue()
        self._code: int | None = None
        self._process = start_process(argv, feeds=True, cwd=cwd)
        self._threads = [
            threading.Thread(target=target, args=(self._process,), daemon=True)
            for target in (self._read_answers, self._read_stderr)
        ]
        for thread in self._threads:
            thread.start()

    @property
    def pid(self) -> int:
        """Process id, which is also the id of the process group."""
        return self._process.pid

    @property
    def stderr_tail(self) -> str:
        """The last lines of stderr so far."""
        return "\n".join(self._tail)

    def send(self, message: Mapping[str, Any]) -> None:
        """Write one message; that a helper has ended is told by `receive`."""
        pipe = self._process.stdin
        if pipe is not None:
            with contextlib.suppress(BrokenPipeError, ValueError):
                pipe.write(json.dumps(dict(message)).encode() + b"\n")
                pipe.flush()

    def receive(self, *, timeout_s: float) -> dict[str, Any]:
        """Return the next answer. What is no JSON object on a line of its own is passed over.

        Raises
        ------
        ProcessTimeout
            No answer in time; the helper was killed with its group.
        ProcessFailed
            It has ended instead, with whatever exit code (0 is no answer either).
        """
        end = time.monotonic() + timeout_s
        while True:
            try:
                line = self._answers.get(timeout=max(0.0, end - time.monotonic()))
            except queue.Empty:
                self.stop()
                raise ProcessTimeout(self.program, timeout_s, self.stderr_tail) from None
            if line is None:
                self._answers.put(None)  # for whoever asks again
                code = self.stop()
                raise ProcessFailed(self.program, code, self.stderr_tail)
            with contextlib.suppress(json.JSONDecodeError):
                answer = json.loads(line)
                if isinstance(answer, dict):
                    return answer

    def stop(self) -> int:
        """Kill the group, wait for the helper, return its exit code."""
        if self._code is not None:
            return self._code
        code = self._ended()
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        for thread in self._threads:
            thread.join(timeout=_END_S)
        for pipe in (self._process.stdin, self._process.stdout, self._process.stderr):
            if pipe is not None:
                with contextlib.suppress(BrokenPipeError):
                    pipe.close()
        self._code = self._process.returncode if code is None else code
        return self._code

    def _ended(self) -> int | None:
        """Exit code of a helper that closed its stdout; it gets a moment to end by itself."""
        if any(thread.is_alive() for thread in self._threads[:1]):
            return self._process.poll()
        with contextlib.suppress(subprocess.TimeoutExpired):
            return self._process.wait(timeout=1.0)
        return None

    def _read_answers(self, process: subprocess.Popen[bytes]) -> None:
        for raw in process.stdout or ():
            self._answers.put(raw.decode("utf-8", "replace"))
        self._answers.put(None)

    def _read_stderr(self, process: subprocess.Popen[bytes]) -> None:
        for raw in process.stderr or ():
            line = raw.decode("utf-8", "replace").rstrip()
            if line:
                self._tail.append(line[:_LINE_CHARS])
