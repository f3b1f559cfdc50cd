"""Downloads of published weights: an entry of the table flows in, a checked file flows out.

The bytes go into a part file beside the place they are meant for, so a broken or killed download
goes on where it stopped. The file appears under its name when it is whole and has its sha256.
"""

from __future__ import annotations

import fcntl
import http.client
import os
import re
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from pipeline.failures import EnvironmentBroken, WeightsMissing
from pipeline.weights import PublishedWeights, check_file
from storage.atomic import sync
from storage.fingerprint import sha256_file

OnBytes = Callable[[int, int | None], None]
"""Called with the bytes that are here and those of the whole file, where the server says."""

_BLOCK_BYTES = 1 << 20
_FRUITLESS_ATTEMPTS = 3
"""So many broken transfers in a row that brought nothing end a download."""
_BROKEN = (OSError, http.client.HTTPException)
_CONTENT_RANGE = re.compile(r"bytes (?P<start>\d+)-\d+/(?P<total>\d+|\*)")
_RANGE_NOT_SATISFIABLE = 416


def fetch_weights(
    entry: PublishedWeights,
    directory: Path,
    *,
    timeout_s: float = 60.0,
    on_bytes: OnBytes | None = None,
) -> Path:
    """Download a published file into a directory, unless it is there already; return its path.

    Parameters
    ----------
    entry
        The file, its address and the start of its sha256.
    directory
        Made when it does not exist.
    timeout_s
        How long the server may be silent.
    on_bytes
        Told how far the download is.

    Raises
    ------
    WeightsMissing
        The file that came, or the one that is there, has another sha256.
    EnvironmentBroken
        The download stopped (a later call goes on with it), or another process is at it.
    """
    directory.mkdir(parents=True, exist_ok=True)
    final = directory / entry.file_name
    if final.is_file():
        return check_file(final)[0]
    part = directory / f".{entry.file_name}.part"
    with _locked(part) as file:
        _complete(entry, file, timeout_s, on_bytes or (lambda done, total: None))
        file.flush()
        os.fsync(file.fileno())
        digest = sha256_file(part)
        if not digest.startswith(entry.sha256_prefix):
            part.unlink()
            raise WeightsMissing(
                f"{entry.url}: what was downloaded has sha256 {digest[:12]}.., expected "
                f"{entry.sha256_prefix}..; it was deleted. The server sent another file: look at "
                "the address in a browser, or get the file from a colleague"
            )
        part.replace(final)
        sync(directory)
    return final


@contextmanager
def _locked(part: Path) -> Iterator[BinaryIO]:
    """Yield the part file, open for appending; no other process has it open here."""
    with part.open("ab") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise EnvironmentBroken(
                f"{part}: another process is downloading this file; wait for it"
            ) from error
        yield file


def _complete(entry: PublishedWeights, file: BinaryIO, timeout_s: float, on_bytes: OnBytes) -> None:
    """Append what is missing, through broken transfers as long as each brings something."""
    fruitless = 0
    while True:
        before = file.tell()
        try:
            if _transfer(entry.url, file, timeout_s, on_bytes):
                return
            problem = "the connection was closed early"
        except urllib.error.HTTPError as error:
            raise EnvironmentBroken(
                f"{entry.url}: the server answered {error.code} {error.reason}; try again later, "
                f"or put the file there by hand as {entry.file_name}"
            ) from error
        except _BROKEN as error:
            problem = str(error)
        fruitless = 0 if file.tell() > before else fruitless + 1
        if fruitless == _FRUITLESS_ATTEMPTS:
            raise EnvironmentBroken(
                f"{entry.url}: {problem}; {file.tell()} bytes are here. Look at the network and "
                "run the command again: it goes on where it stopped"
            )


def _transfer(url: str, file: BinaryIO, timeout_s: float, on_bytes: OnBytes) -> bool:
    """Append the rest of the file; return whether it is whole now."""
    request = urllib.request.Request(url, headers={"User-Agent": "soundstage"})
    if file.tell():
        request.add_header("Range", f"bytes={file.tell()}-")
    try:
        answer = urllib.request.urlopen(request, timeout=timeout_s)
    except urllib.error.HTTPError as error:
        if error.code != _RANGE_NOT_SATISFIABLE:
            raise
        error.close()  # the part is whole already, or of another file: its digest tells
        return True
    with answer:
        total = _expected_bytes(answer, file)
        while block := answer.read(_BLOCK_BYTES):
            file.write(block)
            on_bytes(file.tell(), total)
    return total is None or file.tell() == total


def _expected_bytes(answer: http.client.HTTPResponse, file: BinaryIO) -> int | None:
    """Return the size of the whole file; empty the part where the server begins anew."""
    if answer.status == http.client.PARTIAL_CONTENT:
        said = answer.headers.get("Content-Range", "")
        found = _CONTENT_RANGE.fullmatch(said)
        if found is None or int(found["start"]) != file.tell():
            raise OSError(f"the server answered with {said!r}, not with byte {file.tell()} on")
        return None if found["total"] == "*" else int(found["total"])
    file.seek(0)
    file.truncate()
    length = answer.headers.get("Content-Length")
    return None if length is None else int(length)
