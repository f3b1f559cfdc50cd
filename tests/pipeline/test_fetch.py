from __future__ import annotations

import errno
import json
import os
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pipeline import fetch
from pipeline.failures import EnvironmentBroken, ProgramMissing
from pipeline.fetch import import_file, is_current
from storage.fingerprint import sha256_file
from storage.layout import Layout, open_store
from storage.outcomes import FetchEvent, FetchLog, read_fetch_log

ITEM = "lab/clip/whole"


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    return open_store(tmp_path / "store", create=True)


@pytest.fixture
def video(clips: Any, tmp_path: Path) -> Path:
    path = tmp_path / "videos" / "Clip.MP4"
    path.parent.mkdir()
    shutil.copy(clips.tone(seconds=2.0), path)
    return path


def media_of(layout: Layout, event: FetchEvent) -> Path:
    return layout.root / event.media


def test_a_copy_has_the_files_bytes_digest_and_description(layout: Layout, video: Path) -> None:
    event = import_file(layout, ITEM, video)
    media = media_of(layout, event)
    assert event.reason == "ok"
    assert event.sha256 == sha256_file(video) == sha256_file(media)
    assert media.name == f"whole.{event.sha256[:8]}.mp4"
    assert media.parent == layout.media_dir(ITEM)
    assert media.stat().st_mode & 0o777 == 0o444
    assert event.duration_s == pytest.approx(2.0, abs=0.05)
    described = json.loads(media.with_name(media.name + ".json").read_text())
    assert described["sha256"] == event.sha256
    assert described["how"] == "copy"


def test_the_event_survives_the_log(layout: Layout, video: Path) -> None:
    event = import_file(layout, ITEM, video)
    with FetchLog(layout, "lab") as log:
        log.append(event)
    found = read_fetch_log(layout, "lab")[ITEM]
    assert found == event
    assert is_current(found, video)


@pytest.mark.parametrize("mode", ["hardlink", "symlink"])
def test_a_link_leaves_the_file_as_it_is(layout: Layout, video: Path, mode: str) -> None:
    video.chmod(0o640)
    event = import_file(layout, ITEM, video, mode=mode)
    media = media_of(layout, event)
    assert media.samefile(video)
    assert media.is_symlink() == (mode == "symlink")
    assert video.stat().st_mode & 0o777 == 0o640
    assert event.sha256 == sha256_file(video)
    again = import_file(layout, ITEM, video, mode=mode)
    assert (again.media, again.sha256) == (event.media, event.sha256)


def test_a_symbolic_link_follows_a_moved_file(layout: Layout, video: Path) -> None:
    event = import_file(layout, ITEM, video, mode="symlink")
    moved = video.rename(video.with_name("moved.mp4"))
    assert not media_of(layout, event).exists()
    again = import_file(layout, ITEM, moved, mode="symlink")
    assert media_of(layout, again).samefile(moved)


def test_a_hard_link_across_file_systems_names_the_setting(
    layout: Layout, video: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: Any) -> None:
        raise OSError(errno.EXDEV, os.strerror(errno.EXDEV))

    monkeypatch.setattr(fetch.os, "link", refuse)
    with pytest.raises(EnvironmentBroken, match="set import_mode to copy or symlink"):
        import_file(layout, ITEM, video, mode="hardlink")


def test_changed_bytes_get_a_file_of_their_own(layout: Layout, video: Path, clips: Any) -> None:
    first = import_file(layout, ITEM, video)
    shutil.copy(clips.numbered("other.mp4", count=30), video)
    assert not is_current(first, video)
    second = import_file(layout, ITEM, video)
    assert second.media != first.media
    assert media_of(layout, first).exists()
    assert is_current(second, video)


def test_importing_twice_is_harmless_and_leaves_no_private_file(
    layout: Layout, video: Path
) -> None:
    first, second = import_file(layout, ITEM, video), import_file(layout, ITEM, video)
    assert replace(second, utc=first.utc) == first
    names = sorted(p.name for p in layout.media_dir(ITEM).iterdir())
    assert names == [Path(first.media).name, Path(first.media).name + ".json"]


def test_a_file_that_is_not_there(layout: Layout, video: Path, tmp_path: Path) -> None:
    missing = tmp_path / "missing.mp4"
    for path in (None, missing, tmp_path):
        event = import_file(layout, ITEM, path)
        assert (event.reason, event.media) == ("missing_file", "")
    event = import_file(layout, ITEM, missing)
    assert is_current(event, missing)
    shutil.copy(video, missing)
    assert not is_current(event, missing), "it has come: import it"


def test_an_empty_file(layout: Layout, tmp_path: Path) -> None:
    path = tmp_path / "empty.mp4"
    path.touch()
    event = import_file(layout, ITEM, path)
    assert event.reason == "empty"
    assert is_current(event, path)
    path.write_bytes(b"x")
    assert not is_current(event, path)


def test_an_import_outlives_its_origin(layout: Layout, video: Path) -> None:
    event = import_file(layout, ITEM, video)
    video.unlink()
    assert is_current(event, video)
    assert not is_current(None, video)


def test_a_passing_failure_is_tried_again(
    layout: Layout, video: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(fetch.shutil, "copyfile", full)
    event = import_file(layout, ITEM, video)
    assert event.reason == "disk_full"
    assert not is_current(event, video)
    assert not list(layout.media_dir(ITEM).iterdir())


def test_sidecars_are_imported_and_watched(layout: Layout, video: Path) -> None:
    poses = video.with_suffix(".json")
    poses.write_text("[]")
    event = import_file(layout, ITEM, video, {"alphapose": poses})
    entry = event.sidecars["alphapose"]
    assert (layout.root / entry["path"]).read_text() == "[]"
    assert entry["sha256"] == sha256_file(poses)
    assert is_current(event, video, {"alphapose": poses})
    assert not is_current(event, video), "the sidecar is gone from the list"
    poses.write_text("[1]")
    assert not is_current(event, video, {"alphapose": poses})


def test_hostile_names(layout: Layout, video: Path) -> None:
    for number, name in enumerate(["-n.mp4", "a b%20c.mp4", "..mp4", "x.tar.gz2", "noext"]):
        path = video.with_name(name)
        shutil.copy(video, path)
        event = import_file(layout, f"lab/-odd{number}/whole", path)
        assert event.reason == "ok"
        assert media_of(layout, event).resolve().is_relative_to(layout.root)


def test_a_window_is_cut_on_the_videos_clock(
    layout: Layout, clips: Any, laboratory: Any, read_number: Any
) -> None:
    import cv2
    import numpy as np

    path = clips.numbered("long.mp4", count=100)
    item = laboratory.add(path, "lab/long/1200-2300")
    laboratory.run(["frames"], [item])
    rows = laboratory.store.rows("frames", item)
    numbers = [
        read_number(cv2.imdecode(np.frombuffer(r, np.uint8), cv2.IMREAD_COLOR)) for r in rows
    ]
    expected = [30 + int(i / 8 * 25 + 1e-9) for i in range(9)]
    assert numbers == expected


def test_a_cut_is_byte_identical_on_repeat(layout: Layout, clips: Any, video: Path) -> None:
    first = import_file(layout, "lab/clip/300-1500", video)
    other = open_store(layout.root.parent / "other", create=True)
    second = import_file(other, "lab/clip/300-1500", video)
    assert first.reason == "ok"
    assert first.sha256 == second.sha256
    assert first.duration_s == pytest.approx(1.2)
    described = json.loads((layout.root / (first.media + ".json")).read_text())
    assert described["how"] == "cut"
    assert described["ffmpeg"]


def test_windows_that_cannot_be_cut(layout: Layout, video: Path, tmp_path: Path) -> None:
    behind = import_file(layout, "lab/clip/60000-70000", video)
    assert behind.reason == "too_short"
    assert "the video ends at 2" in behind.detail
    broken = tmp_path / "broken.mp4"
    broken.write_bytes(b"nothing")
    assert import_file(layout, "lab/broken/0-1000", broken).reason == "corrupt"


def test_a_window_may_reach_half_a_second_beyond_the_video(layout: Layout, video: Path) -> None:
    assert import_file(layout, "lab/clip/1000-2400", video).reason == "ok"
    event = import_file(layout, "lab/clip/1000-2700", video)
    assert (event.reason, event.media) == ("too_short", "")
    assert event.detail == "the window ends at 2.7 s, the video at 2 s"
    assert not [p for p in layout.media_dir("lab/clip/0-1").iterdir() if "2700" in p.name]


def test_an_unreadable_file_is_imported_for_probe_to_judge(layout: Layout, tmp_path: Path) -> None:
    broken = tmp_path / "broken.mp4"
    broken.write_bytes(b"nothing")
    event = import_file(layout, ITEM, broken)
    assert (event.reason, event.duration_s) == ("ok", 0.0)


def test_a_missing_program_stops_the_run(
    layout: Layout, video: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(ProgramMissing, match="ffprobe"):
        import_file(layout, ITEM, video)


def test_an_unknown_mode_is_a_programmers_error(layout: Layout, video: Path) -> None:
    with pytest.raises(ValueError, match="expected one of copy, hardlink, symlink"):
        import_file(layout, ITEM, video, mode="move")
