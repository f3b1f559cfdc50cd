"""The private directory of one run: what its processes tell each other, gone when it ends."""

from __future__ import annotations

import atexit
import os
import shutil
import tempfile
from pathlib import Path

RUN_DIR_VARIABLE = "SOUNDSTAGE_RUN_DIR"


def run_dir() -> Path:
    """Return this run's directory, shared by the tasks that Luigi forks from its first process."""
    known = os.environ.get(RUN_DIR_VARIABLE)
    if known and Path(known).is_dir():
        return Path(known)
    path = Path(tempfile.mkdtemp(prefix="soundstage-", suffix=f"-{os.getpid()}"))
    os.environ[RUN_DIR_VARIABLE] = str(path)
    atexit.register(_remove, path, os.getpid())
    return path


def main_pid() -> int:
    """Return the process id of the run's first process."""
    return int(run_dir().name.rsplit("-", 1)[1])


def _remove(path: Path, owner_pid: int) -> None:
    if os.getpid() == owner_pid:
        shutil.rmtree(path, ignore_errors=True)
        os.environ.pop(RUN_DIR_VARIABLE, None)
