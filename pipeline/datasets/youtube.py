"""YouTube ids in, item ids and addresses out: one source for every list of YouTube videos.

MUSIC21, MUSIC, LLP and AudioSet share it, so that a video of two lists is fetched and extracted
once.
"""

from __future__ import annotations

import re
from urllib.parse import parse_qs, urlsplit

from pipeline.datasets.base import DatasetError, SourceItem
from storage.records import DatasetItem, Event, ItemId

SOURCE = "youtube"
VIDEO_ID = re.compile(r"[A-Za-z0-9_-]{11}")

_HOSTS = frozenset({"youtube.com", "www.youtube.com", "m.youtube.com", "music.youtube.com"})
_SHORT_HOST = "youtu.be"
_FOLDERS = frozenset({"embed", "live", "shorts", "v"})


def is_video_id(text: str) -> bool:
    """Return whether `text` is a YouTube id: 11 letters, digits, '-' or '_'."""
    return VIDEO_ID.fullmatch(text) is not None


def watch_url(video_id: str) -> str:
    """Return the address of a video's page; raises DatasetError for what is no YouTube id."""
    return f"https://www.youtube.com/watch?v={_checked(video_id)}"


def video_id_of(url: str) -> str:
    """Return the YouTube id in an address, or '' where the address is not one of a YouTube video.

    Known forms: watch?v=ID, youtu.be/ID, and the folders embed, live, shorts and v.
    """
    try:
        parts = urlsplit(url)
    except ValueError:
        return ""
    host = (parts.hostname or "").lower()
    folders = [part for part in parts.path.split("/") if part]
    found = ""
    if host == _SHORT_HOST and folders:
        found = folders[0]
    elif host in _HOSTS and folders == ["watch"]:
        found = parse_qs(parts.query).get("v", [""])[0]
    elif host in _HOSTS and len(folders) >= 2 and folders[0] in _FOLDERS:
        found = folders[1]
    return found if is_video_id(found) else ""


def item_id(video_id: str, window_ms: tuple[int, int] | None = None) -> ItemId:
    """Return the item id of a YouTube video, or of a window of it in milliseconds.

    Raises
    ------
    DatasetError
        Not a YouTube id.
    InvalidRecord
        A window whose start is not before its end.
    """
    window = "whole" if window_ms is None else f"{window_ms[0]}-{window_ms[1]}"
    return ItemId(SOURCE, _checked(video_id), window)


def clip_name(item: ItemId) -> str:
    """Return the name under which LLP's files hold an item: `<id>_<start>_<end>` in seconds.

    Whole seconds are written without decimals, others without trailing zeros. A whole video has
    its id as its name.
    """
    if item.window == "whole":
        return item.video_id
    start, end = (_seconds(int(part)) for part in item.window.split("-"))
    return f"{item.video_id}_{start}_{end}"


def source_item(
    video_id: str,
    *,
    window_ms: tuple[int, int] | None = None,
    labels: tuple[str, ...] = (),
    split: str = "",
    events: tuple[Event, ...] | None = None,
    clip_name: str = "",
) -> SourceItem:
    """Return the record of a YouTube video that has to be downloaded."""
    return SourceItem(
        item=DatasetItem(
            item_id=str(item_id(video_id, window_ms)), labels=labels, split=split, events=events
        ),
        path=None,
        url=watch_url(video_id),
        clip_name=clip_name,
    )


def _checked(video_id: str) -> str:
    if not is_video_id(video_id):
        raise DatasetError(
            f"{video_id!r} is not a YouTube id; expected 11 letters, digits, '-' or '_'"
        )
    return video_id


def _seconds(milliseconds: int) -> str:
    whole, rest = divmod(milliseconds, 1000)
    return f"{whole}.{rest:03d}".rstrip("0") if rest else str(whole)
