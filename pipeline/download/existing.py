"""Videos that a lab already has: a folder flows in; an item's file in it, if any, flows out.

The folder is walked once. A file is found by its name without extension: the clip name under which
labs keep the very window, or the video's id.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from pipeline.datasets.base import SourceItem
from pipeline.failures import EnvironmentBroken
from storage.records import ItemId, path_text

log = logging.getLogger(__name__)
EXTENSIONS = frozenset(
    (
        *(".3gp", ".avi", ".flv", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".mts"),
        *(".ogv", ".ts", ".webm", ".wmv"),
    )
)


@dataclass(frozen=True, slots=True)
class Found:
    """A file for an item; with `ready_cut` it is the item's window already."""

    path: Path
    ready_cut: bool = False


@dataclass(frozen=True, slots=True)
class ExistingVideos:
    """The videos in a folder, by name without extension."""

    files: Mapping[str, Path]

    @classmethod
    def scan(cls, folder: str) -> ExistingVideos:
        """Walk `folder` and what is below it; '' has no videos.

        Of several files of one name the first in order of path counts.

        Raises
        ------
        EnvironmentBroken
            The folder, or one below it, cannot be read.
        """
        if not folder:
            return cls({})
        root = Path(folder).expanduser().absolute()
        if not root.is_dir():
            raise EnvironmentBroken(
                f"[fetch] videos_dir {root} is not a folder; correct the setting or leave it empty"
            )
        files: dict[str, Path] = {}
        for parent, folders, names in os.walk(root, onerror=_stop):
            folders[:] = sorted(name for name in folders if not name.startswith("."))
            for name in sorted(names):
                path = Path(parent, name)
                if path.suffix.lower() not in EXTENSIONS or name.startswith("."):
                    continue
                if files.setdefault(path.stem, path) != path:
                    log.warning("%s: not used, %s has the same name", path, files[path.stem])
        return cls(files)

    def find(self, entry: SourceItem) -> Found | None:
        """Return the file of an item: its window ready cut, else the whole video; else None."""
        item = ItemId.parse(entry.item.item_id)
        if item.window != "whole" and entry.clip_name in self.files:
            return Found(self.files[entry.clip_name], ready_cut=True)
        whole = self.files.get(path_text(item.video_id))
        return None if whole is None else Found(whole)


def _stop(error: OSError) -> None:
    raise EnvironmentBroken(
        f"[fetch] videos_dir: {error.filename} cannot be read ({error.strerror}); "
        "correct its permissions or the setting"
    ) from error
