"""What may be downloaded from where, and how yt-dlp is told."""

from __future__ import annotations

import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pipeline.datasets.youtube import watch_url
from pipeline.download import ytdlp
from pipeline.download.config import FetchSettings
from pipeline.download.reasons import DownloadFailed
from pipeline.failures import EnvironmentBroken, ProgramMissing
from storage.records import ItemId

Settings = Callable[..., FetchSettings]
VIDEO = "-B_dash0123"


@pytest.mark.parametrize(
    "url",
    [
        *(
            "file:///etc/passwd",
            "ftp://127.0.0.1/x",
            "//127.0.0.1/x",
            "127.0.0.1/x",
            "",
            "ytsearch:x",
        ),
        *("http://user@127.0.0.1/x", "http://10.0.0.1/x", "http://127.0.0.1.evil.org/x"),
        *("http://[::1/x", "http:///x", "-o/tmp/x", "https://www.youtube.com/watch?v=x"),
    ],
)
def test_urls_that_are_refused(settings: Settings, url: str, tmp_path: Path) -> None:
    with pytest.raises(DownloadFailed) as caught:
        ytdlp.download(url, tmp_path / "d", settings())
    assert caught.value.reason == "url_refused"
    assert not (tmp_path / "d").exists()


def test_generic_may_not_slip_in_through_youtube(settings: Settings) -> None:
    ytdlp.check_url(watch_url(VIDEO), settings(allowed_extractors="youtube", allowed_hosts=""))
    ytdlp.check_url("http://127.0.0.1:81/x.mp4", settings())
    for url, changes in (
        (watch_url(VIDEO), {"allowed_extractors": "generic", "allowed_hosts": "www.youtube.com"}),
        ("http://127.0.0.1/x.mp4", {"allowed_extractors": "youtube"}),
        ("http://127.0.0.1/x.mp4", {"allowed_hosts": ""}),
    ):
        with pytest.raises(DownloadFailed, match="is not allowed; to allow it"):
            ytdlp.check_url(url, settings(**changes))


def test_a_youtube_item_has_the_address_of_its_id() -> None:
    item = ItemId("youtube", VIDEO, "0-1000")
    for url in (watch_url(VIDEO), f"https://youtu.be/{VIDEO}", f"{watch_url(VIDEO)}&list=PLx"):
        assert ytdlp.address_of(item, url) == watch_url(VIDEO)
    for url in (watch_url("x" * 11), f"http://127.0.0.1/{VIDEO}", ""):
        with pytest.raises(DownloadFailed, match="not the address of the YouTube video"):
            ytdlp.address_of(item, url)
    assert ytdlp.address_of(ItemId("web", "x"), "http://127.0.0.1/x") == "http://127.0.0.1/x"


def test_nothing_that_a_site_says_becomes_a_name(
    site: Any, tmp_path: Path, settings: Settings
) -> None:
    done = ytdlp.download(site.url("clip", "v", "vas_dog_02677.mp4"), tmp_path / "d", settings())
    assert sorted(p.name for p in (tmp_path / "d").iterdir()) == [
        *("facts.json", "formats.json", "video.mp4")
    ]
    assert done.facts["bytes"] == done.path.stat().st_size
    assert (done.facts["extractor"], done.facts["yt_dlp"]) == ("generic", ytdlp.version())


def test_a_finished_download_is_not_repeated_and_a_damaged_one_is(
    site: Any, tmp_path: Path, settings: Settings
) -> None:
    url = site.url("clip", "v")
    first = ytdlp.download(url, tmp_path / "d", settings())
    asked = site.asked.total()
    assert ytdlp.download(url, tmp_path / "d", settings()) == first
    assert site.asked.total() == asked
    (tmp_path / "d" / ytdlp.FACTS).write_text("{")
    assert ytdlp.finished(tmp_path / "d") is None
    assert ytdlp.download(url, tmp_path / "d", settings()).facts == first.facts


def test_cookies_are_read_and_never_written(site: Any, tmp_path: Path, settings: Settings) -> None:
    cookies = tmp_path / "cookies.txt"
    text = "# Netscape HTTP Cookie File\n127.0.0.1\tFALSE\t/\tFALSE\t4102444800\tname\tsecret\n"
    cookies.write_text(text)
    cookies.chmod(0o400)
    ytdlp.download(site.url("clip"), tmp_path / "d", settings(cookies_file=str(cookies)))
    assert cookies.read_text() == text
    assert stat.S_IMODE(cookies.stat().st_mode) == 0o400
    assert not any("secret" in p.read_text("latin-1") for p in (tmp_path / "d").iterdir())
    with pytest.raises(EnvironmentBroken, match=r"cookies_file .* cannot be read"):
        ytdlp.download(site.url("clip"), tmp_path / "e", settings(cookies_file="/nowhere.txt"))


def test_without_ffmpeg_no_item_is_blamed(
    site: Any, tmp_path: Path, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(ProgramMissing, match="install ffmpeg"):
        ytdlp.download(site.url("clip"), tmp_path, settings())


def test_a_part_of_another_format_is_not_continued(
    site: Any, tmp_path: Path, settings: Settings
) -> None:
    with pytest.raises(DownloadFailed):
        ytdlp.download(site.url("truncate", "v"), tmp_path / "d", settings())
    (part,) = (tmp_path / "d").glob("*.part")
    got = part.stat().st_size
    assert got
    formats = tmp_path / "d" / ytdlp.FORMATS
    formats.write_text(formats.read_text().replace("mp4", "webm"))
    site.ranges.clear()
    done = ytdlp.download(site.url("clip", "v"), tmp_path / "d", settings())
    assert f"bytes={got}-" not in site.ranges
    assert done.path.read_bytes() == (site.clips / "vas_dog_02677.mp4").read_bytes()


def test_live_streams_are_not_begun(settings: Settings, tmp_path: Path) -> None:
    watcher = ytdlp._Watcher(settings(), tmp_path)
    with pytest.raises(DownloadFailed, match="live"):
        watcher.refuse({"is_live": True})
    assert watcher.refuse({"is_live": False, "extractor_key": "Youtube"}) is None


@pytest.mark.parametrize(
    "changes",
    [
        *({"sleep_s": -1.0}, {"sleep_max_s": 5.0}, {"network_failures": 0}, {"max_height": 0}),
        *({"retries": -1}, {"socket_timeout_s": 0.0}, {"time_limit_s": float("nan")}),
    ],
)
def test_settings_out_of_range_are_named(changes: dict[str, float]) -> None:
    (name,) = changes
    with pytest.raises(ValueError, match=rf"\[fetch\] {name} is .* expected"):
        FetchSettings(**changes)  # type: ignore[arg-type]


def test_nothing_loads_yt_dlp_before_a_download() -> None:
    code = (
        "import sys, pipeline.download.queue, pipeline.download.ytdlp; "
        "print(sorted({'yt_dlp', 'torch', 'cv2'} & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout.strip() == "[]"


def test_separate_streams_are_capped_in_height_and_merged(
    site: Any, tmp_path: Path, settings: Settings, clips: Any
) -> None:
    """What a site offers as several heights and a sound of its own, here as MPEG-DASH."""
    site.folder = tmp_path / "dash"
    site.folder.mkdir()
    call = ["ffmpeg", "-v", "error", "-i", str(clips.tone(seconds=2.0, size="640x480"))]
    for number, height in enumerate((120, 240, 480)):
        call += ["-map", "0:v", f"-filter:v:{number}", f"scale=-2:{height}"]
    call += ["-map", "0:a", "-c:v", "libx264", "-preset", "ultrafast", "-c:a", "aac"]
    call += ["-adaptation_sets", "id=0,streams=v id=1,streams=a", "-f", "dash"]
    subprocess.run([*call, str(site.folder / "v.mpd")], check=True, timeout=60)
    url = site.url("file", "v", "v.mpd")
    done = ytdlp.download(url, tmp_path / "d", settings(max_height=300))
    assert done.path.name == "video.mkv"
    assert [(s["codec_name"], s.get("height")) for s in done.facts["streams"]] == [
        ("h264", 240),
        ("aac", None),
    ]
    assert "+" in done.facts["format_id"]
    assert {p.name for p in (tmp_path / "d").iterdir()} == {
        *("facts.json", "formats.json", "video.mkv")
    }
