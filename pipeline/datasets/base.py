"""The record that every dataset reader returns: clips with their files, labels and splits.

Plain frozen values; `DatasetError` is what a reader raises when a list cannot be used.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any

from storage.records import DatasetItem

SPLITS = ("train", "val", "test")


class DatasetError(Exception):
    """A dataset that cannot be used: says which file and row, expected, got and what to do."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceItem:
    """One item and where its bytes are.

    `path` is the whole media file (a window is in the item id, and is cut by fetch), or None when
    it has to be downloaded. `url` is where to download the whole video from. `clip_name` is the
    name, without extension, under which labs keep this very window already cut: LLP's
    'AP0061o0Nvk_101.8_111.8'. `sidecars` maps a kind, such as 'alphapose', to a file beside it.
    """

    item: DatasetItem
    path: Path | None
    url: str = ""
    clip_name: str = ""
    sidecars: Mapping[str, Path] = field(default_factory=lambda: MappingProxyType({}))


@dataclass(frozen=True, slots=True, kw_only=True)
class Dataset:
    """A named list of items.

    `classes` is the order of the label vector; `notes` are sentences for the person who runs it;
    `preset` overrides stage parameters, such as `{"pose": {"backend": "alphapose-json"}}`.
    `overlap` holds the ids of items that the published lists put into both training and test; such
    an item is a test item in `items`. `list_files` maps the name of each list that was read to its
    sha256, and `irregularities` a kind of dirt in them to how often it was met.
    """

    name: str
    items: tuple[SourceItem, ...]
    classes: tuple[str, ...]
    notes: tuple[str, ...] = ()
    preset: Mapping[str, Mapping[str, Any]] = field(default_factory=lambda: MappingProxyType({}))
    overlap: tuple[str, ...] = ()
    list_files: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    irregularities: Mapping[str, int] = field(default_factory=lambda: MappingProxyType({}))

    def serving(self, recipe: str) -> tuple[SourceItem, ...]:
        """Return the items that serve `recipe`: those that name it and those that name none."""
        return tuple(s for s in self.items if not s.item.tasks or recipe in s.item.tasks)


def video_of(item_id: str) -> str:
    """Return `source/video_id`: what all windows of one video have in common."""
    return item_id.rpartition("/")[0]
