"""Downloads from a local server through the real yt-dlp: every outcome, every stop, every retry."""

from __future__ import annotations

import json
import random
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pipeline.download.config import FetchSettings
from pipeline.download.pace import host_name, sweep
from pipeline.download.queue import FetchSummary, fetch_items
from pipeline.probing import probe_media
from pipeline.stages import ProbeConfig
from storage.fingerprint import sha256_file
from storage.layout import Layout
from storage.outcomes import FetchEvent, read_fetch_attempts, read_fetch_log
from storage.retries import FETCH, RetryMark, mark, mark_time

REASONS = {
    "clip": "ok",
    "redirect": "ok",
    "away": "url_refused",
    "stall": "network",
    "truncate": "network",
    "vanish": "network",
    "empty": "network",
    "status/403": "forbidden",
    "status/404": "removed",
    "status/410": "removed",
    "status/500": "server_error",
    "page": "unsupported",
    "junk": "corrupt",
}
PASSING = {"network", "forbidden", "server_error"}
Settings = Callable[..., FetchSettings]


def reasons(layout: Layout, source: str = "web") -> dict[str, str]:
    return {item: event.reason for item, event in read_fetch_log(layout, source).items()}


def part_files(layout: Layout) -> list[str]:
    return sorted(p.parent.name for p in layout.root.glob("downloads/**/*.part"))


def test_every_outcome_has_its_reason_and_only_passing_ones_are_tried_again(
    site: Any, layout: Layout, settings: Settings
) -> None:
    items = [site.item(behaviour) for behaviour in REASONS]
    named = {item.item.item_id: behaviour for item, behaviour in zip(items, REASONS, strict=True)}
    seen: list[FetchEvent] = []
    first = fetch_items(layout, items, settings(), on_event=seen.append)
    assert {named[i]: r for i, r in reasons(layout).items()} == REASONS
    assert sorted(e.item_id for e in seen) == sorted(named)
    assert (first.pending, first.stopped) == (0, "")
    assert first.counts["network"] == 4
    assert all(e.detail for e in seen if e.reason != "ok")
    assert set(part_files(layout)) <= {"stall", "truncate", "vanish"}

    site.asked.clear()
    fetch_items(layout, items, settings())
    passing = {b.replace("/", "-") for b, r in REASONS.items() if r in PASSING}
    assert set(site.asked) == passing
    assert reasons(layout)["web/vanish/whole"] == "removed", "it is gone for good by now"

    fetch_items(layout, items, settings())
    attempts = read_fetch_attempts(layout, "web")
    assert set(attempts.values()) == {0, 3}
    site.asked.clear()
    assert fetch_items(layout, items, settings()) == FetchSummary(counts={}, pending=0)
    assert not site.asked, "three attempts are enough"

    old = read_fetch_log(layout, "web")["web/stall/whole"]
    mark(layout, [RetryMark(scope=FETCH, item_id=old.item_id, utc=mark_time(old.utc))])
    again = fetch_items(layout, items, settings())
    assert dict(again.counts) == {"network": 1}
    assert read_fetch_attempts(layout, "web")["web/stall/whole"] == 1


def test_the_windows_of_one_video_share_one_download(
    site: Any, layout: Layout, settings: Settings
) -> None:
    windows = ["500-1500", "1250-3000", "whole", "2000-9000"]
    items = [site.item("clip", "-dash_id_x", window) for window in windows]
    fetch_items(layout, items, settings())
    log = read_fetch_log(layout, "web")
    assert reasons(layout) == {
        "web/-dash_id_x/500-1500": "ok",
        "web/-dash_id_x/1250-3000": "ok",
        "web/-dash_id_x/whole": "ok",
        "web/-dash_id_x/2000-9000": "too_short",
    }
    assert site.asked["-dash_id_x"] == 2, "one look of the extractor, one download"
    event = log["web/-dash_id_x/1250-3000"]
    path = layout.root / event.media
    info = probe_media(str(path), ProbeConfig(), window_length_s=1.75, timeout_s=60)
    assert info.duration_s == 1.75
    assert info.video is not None
    assert info.audio is not None
    described = json.loads(path.with_name(path.name + ".json").read_text())
    assert described["sha256"] == event.sha256 == sha256_file(path)
    assert described["url"] == event.origin == items[0].url
    assert {s["codec_name"] for s in described["streams"]} == {"h264", "aac"}
    assert described["yt_dlp"]
    assert described["ffmpeg"]
    assert described["format_id"]
    whole = layout.root / log["web/-dash_id_x/whole"].media
    assert whole.read_bytes() == (site.clips / "vas_dog_02677.mp4").read_bytes()
    assert not list(layout.root.glob("downloads/*/web/*")), "nothing of the download is left"


def test_a_kept_video_serves_later_windows_without_the_network(
    site: Any, layout: Layout, settings: Settings
) -> None:
    keep = settings(keep_full=True)
    first = fetch_items(layout, [site.item("clip", "v", "0-1000")], keep)
    assert reasons(layout) == {"web/v/0-1000": "ok", "web/v/whole": "ok"}
    assert dict(first.counts) == {"ok": 2}
    site.asked.clear()
    slow = settings(sleep_s=60, sleep_max_s=60)
    began_s = time.monotonic()
    second = fetch_items(layout, [site.item("clip", "v", "1000-2000")], slow)
    assert dict(second.counts) == {"ok": 1}
    assert not site.asked
    assert time.monotonic() - began_s < 30, "no pause where no site is asked"


def test_a_mute_window_is_for_probe_to_judge(site: Any, layout: Layout, settings: Settings) -> None:
    fetch_items(layout, [site.item("clip", "mute", "0-1000", "tfjs_pose_1.mp4")], settings())
    event = read_fetch_log(layout, "web")["web/mute/0-1000"]
    assert event.reason == "ok"
    info = probe_media(
        str(layout.root / event.media), ProbeConfig(), window_length_s=1.0, timeout_s=60
    )
    assert info.audio is None


@pytest.mark.parametrize("status", ["429", "402"])
def test_a_rate_limit_stops_the_run_and_marks_nothing(
    site: Any, layout: Layout, settings: Settings, status: str
) -> None:
    items = [site.item(f"status/{status}", f"v{n}") for n in range(4)]
    summary = fetch_items(layout, items, settings())
    assert (summary.stopped, summary.pending, dict(summary.counts)) == ("rate_limited", 4, {})
    assert "raise sleep_s" in summary.advice
    assert reasons(layout) == {}
    assert site.asked.total() == 1


def test_after_five_failures_of_the_network_in_a_row_the_run_stops(
    layout: Layout, site: Any, settings: Settings
) -> None:
    site.server_close()  # nobody listens there any more
    items = [site.item("clip", f"v{n}") for n in range(12)]
    summary = fetch_items(layout, items, settings(network_failures=5))
    assert (summary.stopped, summary.pending, dict(summary.counts)) == ("network", 12, {})
    assert "Check this machine's network" in summary.advice
    assert "videos_dir" in summary.advice
    assert reasons(layout) == {}
    few = fetch_items(layout, items[:2], settings(network_failures=5))
    assert (few.stopped, few.pending) == ("network", 2), "two of two say as little"


def test_broken_transfers_count_when_the_site_serves_others(
    site: Any, layout: Layout, settings: Settings
) -> None:
    items = [site.item("truncate", f"bad{n}") for n in range(4)]
    items += [site.item("clip", f"good{n}") for n in range(2)]
    summary = fetch_items(layout, items, settings(network_failures=5), rng=random.Random(1))
    assert dict(summary.counts) == {"network": 4, "ok": 2}
    stopped = fetch_items(layout, items, settings(network_failures=3))
    assert (stopped.stopped, stopped.pending) == ("network", 4)
    assert set(read_fetch_attempts(layout, "web").values()) == {0, 1}


def test_a_failing_server_is_asked_again_within_the_run(
    site: Any, layout: Layout, settings: Settings
) -> None:
    summary = fetch_items(layout, [site.item("flaky/2", "v")], settings(retries=2))
    assert dict(summary.counts) == {"ok": 1}
    assert site.asked["v"] == 4


def test_a_broken_transfer_is_continued(site: Any, layout: Layout, settings: Settings) -> None:
    item = site.item("truncate", "v")
    fetch_items(layout, [item], settings())
    (part,) = layout.root.glob("downloads/**/*.part")
    got = part.stat().st_size
    assert got > 0
    site.ranges.clear()
    moved = site.item("clip", "v")
    fetch_items(layout, [moved], settings())
    assert f"bytes={got}-" in site.ranges
    event = read_fetch_log(layout, "web")["web/v/whole"]
    assert event.sha256 == sha256_file(site.clips / "vas_dog_02677.mp4")


def test_a_download_that_takes_too_long_is_given_up(
    site: Any, layout: Layout, settings: Settings
) -> None:
    site.slow_chunk_s = 0.2
    began_s = time.monotonic()
    fetch_items(layout, [site.item("slow", "v")], settings(time_limit_s=0.6))
    assert reasons(layout) == {"web/v/whole": "timeout"}
    assert time.monotonic() - began_s < 3


def test_pauses_are_kept_between_downloads_of_all_processes(
    site: Any, layout: Layout, settings: Settings
) -> None:
    slow = settings(sleep_s=0.4, sleep_max_s=0.5)
    began_s = time.monotonic()
    threads = [
        threading.Thread(target=fetch_items, args=(layout, [site.item("clip", f"v{n}")], slow))
        for n in range(3)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert list(reasons(layout).values()) == ["ok"] * 3
    assert time.monotonic() - began_s >= 0.8, "two pauses between three"


def test_two_runs_of_one_list_download_each_video_once(
    site: Any, layout: Layout, settings: Settings
) -> None:
    items = [site.item("clip", f"v{n}") for n in range(4)]
    summaries: list[FetchSummary] = []

    def work() -> None:
        summaries.append(fetch_items(layout, items, settings()))

    threads = [threading.Thread(target=work) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(s.counts.get("ok", 0) for s in summaries) == 4
    assert [s.pending for s in summaries] == [0, 0]
    assert set(site.asked.values()) == {2}


def test_what_was_left_behind_long_ago_is_swept(
    site: Any, layout: Layout, settings: Settings
) -> None:
    fetch_items(layout, [site.item("truncate", "v")], settings())
    assert sweep(layout) == []
    assert sweep(layout, older_than_s=-1) == [layout.download(host_name(), "web/v/whole")]
    assert part_files(layout) == []


def test_a_machine_without_youtube_is_told_so_quickly(
    layout: Layout, settings: Settings, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from pipeline.datasets.youtube import source_item

    for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")  # the discard port: nobody answers
    items = [source_item(f"-abc_DEF{n:03d}", window_ms=(1000, 11000)) for n in range(20)]
    offline = settings(
        network_failures=5, allowed_extractors="youtube", sleep_s=10, sleep_max_s=20, retries=3
    )
    began_s = time.monotonic()
    summary = fetch_items(layout, items, offline)
    assert (summary.stopped, summary.pending, dict(summary.counts)) == ("network", 20, {})
    assert reasons(layout, "youtube") == {}
    assert time.monotonic() - began_s < 20, "no pauses for a site that was never reached"
