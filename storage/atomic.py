"""Publishing: a file or folder appears complete under its name, once, or not at all.

In: a function that writes a private file. Out: the published file, or word that another was first.
A link fails when the name exists, a rename would overwrite: so files are published by linking.
"""

from __future__ import annotations

import ctypes
import errno
import json
import os
import re
import shutil
import socket
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from storage.errors import StoreError, StoreNotWritable

_TEMP = re.compile(r"\.tmp-(?P<host>.+)-(?P<pid>\d+)-[0-9a-f]{32}")
_NO_LINKS = {errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK, errno.EXDEV}
_AT_FDCWD = -100
_RENAME_NOREPLACE = 1


def temp_path(folder: Path) -> Path:
    """Return a private name in `folder` that says whose it is: `.tmp-<host>-<pid>-<uuid>`."""
    return folder / f".tmp-{socket.gethostname()}-{os.getpid()}-{uuid.uuid4().hex}"


@contextmanager
def private_file(final: Path) -> Iterator[Path]:
    """Yield a private name beside `final`; whatever is left under it is removed at the end."""
    final.parent.mkdir(parents=True, exist_ok=True)
    temp = temp_path(final.parent)
    try:
        yield temp
    finally:
        temp.unlink(missing_ok=True)


def publish_file(final: Path, write: Callable[[Path], None]) -> bool:
    """Write a private file with `write` and give it the name `final`, unless that exists.

    Returns False when `final` existed first (ours is dropped). Killed at any instant, it leaves
    either nothing or a complete file (and perhaps a private one that `sweep_temp` removes).
    """
    with private_file(final) as temp:
        write(temp)
        return publish_private(temp, final)


def publish_private(temp: Path, final: Path) -> bool:
    """Give a finished private file in the same folder its public name, read-only and durable."""
    temp.chmod(0o444)
    sync(temp)
    won = _link_exclusive(temp, final)
    sync(final.parent)
    return won


def replace_file(path: Path, write: Callable[[Path], None]) -> None:
    """Write a private file with `write` and put it in the place of `path`, atomically."""
    with private_file(path) as temp:
        write(temp)
        sync(temp)
        temp.replace(path)
        sync(path.parent)


def publish_json(final: Path, value: Any) -> bool:
    """Publish `value` as JSON under `final`, exclusively; False when `final` existed first."""
    return publish_file(final, lambda temp: write_json(temp, value))


def replace_json(path: Path, value: Any) -> None:
    """Replace `path` with `value` as JSON, atomically; readers see the old or the new file."""
    replace_file(path, lambda temp: write_json(temp, value))


def write_json(path: Path, value: Any) -> None:
    """Write `value` as readable JSON with sorted keys; NaN is refused."""
    text = json.dumps(value, indent=1, sort_keys=True, ensure_ascii=False, allow_nan=False)
    path.write_text(text + "\n", encoding="utf-8")


def publish_directory(final: Path, prepared: Path) -> bool:
    """Move the folder `prepared` to `final`, unless a non-empty `final` exists (then False).

    Every file in it is made durable and read-only first. A folder on another file system is
    copied beside `final` and the copy moved. `prepared` is left alone when another was first.
    """
    final.parent.mkdir(parents=True, exist_ok=True)
    seal_directory(prepared)
    try:
        return _rename_directory(prepared, final)
    except OSError as error:
        if error.errno != errno.EXDEV:
            raise
    temp = temp_path(final.parent)
    try:
        shutil.copytree(prepared, temp)
        seal_directory(temp)
        return _rename_directory(temp, final)
    finally:
        shutil.rmtree(temp, ignore_errors=True)


def seal_directory(folder: Path) -> None:
    """Make every file below `folder` read-only and durable."""
    for parent, _, names in os.walk(folder):
        for name in names:
            path = Path(parent) / name
            if path.is_symlink():
                raise StoreError(f"{path}: a link; put the file itself into what is published")
            path.chmod(0o444)
            sync(path)
        sync(Path(parent))


def _rename_directory(source: Path, final: Path) -> bool:
    """Rename; the kernel refuses when `final` is a folder that holds anything."""
    try:
        source.rename(final)
    except OSError as error:
        if error.errno in (errno.ENOTEMPTY, errno.EEXIST):
            return False
        raise
    sync(final.parent)
    return True


def _link_exclusive(temp: Path, final: Path) -> bool:
    """Link `temp` as `final`; False when `final` is another file."""
    try:
        os.link(temp, final)
    except FileExistsError:
        # Over NFS a repeated request may report that the link its first try made exists.
        return temp.stat().st_nlink == 2 and temp.samefile(final)
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        return rename_exclusive(temp, final)
    return True


def rename_exclusive(source: Path, final: Path) -> bool:
    """Rename without replacing (Linux `renameat2`), for file systems without links."""
    libc = ctypes.CDLL(None, use_errno=True)
    result = libc.renameat2(
        _AT_FDCWD, os.fsencode(source), _AT_FDCWD, os.fsencode(final), _RENAME_NOREPLACE
    )
    code = ctypes.get_errno()
    if result == 0:
        return True
    if code == errno.EEXIST:
        return False
    if code in (errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP):
        raise StoreNotWritable(
            f"{final.parent}: this file system has neither hard links nor exclusive renames, so "
            "two writers could overwrite each other; put the store on another file system"
        )
    raise OSError(code, os.strerror(code), str(final))


def publish_method(folder: Path) -> str:
    """Return how files are published in `folder`: 'link', 'renameat2' or 'none'. Tries it."""
    first, second = temp_path(folder), temp_path(folder)
    try:
        first.write_bytes(b"")
        try:
            os.link(first, second)
        except OSError as error:
            if error.errno not in _NO_LINKS:
                raise
        else:
            return "link"
        try:
            rename_exclusive(first, second)
        except StoreNotWritable:
            return "none"
        return "renameat2"
    finally:
        first.unlink(missing_ok=True)
        second.unlink(missing_ok=True)


def sync(path: Path) -> None:
    """Wait until a file or folder is on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno != errno.EINVAL:  # some network file systems cannot sync folders
            raise
    finally:
        os.close(descriptor)


def abandoned_temp(path: Path) -> bool:
    """Whether `path` is the private file or folder of a process of this host that is gone."""
    match = _TEMP.fullmatch(path.name)
    if match is None or match["host"] != socket.gethostname():
        return False
    try:
        os.kill(int(match["pid"]), 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        return False
    return False


def sweep_temp(folder: Path, older_than_s: float) -> list[Path]:
    """Remove what dead writers of this host left in `folder` long enough ago; return it."""
    removed: list[Path] = []
    if not folder.is_dir():
        return removed
    for path in sorted(folder.iterdir()):
        try:
            if not abandoned_temp(path) or time.time() - path.lstat().st_mtime < older_than_s:
                continue
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:
                path.unlink()
        except FileNotFoundError:  # swept by another process
            continue
        removed.append(path)
    return removed
