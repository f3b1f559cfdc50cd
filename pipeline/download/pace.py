"""Whose turn it is to download: one process of a machine at a time, with pauses between videos.

A lock file in the store's folder of this machine's downloads is the turn; its time of change is the
end of the last one that a site answered. The kernel frees the lock of a process that was killed.
"""

from __future__ import annotations

import fcntl
import os
import random
import re
import shutil
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from pipeline.download.config import FetchSettings
from pipeline.download.reasons import DownloadFailed
from pipeline.failures import EnvironmentBroken
from storage.layout import Layout

ABANDONED_S = 7 * 24 * 3600.0
_LOCK = "turn.lock"
_NEVER_S = 0.0


def host_name() -> str:
    """Return this machine's name as the store's paths carry it."""
    return re.sub(r"[^A-Za-z0-9_.-]", "-", socket.gethostname()).lstrip("-.") or "host"


@contextmanager
def turn(
    layout: Layout, settings: FetchSettings, rng: random.Random
) -> Iterator[Callable[[], None]]:
    """Wait for this process's turn and hold it inside.

    What is yielded waits for the pause since the last download; call it before asking a site.

    Raises
    ------
    EnvironmentBroken
        The store's file system has no locks.
    """
    folder = layout.downloads(host_name())
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / _LOCK
    _create(path)
    descriptor = os.open(path, os.O_RDWR)
    try:
        _lock(descriptor, str(path))
        asked = False

        def pause() -> None:
            nonlocal asked
            asked = True
            pause_s = rng.uniform(settings.sleep_s, settings.sleep_max_s)
            since_s = time.time() - os.fstat(descriptor).st_mtime
            if 0 <= since_s < pause_s:
                time.sleep(pause_s - since_s)

        try:
            yield pause
        except DownloadFailed as failure:
            asked = asked and failure.answered  # nobody was asked through a dead network
            raise
        finally:
            if asked:
                _stamp(descriptor, time.time())
    finally:
        os.close(descriptor)


def _create(path: Path) -> None:
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o666)
    except FileExistsError:
        return
    _stamp(descriptor, _NEVER_S)
    os.close(descriptor)


def _stamp(descriptor: int, time_s: float) -> None:
    os.utime(descriptor, (time_s, time_s))


def sweep(layout: Layout, older_than_s: float = ABANDONED_S) -> list[Path]:
    """Remove this machine's downloads that nothing has touched for long; call it in a turn.

    A killed run may leave a video that it had finished with, and a broken transfer may never be
    continued.
    """
    folder = layout.downloads(host_name())
    removed = []
    for video in sorted(path for path in folder.glob("*/*") if path.is_dir()):
        times_s = [path.stat().st_mtime for path in (video, *video.iterdir())]
        if time.time() - max(times_s) > older_than_s:
            shutil.rmtree(video)
            removed.append(video)
    return removed


def _lock(descriptor: int, name: str) -> None:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
    except OSError as error:
        raise EnvironmentBroken(
            f"{name} cannot be locked ({error.strerror}); downloads need a store on a file system "
            "with locks, so that two runs of one machine do not write one file"
        ) from error
