"""A folder of videos in, a `Dataset` out: every clip below it, with what its lists say of it.

`labels.csv` and `events.csv` are optional (their columns: `labels.py`). Beside a clip,
`<clip>.alphapose.json` or `<stem>.alphapose.json` holds its ready AlphaPose results.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from pathlib import Path

from pipeline.datasets.base import Dataset, DatasetError, SourceItem
from pipeline.datasets.classes import order_classes
from pipeline.datasets.labels import Entry, read_events, read_labels
from storage.records import DatasetItem, Event, ItemId, path_safe

ALPHAPOSE_SUFFIX = ".alphapose.json"
VIDEO_EXTENSIONS = frozenset(
    {".3gp", ".avi", ".flv", ".m4v", ".mkv", ".mov", ".mp4", ".mpg", ".ogv", ".ts", ".webm"}
)

_LONGEST_ID = 180


def read_folder(folder: Path, *, source: str) -> Dataset:
    """Return the dataset of every video below `folder`, in the order of the files' names.

    A file that `labels.csv` names is taken whatever its extension; a file that it does not name is
    an item without labels. An item's video id is its path below `folder`, percent-encoded. Items
    of a file that `events.csv` names have dense events, the others None.

    Raises
    ------
    DatasetError
        A folder that is missing or holds no video, or a list that cannot be used.
    """
    if not folder.is_dir():
        raise DatasetError(f"{folder}: no such folder; expected a folder of videos")
    events = read_events(folder)
    items = tuple(_source_item(folder, source, entry, events) for entry in _entries(folder))
    labels = {label for s in items for label in s.item.labels}
    dense = {event.label for s in items for event in s.item.events or ()}
    posed = sum("alphapose" in s.sidecars for s in items)
    return Dataset(
        name=source,
        items=items,
        classes=order_classes(labels | dense),
        notes=tuple(_notes(items, posed)),
        preset={"pose": {"backend": "alphapose-json"}} if posed == len(items) else {},
    )


def video_id(file: str) -> str:
    """Return the id of a file by its path below the folder: the path, percent-encoded.

    A path that would be too long for a file's name keeps its beginning, and a digest of the whole.
    """
    encoded = path_safe(file)
    if len(encoded) <= _LONGEST_ID:
        return encoded
    kept = next(n for n in range(len(file), -1, -1) if len(path_safe(file[:n])) < _LONGEST_ID - 13)
    return f"{path_safe(file[:kept])}~{hashlib.sha256(file.encode()).hexdigest()[:12]}"


def _entries(folder: Path) -> list[Entry]:
    """Return the items: those listed, and every other video as a whole without labels."""
    listed = read_labels(folder)
    names = {entry.file for entry in listed}
    entries = [*listed, *(Entry(file=name) for name in _videos(folder) if name not in names)]
    if not entries:
        raise DatasetError(
            f"{folder}: no video in it or below it; expected files ending in "
            + ", ".join(sorted(VIDEO_EXTENSIONS))
        )
    return sorted(entries, key=lambda entry: (entry.file, entry.window_ms or (0, 0)))


def _videos(folder: Path) -> list[str]:
    """Return the visible videos below `folder`, as paths relative to it."""
    paths = (path.relative_to(folder) for path in folder.rglob("*") if path.is_file())
    return [
        path.as_posix()
        for path in paths
        if path.suffix.lower() in VIDEO_EXTENSIONS
        and not any(part.startswith(".") for part in path.parts)
    ]


def _source_item(
    folder: Path, source: str, entry: Entry, events: Mapping[str, list[Event]]
) -> SourceItem:
    window = "{}-{}".format(*entry.window_ms) if entry.window_ms else "whole"
    item_id = ItemId(source, video_id(entry.file), window)
    return SourceItem(
        item=DatasetItem(
            item_id=str(item_id),
            labels=entry.labels,
            split=entry.split,
            events=_within(events[entry.file], item_id) if entry.file in events else None,
        ),
        path=folder / entry.file,
        sidecars=_sidecars(folder / entry.file),
    )


def _within(events: Iterable[Event], item_id: ItemId) -> tuple[Event, ...]:
    """Return the parts of a file's events that lie in the item's window, from its start."""
    start_s, end_s = item_id.window_s or (0.0, float("inf"))
    cut = (
        Event(
            modality=event.modality,
            label=event.label,
            onset_s=max(event.onset_s, start_s) - start_s,
            offset_s=min(event.offset_s, end_s) - start_s,
        )
        for event in events
        if event.onset_s < end_s and event.offset_s > start_s
    )
    return tuple(cut)


def _sidecars(path: Path) -> Mapping[str, Path]:
    for name in (path.name + ALPHAPOSE_SUFFIX, path.stem + ALPHAPOSE_SUFFIX):
        if path.with_name(name).is_file():
            return {"alphapose": path.with_name(name)}
    return {}


def _notes(items: tuple[SourceItem, ...], posed: int) -> Iterable[str]:
    unlabelled = sum(not s.item.labels for s in items)
    if unlabelled:
        yield f"{unlabelled} of {len(items)} clips have no labels"
    if posed == len(items):
        yield "every clip has AlphaPose results beside it: pose is read from them"
    elif posed:
        yield (
            f"{posed} of {len(items)} clips have AlphaPose results beside them; they are used only "
            "with the pose backend alphapose-json"
        )
