"""YouTube ids, addresses and paths: every published name comes back as it went in."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.datasets.base import DatasetError, SourceItem
from pipeline.datasets.llp import read_llp
from pipeline.datasets.music import read_music21
from pipeline.datasets.youtube import (
    SOURCE,
    clip_name,
    is_video_id,
    item_id,
    source_item,
    video_id_of,
    watch_url,
)
from storage.layout import Layout
from storage.records import ItemId

LAYOUT = Layout(Path("/store"))
STAGE = "frames-0123456789ab"
IDS = st.from_regex(r"\A[A-Za-z0-9_-]{11}\Z") | st.from_regex(r"\A[-_]{11}\Z")
WINDOWS = st.none() | st.tuples(st.integers(0, 10**8), st.integers(1, 10**7)).map(
    lambda pair: (pair[0], pair[0] + pair[1])
)


def from_paths(item: ItemId) -> ItemId:
    """The id, read off the paths of its media and of its staged rows."""
    media = LAYOUT.media_dir(str(item)).relative_to(LAYOUT.root)
    staged = LAYOUT.staged_item(STAGE, item.source, 3, str(item))
    video, _, window = staged.name.removesuffix(".h5").rpartition(".")
    assert media.parts[0] == "media"
    assert media.parts[2] == video
    return ItemId(media.parts[1], video, window)


@given(video=IDS, window_ms=WINDOWS)
def test_any_id_round_trips_through_its_paths(
    video: str, window_ms: tuple[int, int] | None
) -> None:
    item = item_id(video, window_ms)
    assert ItemId.parse(str(item)) == from_paths(item) == item
    assert item.video_id == video_id_of(watch_url(video)) == video


def test_every_published_name_round_trips(shared_dir: Path) -> None:
    music = read_music21(shared_dir / "data", split="draw").items
    llp = read_llp(shared_dir / "data").items
    assert (len(music), len(llp), len(music) + len(llp)) == (1164 + 149, 11849, 13162)
    names = set()
    for entry in (*music, *llp):
        item = ItemId.parse(entry.item.item_id)
        assert from_paths(item) == item
        assert video_id_of(entry.url) == item.video_id
        assert clip_name(item) == (entry.clip_name or item.video_id)
        names.add(clip_name(item))
    assert len(names) == 13162
    assert sum(name.startswith("-") for name in names) == 151 + 38 + duets_with_dash(music)
    assert sum("_" in name[:11] for name in names if len(name) > 11) == 1470


def duets_with_dash(items: tuple[SourceItem, ...]) -> int:
    return sum(s.item.item_id[8] == "-" for s in items if len(s.item.labels) == 2)


@pytest.mark.parametrize(
    "url",
    [
        "https://www.youtube.com/watch?v=-_jlqeSs6ZU",
        "https://youtube.com/watch?list=PL1&v=-_jlqeSs6ZU&t=3",
        "http://youtu.be/-_jlqeSs6ZU?t=3",
        "https://m.youtube.com/shorts/-_jlqeSs6ZU",
        "https://www.youtube.com/embed/-_jlqeSs6ZU",
    ],
)
def test_addresses_of_one_video(url: str) -> None:
    assert video_id_of(url) == "-_jlqeSs6ZU"


@pytest.mark.parametrize(
    "url",
    [
        "https://example.org/watch?v=-_jlqeSs6ZU",
        "https://www.youtube.com/playlist?list=PL1",
        "https://www.youtube.com/watch?v=short",
        "https://youtube.com.example.org/watch?v=-_jlqeSs6ZU",
        "-_jlqeSs6ZU",
        "",
    ],
)
def test_other_addresses_have_no_youtube_id(url: str) -> None:
    assert video_id_of(url) == ""


@pytest.mark.parametrize(
    "text", ["", "short", "twelve_chars", "../../../etc", "abc def ghi", "é" * 11]
)
def test_what_is_no_id_is_refused(text: str) -> None:
    assert not is_video_id(text)
    with pytest.raises(DatasetError, match="not a YouTube id; expected 11"):
        watch_url(text)
    with pytest.raises(DatasetError, match="not a YouTube id; expected 11"):
        source_item(text)


def test_a_window_with_decimals_has_its_published_name() -> None:
    item = item_id("AP0061o0Nvk", (101_800, 111_800))
    assert str(item) == f"{SOURCE}/AP0061o0Nvk/101800-111800"
    assert clip_name(item) == "AP0061o0Nvk_101.8_111.8"
