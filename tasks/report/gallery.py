"""Where the figures of a report go: PNG files of their own, and the page itself.

Flows in: the bytes of pictures and sounds. Flows out: files in a folder, and data URIs for a page
that needs no other file.
"""

from __future__ import annotations

import base64
import re
from pathlib import Path


class Gallery:
    """Keeps each figure as `<name>.png` in a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def keep(self, name: str, png: bytes) -> str:
        """Write one figure, its name made fit for a file, and return it as a data URI."""
        self.folder.mkdir(parents=True, exist_ok=True)
        fit = re.sub(r"[^A-Za-z0-9_.-]+", "-", name).strip("-.")
        (self.folder / f"{fit}.png").write_bytes(png)
        return data_uri(png, "image/png")


def data_uri(content: bytes, kind: str) -> str:
    """Return bytes as a data URI of a MIME type."""
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"


def file_uri(path: Path, kind: str) -> str:
    """Return a file as a data URI."""
    return data_uri(path.read_bytes(), kind)
