"""Videos that are here already: by id, by clip name, with hostile names, and when they change."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pipeline.datasets.base import SourceItem
from pipeline.datasets.youtube import source_item
from pipeline.download.config import FetchSettings
from pipeline.download.existing import ExistingVideos
from pipeline.download.pending import needs_fetch, pending_fetches
from pipeline.download.queue import fetch_items
from pipeline.failures import EnvironmentBroken
from storage.fingerprint import sha256_file
from storage.layout import Layout
from storage.outcomes import FetchEvent, FetchLog, read_fetch_log, utc_now
from storage.records import MAX_ATTEMPTS, DatasetItem

WHOLE = source_item("-B_dash0123")
WINDOW = source_item("-B_dash0123", window_ms=(1500, 2500))
CLIPPED = source_item(
    "__AP0061o0N", window_ms=(101800, 111800), clip_name="__AP0061o0N_101.8_111.8"
)
Settings = Callable[..., FetchSettings]


@pytest.fixture
def videos(tmp_path: Path, clips: Any) -> Path:
    folder = tmp_path / "videos"
    (folder / "flute").mkdir(parents=True)
    shutil.copy(clips.tone(seconds=3.0), folder / "flute" / "-B_dash0123.mp4")
    shutil.copy(clips.tone(seconds=10.0, hz=880), folder / "__AP0061o0N_101.8_111.8.mp4")
    (folder / "-B_dash0123.json").write_text("{}")
    (folder / ".hidden").mkdir()
    (folder / ".hidden" / "missing0000.mp4").write_bytes(b"x")
    return folder


@pytest.mark.parametrize("mode", ["copy", "hardlink", "symlink"])
def test_whole_videos_windows_and_ready_clips_are_imported(
    layout: Layout, videos: Path, settings: Settings, mode: str
) -> None:
    here = settings(videos_dir=str(videos), allowed_extractors="youtube")
    summary = fetch_items(layout, [WHOLE, WINDOW, CLIPPED], here, import_mode=mode)
    assert dict(summary.counts) == {"ok": 3}
    log = read_fetch_log(layout, "youtube")
    whole, window, clip = (log[e.item.item_id] for e in (WHOLE, WINDOW, CLIPPED))
    assert whole.sha256 == sha256_file(videos / "flute" / "-B_dash0123.mp4")
    assert (layout.root / whole.media).is_symlink() == (mode == "symlink")
    assert window.duration_s == 1.0
    assert window.media.endswith(".mkv")
    assert clip.sha256 == sha256_file(videos / "__AP0061o0N_101.8_111.8.mp4")
    assert clip.duration_s == pytest.approx(10, abs=0.1)
    assert fetch_items(layout, [WHOLE, WINDOW, CLIPPED], here).counts == {}


def test_the_clip_comes_before_the_whole_video(videos: Path, clips: Any) -> None:
    shutil.copy(clips.tone(seconds=3.0), videos / "__AP0061o0N.webm")
    found = ExistingVideos.scan(str(videos))
    first = found.find(CLIPPED)
    assert first is not None
    assert (first.path.name, first.ready_cut) == ("__AP0061o0N_101.8_111.8.mp4", True)
    other = found.find(source_item("__AP0061o0N", window_ms=(0, 1000)))
    assert other is not None
    assert (other.path.name, other.ready_cut) == ("__AP0061o0N.webm", False)
    assert found.find(source_item("missing0000")) is None


def test_of_two_files_the_first_counts(videos: Path, caplog: pytest.LogCaptureFixture) -> None:
    shutil.copy(videos / "flute" / "-B_dash0123.mp4", videos / "-B_dash0123.mkv")
    found = ExistingVideos.scan(str(videos)).find(WHOLE)
    assert found is not None
    assert found.path == videos / "-B_dash0123.mkv"
    assert "has the same name" in caplog.text


def test_a_folder_that_is_not_there_stops_the_run(tmp_path: Path) -> None:
    with pytest.raises(EnvironmentBroken, match=r"videos_dir .*nowhere is not a folder"):
        ExistingVideos.scan(str(tmp_path / "nowhere"))
    assert ExistingVideos.scan("").files == {}


def ids(entries: list[SourceItem]) -> list[str]:
    return [entry.item.item_id for entry in entries]


def record(layout: Layout, **event: Any) -> None:
    with FetchLog(layout, "youtube") as log:
        log.append(FetchEvent(utc=utc_now(), **event))


def test_a_private_video_is_imported_when_a_lab_finds_its_file(
    layout: Layout, videos: Path
) -> None:
    record(layout, item_id=WHOLE.item.item_id, reason="private", origin=WHOLE.url)
    assert pending_fetches(layout, [WHOLE], ExistingVideos.scan("")) == []
    assert pending_fetches(layout, [WHOLE], ExistingVideos.scan(str(videos))) == [WHOLE]


def test_an_import_that_failed_waits_for_another_file(
    layout: Layout, videos: Path, settings: Settings
) -> None:
    path = videos / "flute" / "-B_dash0123.mp4"
    path.write_bytes(b"")
    here = settings(videos_dir=str(videos))
    assert dict(fetch_items(layout, [WHOLE], here).counts) == {"empty": 1}
    assert fetch_items(layout, [WHOLE], here).counts == {}
    path.write_bytes(b"something")
    assert ids(pending_fetches(layout, [WHOLE], ExistingVideos.scan(str(videos)))) == [
        WHOLE.item.item_id
    ]
    path.unlink()
    assert pending_fetches(layout, [WHOLE], ExistingVideos.scan(str(videos))), "download it, then"


def test_a_video_that_changed_is_imported_again(
    layout: Layout, videos: Path, settings: Settings, clips: Any
) -> None:
    here = settings(videos_dir=str(videos))
    fetch_items(layout, [WHOLE], here)
    first = read_fetch_log(layout, "youtube")[WHOLE.item.item_id]
    shutil.copy(clips.tone(seconds=1.0), videos / "flute" / "-B_dash0123.mp4")
    assert dict(fetch_items(layout, [WHOLE], here).counts) == {"ok": 1}
    assert read_fetch_log(layout, "youtube")[WHOLE.item.item_id].sha256 != first.sha256
    shutil.rmtree(videos / "flute")
    assert fetch_items(layout, [WHOLE], here).counts == {}, "an import outlives its origin"


def test_items_with_a_path_and_items_with_nothing(
    layout: Layout, videos: Path, settings: Settings
) -> None:
    listed = SourceItem(
        item=DatasetItem(item_id="list/a/500-1500"), path=videos / "flute" / "-B_dash0123.mp4"
    )
    nothing = SourceItem(item=DatasetItem(item_id="list/b/whole"), path=None)
    summary = fetch_items(layout, [listed, nothing], settings())
    assert dict(summary.counts) == {"ok": 1, "missing_file": 1}
    assert fetch_items(layout, [listed, nothing], settings()).counts == {}


def test_what_needs_a_fetch() -> None:
    def event(reason: str) -> FetchEvent:
        return FetchEvent(item_id="youtube/x/whole", reason=reason, utc=utc_now())

    assert needs_fetch(None, 0)
    assert needs_fetch(event("network"), MAX_ATTEMPTS - 1)
    assert not needs_fetch(event("network"), MAX_ATTEMPTS)
    assert not needs_fetch(event("private"), 0)
    assert not needs_fetch(event("ok"), 0)
