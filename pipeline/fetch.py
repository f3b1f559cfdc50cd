"""Import of local files into the store: a path flows in, a media file with its digest flows out.

A media file's name holds the digest of its bytes, so it is never overwritten: changed bytes get a
file of their own. Each call returns one `FetchEvent`; a file that cannot be had is an event too.
"""

from __future__ import annotations

import errno
import os
import re
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.cut import EXTENSION as CUT_EXTENSION
from pipeline.cut import cut_window
from pipeline.failures import EnvironmentBroken, ItemFailure, ProcessFailed, ProcessTimeout
from pipeline.ffmpeg import ffmpeg_version, read_headers
from storage.atomic import private_file, publish_json, publish_private, temp_path
from storage.errors import StoreError
from storage.fingerprint import sha256_file
from storage.layout import Layout
from storage.outcomes import FetchEvent, utc_now
from storage.records import OK, TRANSIENT_REASONS, ItemId

MODES = ("copy", "hardlink", "symlink")
ADOPT = "adopt"
"""A mode beside those for imports: the file is a download of ours and becomes the media file."""
CUT = "cut"
CUT_BY_OTHERS = "cut by others"
TIMEOUT_S = 3600.0
_DIGEST_DIGITS = 8
_EXTENSION = re.compile(r"[a-z0-9]{1,8}")


def import_file(
    layout: Layout,
    item_id: str,
    path: Path | None,
    sidecars: Mapping[str, Path] | None = None,
    *,
    mode: str = "copy",
    timeout_s: float = TIMEOUT_S,
    ready_cut: bool = False,
    origin: str = "",
    facts: Mapping[str, Any] | None = None,
) -> FetchEvent:
    """Bring a local file (and its sidecars) into the store and return what became of it.

    An item with a window gets that stretch of the file, cut; a whole item the file itself, by
    copy, hard link or symbolic link. A linked file must not be changed in place afterwards; the
    store never changes it.

    Parameters
    ----------
    layout : Layout
        The store.
    item_id : str
        `source/video_id/window`.
    path : Path or None
        The file; None where the list names none.
    sidecars : mapping of kind to path, optional
        Files that belong to the video, such as ready poses.
    mode : 'copy', 'hardlink', 'symlink' or 'adopt'
        How a whole file enters; windows are cut into files of their own.
    timeout_s : float
        Time limit of each child process.
    ready_cut : bool
        The file is the item's window already, cut by others: it enters whole.
    origin : str
        Where the file was downloaded from; '' for a file that the list names, which is watched
        for changes.
    facts : mapping, optional
        JSON values for the description beside the media file, such as format and codec.

    Raises
    ------
    ValueError
        An unknown mode.
    EnvironmentBroken
        Hard links that the file system does not allow; no ffmpeg or no encoder.
    """
    if mode not in (*MODES, ADOPT):
        raise ValueError(f"import mode {mode!r}: expected one of {', '.join(MODES)}")
    stat = None if path is None or origin else origin_stat(path)
    origin = origin or ("" if path is None else str(path.absolute()))
    event: dict[str, Any] = {"item_id": item_id, "origin": origin, "origin_stat": stat}
    how = _How(mode=mode, timeout_s=timeout_s, ready_cut=ready_cut, origin=origin, facts=facts)
    try:
        event |= _import(layout, ItemId.parse(item_id), path, sidecars or {}, how)
    except ItemFailure as failure:
        event |= {"reason": failure.reason, "detail": failure.detail}
    except ProcessTimeout as error:
        event |= {"reason": "timeout", "detail": str(error)}
    except ProcessFailed as error:
        event |= {"reason": "corrupt", "detail": str(error)}
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        event |= {"reason": "disk_full", "detail": str(error)}
    return FetchEvent(utc=utc_now(), **event)


def is_current(
    event: FetchEvent | None, path: Path | None, sidecars: Mapping[str, Path] | None = None
) -> bool:
    """Whether an import would find nothing new: same size and time of change as then.

    An imported file whose origin is gone stays as it is; a passing failure is tried again.
    """
    if event is None or event.reason in TRANSIENT_REASONS:
        return False
    stat = None if path is None else origin_stat(path)
    if stat is None:
        return event.reason in (OK, "missing_file")
    now = {kind: _stat_text(origin_stat(p)) for kind, p in (sidecars or {}).items()}
    then = {kind: entry.get("origin_stat", "") for kind, entry in event.sidecars.items()}
    unchanged = event.origin_stat is not None and tuple(event.origin_stat) == stat
    return unchanged and (now == then or event.reason != OK)


def origin_stat(path: Path) -> tuple[int, int] | None:
    """Return (size in bytes, mtime in ns) of a file, or None when there is no such file."""
    try:
        stat = path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return None
    return stat.st_size, stat.st_mtime_ns


@dataclass(frozen=True, slots=True, kw_only=True)
class _How:
    """The way of one import; see `import_file`."""

    mode: str
    timeout_s: float
    ready_cut: bool
    origin: str
    facts: Mapping[str, Any] | None


def _import(
    layout: Layout, item: ItemId, path: Path | None, sidecars: Mapping[str, Path], how: _How
) -> dict[str, Any]:
    """Return the fields of the event of an import that succeeds."""
    source = _readable(path)
    folder = layout.media_dir(item)
    folder.mkdir(parents=True, exist_ok=True)
    window = item.window_s
    if window is None or how.ready_cut:
        media, digest = _enter(source, folder, item.window, _extension(source), how.mode)
        duration_s = _duration_s(media, how.timeout_s)
        way = how.mode if window is None else CUT_BY_OTHERS
    else:
        media, digest = _enter_cut(source, folder, item.window, window, how.timeout_s)
        duration_s, way = window[1] - window[0], CUT
    _describe(media, digest, item, way, how)
    return {
        "reason": OK,
        "media": str(media.relative_to(layout.root)),
        "sha256": digest,
        "duration_s": duration_s,
        "sidecars": {
            kind: _enter_sidecar(layout, item, kind, file, how.mode)
            for kind, file in sidecars.items()
        },
    }


def _readable(path: Path | None) -> Path:
    """Return the path of a file that is there, has bytes and can be read."""
    if path is None:
        raise ItemFailure("missing_file", "the list names no file for this item")
    stat = origin_stat(path)
    if stat is None or not path.is_file():
        raise ItemFailure("missing_file", f"{path} is not a file")
    if stat[0] == 0:
        raise ItemFailure("empty", f"{path} has 0 bytes")
    try:
        path.open("rb").close()
    except PermissionError as error:
        raise ItemFailure("missing_file", f"{path} cannot be read: {error.strerror}") from error
    return path


def _extension(path: Path) -> str:
    found = path.suffix.lower().removeprefix(".")
    return found if _EXTENSION.fullmatch(found) else "bin"


def _enter(source: Path, folder: Path, stem: str, extension: str, mode: str) -> tuple[Path, str]:
    """Bring a file into a folder under a name with its digest; return where, and the digest."""
    if mode == "copy":
        with private_file(folder / stem) as temp:
            shutil.copyfile(source, temp)
            return _publish(temp, folder, stem, extension)
    if mode == ADOPT:
        return _publish(source, folder, stem, extension)
    digest = sha256_file(source)
    final = folder / _name(stem, digest, extension)
    if mode == "hardlink":
        _hardlink(source.resolve(), final)
    else:
        _symlink(source.resolve(), final)
    return final, digest


def _enter_cut(
    source: Path, folder: Path, stem: str, window_s: tuple[float, float], timeout_s: float
) -> tuple[Path, str]:
    with private_file(folder / stem) as temp:
        cut_window(str(source.absolute()), *window_s, temp, timeout_s=timeout_s)
        return _publish(temp, folder, stem, CUT_EXTENSION)


def _publish(temp: Path, folder: Path, stem: str, extension: str) -> tuple[Path, str]:
    digest = sha256_file(temp)
    final = folder / _name(stem, digest, extension)
    if not publish_private(temp, final) and final.stat().st_size != temp.stat().st_size:
        raise StoreError(
            f"{final}: exists with {final.stat().st_size} bytes, expected {temp.stat().st_size}; "
            "the file was changed after its import: delete it and run again"
        )
    return final, digest


def _name(stem: str, digest: str, extension: str) -> str:
    return f"{stem}.{digest[:_DIGEST_DIGITS]}.{extension}"


def _hardlink(source: Path, final: Path) -> None:
    try:
        os.link(source, final)
    except FileExistsError:
        return
    except OSError as error:
        if error.errno not in (errno.EXDEV, errno.EPERM, errno.EOPNOTSUPP, errno.EMLINK):
            raise
        raise EnvironmentBroken(
            f"import_mode hardlink: {source} cannot be linked into {final.parent} "
            f"({error.strerror}); set import_mode to copy or symlink"
        ) from error


def _symlink(source: Path, final: Path) -> None:
    if final.is_symlink() and not final.exists():  # the file moved: point to where it is now
        temp = temp_path(final.parent)
        temp.symlink_to(source)
        temp.replace(final)
        return
    try:
        final.symlink_to(source)
    except FileExistsError:
        return


def _enter_sidecar(
    layout: Layout, item: ItemId, kind: str, path: Path, mode: str
) -> dict[str, str]:
    source = _readable(path)
    stat = origin_stat(source)
    stem = f"{item.window}.{kind}"
    final, digest = _enter(source, layout.media_dir(item), stem, _extension(source), mode)
    return {
        "path": str(final.relative_to(layout.root)),
        "sha256": digest,
        "origin": str(source.absolute()),
        "origin_stat": _stat_text(stat),
    }


def _stat_text(stat: tuple[int, int] | None) -> str:
    return "" if stat is None else f"{stat[0]}:{stat[1]}"


def _describe(media: Path, digest: str, item: ItemId, way: str, how: _How) -> None:
    """Publish the description beside a media file."""
    description = {
        **(how.facts or {}),
        "item_id": str(item),
        "sha256": digest,
        "origin": how.origin,
        "how": way,
    }
    if way == CUT:
        description["ffmpeg"] = ffmpeg_version()
    publish_json(media.with_name(media.name + ".json"), description)


def _duration_s(media: Path, timeout_s: float) -> float:
    """Return the length that the headers claim (for planning only); 0 when they cannot be read."""
    try:
        found = read_headers(str(media), timeout_s=timeout_s)["format"].get("duration", 0.0)
    except ProcessFailed:
        return 0.0
    return float(found)
