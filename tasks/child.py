"""A trainer or an evaluator as a child process.

Flows in: a module and its job file. Flows out: its messages, on stderr and in a log, and
`ChildFailed` with the end of that log when it fails. The child ends itself when this process
ends (`model.train.parent`).
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

TAIL_LINES = 15


class ChildFailed(Exception):
    """A child process ended with an error; the message carries the end of its log."""


def run_module(module: str, *arguments: str | Path, log: Path) -> None:
    """Run `python -m module ARGUMENTS` to its end; what it says goes to stderr and to `log`.

    Raises
    ------
    ChildFailed
        The exit code is not 0.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    argv = [sys.executable, "-m", module, *map(str, arguments)]
    with (
        log.open("a") as kept,
        subprocess.Popen(
            argv,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
        ) as process,
    ):
        try:
            for line in process.stdout or ():
                kept.write(line)
                kept.flush()
                sys.stderr.write(line)
            code = process.wait()
        except BaseException:
            process.kill()
            raise
    if code:
        tail = "\n".join(log.read_text(errors="replace").splitlines()[-TAIL_LINES:])
        raise ChildFailed(f"{module} ended with exit code {code}; end of {log}:\n{tail}")
