"""A folder with published lists in, each list's path out, whatever the folders are called.

An unchanged file is known by its content, a changed one by its name and the folders above it.
"""

from __future__ import annotations

import hashlib
import os
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from pipeline.datasets.base import DatasetError
from pipeline.datasets.published import BY_NAME, PUBLISHED, PublishedFile

_DEPTH = 8
"""Folders below the lists folder that are looked into."""

_LARGEST_BYTES = 4_000_000
"""A longer file is none of the lists (the longest has 0.4 MB)."""

_FILE_NAMES = frozenset(name for file in PUBLISHED for name in file.file_names)
_SHA256S = frozenset(file.sha256 for file in PUBLISHED)


@dataclass(frozen=True, slots=True, kw_only=True)
class FoundFile:
    """A list in a lab's folder; `published` says whether it is the published one, unchanged."""

    path: Path
    sha256: str
    published: bool


class ListFolder:
    """The published lists below a folder, and a record of those that were read.

    Parameters
    ----------
    folder
        Any folder; files are looked for up to eight folders below it, hidden ones left out.

    Raises
    ------
    DatasetError
        No such folder.
    """

    def __init__(self, folder: Path) -> None:
        if not folder.is_dir():
            raise DatasetError(f"{folder}: no such folder; expected one with the published lists")
        self.folder = folder
        self._found = _walk(folder)
        self._read: dict[str, FoundFile] = {}

    def find(self, name: str) -> FoundFile | None:
        """Return the file that the project knows as `name`, or None.

        A file with the published content comes first, then one whose path ends like `name` or like
        the path in its repository, then the only one of its name.
        """
        file = BY_NAME[name]
        same_name = [(p, s) for own in file.file_names for p, s in self._found.get(own, ())]
        for path, sha256 in same_name:
            if sha256 == file.sha256:
                return FoundFile(path=path, sha256=sha256, published=True)
        changed = [(path, sha256) for path, sha256 in same_name if sha256 not in _SHA256S]
        for ending in _endings(file):
            for path, sha256 in changed:
                if path.parts[-len(ending.parts) :] == ending.parts:
                    return FoundFile(path=path, sha256=sha256, published=False)
        named = [found for found in changed if found[0].name == PurePosixPath(name).name]
        if len(named) == 1 and _unmistakable(name):
            return FoundFile(path=named[0][0], sha256=named[0][1], published=False)
        return None

    def path(self, name: str) -> Path:
        """Return the path of a list, and note that it was read.

        Raises
        ------
        DatasetError
            The list is not there.
        """
        found = self.find(name)
        if found is None:
            raise DatasetError(f"{self.folder}: {missing(name)}")
        self._read[name] = found
        return found.path

    @property
    def files(self) -> Mapping[str, str]:
        """The lists that were read: name -> sha256."""
        return {name: found.sha256 for name, found in self._read.items()}

    def notes(self) -> tuple[str, ...]:
        """Return a sentence for each list that was read and is not as published."""
        return tuple(changed(found) for found in self._read.values() if not found.published)


def missing(name: str) -> str:
    """Return what to say of a list that is not there."""
    file = BY_NAME[name]
    return (
        f"no list {name}; copy {file.repository_path} (commit {file.commit}) of the GitHub "
        f"repository {file.repository} to {name} below this folder"
    )


def changed(found: FoundFile) -> str:
    """Return what to say of a list that is not as published."""
    return (
        f"{found.path} differs from the published list (sha256 {found.sha256[:12]}): numbers are "
        "not comparable with the papers'; restore the published file to compare"
    )


def _endings(file: PublishedFile) -> tuple[PurePosixPath, ...]:
    """Return the paths that tell a changed file from another list's of the same name."""
    own, other = PurePosixPath(file.name), PurePosixPath(file.repository_path)
    return (own, other) if other.name == own.name and len(other.parts) > 1 else (own,)


def _unmistakable(name: str) -> bool:
    """Return whether no other list has this list's file name."""
    own = PurePosixPath(name).name
    return sum(own == PurePosixPath(other.name).name for other in PUBLISHED) == 1


def _walk(folder: Path) -> Mapping[str, list[tuple[Path, str]]]:
    """Return the files below `folder` that have a list's name: name -> (path, sha256), sorted."""
    found: dict[str, list[tuple[Path, str]]] = defaultdict(list)
    for root, folders, files in os.walk(folder):
        here = Path(root)
        deep = len(here.relative_to(folder).parts) >= _DEPTH
        folders[:] = [] if deep else sorted(n for n in folders if not n.startswith("."))
        for name in sorted(_FILE_NAMES.intersection(files)):
            path = here / name
            if path.is_file() and path.stat().st_size <= _LARGEST_BYTES:
                found[name].append((path, hashlib.sha256(path.read_bytes()).hexdigest()))
    return found
