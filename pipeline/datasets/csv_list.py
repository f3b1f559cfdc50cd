"""A lab's own list in, a `Dataset` out: one row a video or window, by YouTube id, URL or path.

Comma-separated UTF-8 with a header line: at least one of id, url and path; then, where wanted,
start_s and end_s, labels (`;` between them) and split.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from pipeline.datasets.base import Dataset, DatasetError, SourceItem
from pipeline.datasets.classes import order_classes
from pipeline.datasets.folder import video_id as file_id
from pipeline.datasets.labels import check_rows, row_labels, row_split, row_window_ms
from pipeline.datasets.tables import Row, read_table
from pipeline.datasets.youtube import SOURCE, is_video_id, video_id_of, watch_url
from storage.records import DatasetItem, ItemId

_PLACES = ("id", "url", "path")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Video:
    """Where a row's video is: its source and id there, its address, its local file."""

    source: str
    video_id: str
    url: str = ""
    path: Path | None = None


def read_csv(path: Path, *, source: str) -> Dataset:
    """Return the dataset of a list of videos, in the order of its rows.

    A row's video is the file at `path` (relative to the list) if it has one, else what is at
    `url`, else the YouTube video `id`. YouTube videos get the source `youtube`, by id or URL,
    whether their file is there or not; all others get `source`, and as id their own `id`, path or
    URL, percent-encoded.

    Parameters
    ----------
    path
        The list.
    source
        The name of the source of videos that are not YouTube's.

    Raises
    ------
    DatasetError
        A list without videos or with wrong columns, or a row that cannot be used: with its line
        and what to do.
    """
    rows = read_table(path, required=(), optional=(*_PLACES, "start_s", "end_s", "labels", "split"))
    if not rows:
        raise DatasetError(f"{path}: no rows; expected a line with {', '.join(_PLACES)} and videos")
    videos = [_video(row, source) for row in rows]
    items = tuple(_item(video, row) for video, row in zip(videos, rows, strict=True))
    check_rows(
        (f"{video.source}/{video.video_id}", row_window_ms(row), row_split(row), row)
        for video, row in zip(videos, rows, strict=True)
    )
    unlabelled = sum(not item.item.labels for item in items)
    return Dataset(
        name=source,
        items=items,
        classes=order_classes(label for item in items for label in item.item.labels),
        notes=(f"{unlabelled} of {len(items)} items have no labels",) if unlabelled else (),
        list_files={path.name: hashlib.sha256(path.read_bytes()).hexdigest()},
    )


def _item(video: _Video, row: Row) -> SourceItem:
    window_ms = row_window_ms(row)
    window = "whole" if window_ms is None else f"{window_ms[0]}-{window_ms[1]}"
    return SourceItem(
        item=DatasetItem(
            item_id=str(ItemId(video.source, video.video_id, window)),
            labels=row_labels(row),
            split=row_split(row),
        ),
        path=video.path,
        url=video.url,
    )


def _video(row: Row, source: str) -> _Video:
    own, url, name = (row[place] for place in _PLACES)
    if not (own or url or name):
        raise row.error(f"no video; expected {', '.join(_PLACES[:-1])} or {_PLACES[-1]}")
    if url:
        _check_url(row)
    youtube_id = video_id_of(url) or (own if is_video_id(own) else "")
    if youtube_id and is_video_id(own) and own != youtube_id:
        raise row.error(f"id {own}, but the url is that of {youtube_id}; correct one of them")
    file = _file(row) if name else None
    if youtube_id:
        return _Video(
            source=SOURCE, video_id=youtube_id, url=url or watch_url(youtube_id), path=file
        )
    if not (url or name):
        raise row.error(
            f"{own!r} is not a YouTube id (11 letters, digits, '-' or '_'); correct it, or give "
            "the video's url or path"
        )
    return _Video(source=source, video_id=file_id(own or name or url), url=url, path=file)


def _check_url(row: Row) -> None:
    try:
        parts = urlsplit(row["url"])
        good = parts.scheme in ("http", "https") and bool(parts.hostname)
    except ValueError:
        good = False
    if not good:
        raise row.error(f"url is {row['url']!r}; expected one that begins with http:// or https://")


def _file(row: Row) -> Path:
    name, folder = row["path"], row.path.parent
    place = Path(name)
    if place.is_absolute() or ".." in place.parts or place.as_posix() != name:
        raise row.error(f"path is {name!r}; expected one below {folder}, like 'a/clip.mp4'")
    if not (folder / place).is_file():
        raise row.error(
            f"no file {name} in {folder}; correct the name (capitals and extension count) or take "
            "the row out"
        )
    return folder / place
