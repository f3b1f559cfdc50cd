"""Downloads that are killed at random moments, and a disk that fills, lose and invent nothing."""

from __future__ import annotations

import json
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from pipeline.download.config import FetchSettings
from pipeline.download.queue import fetch_items
from storage.fingerprint import sha256_file
from storage.layout import Layout, open_store
from storage.outcomes import read_fetch_history, read_fetch_log

CLIPS = ("vas_dog_02677.mp4", "tfjs_pose_1.mp4", "androidx_sample.mp4")
KILLS = 5
Settings = Callable[..., FetchSettings]
WORKER = """
import json, sys
from dataclasses import asdict
from pipeline.datasets.base import SourceItem
from pipeline.download.config import FetchSettings
from pipeline.download.queue import fetch_items
from storage.layout import open_store
from storage.records import DatasetItem

root, settings, items = json.loads(sys.argv[1])
summary = fetch_items(
    open_store(root, create=True),
    [SourceItem(item=DatasetItem(item_id=i), path=None, url=u) for i, u in items],
    FetchSettings(**settings),
)
print(json.dumps(asdict(summary)))
"""


def command(layout: Layout, settings: FetchSettings, items: list[Any]) -> list[str]:
    values = {name: getattr(settings, name) for name in FetchSettings.__slots__}
    pairs = [(entry.item.item_id, entry.url) for entry in items]
    return [sys.executable, "-c", WORKER, json.dumps([str(layout.root), values, pairs])]


def check_everything(layout: Layout, items: list[Any]) -> None:
    """Every item is there once, whole, and nothing else is."""
    history = read_fetch_history(layout, "web")
    assert sorted(history) == sorted(entry.item.item_id for entry in items)
    assert {e.reason for events in history.values() for e in events} == {"ok"}
    assert all(len(events) == 1 for events in history.values()), "nothing was done twice"
    known = set()
    for (event,) in history.values():
        path = layout.root / event.media
        assert sha256_file(path) == event.sha256
        assert json.loads(path.with_name(path.name + ".json").read_text())["url"] == event.origin
        known |= {path, path.with_name(path.name + ".json")}
    files = {p for p in (layout.root / "media").rglob("*") if p.is_file()}
    assert {p for p in files - known if not p.name.startswith(".tmp-")} == set()


def killed_underway(argv: list[str], site: Any, rng: random.Random) -> bool:
    """Start a run and kill it somewhat after some bytes; False when it ended before."""
    enough = site.served.total() + rng.randrange(10_000, 130_000)
    process = subprocess.Popen(argv, stdout=subprocess.PIPE)
    while process.poll() is None and site.served.total() < enough:
        time.sleep(0.005)
    time.sleep(rng.choice([0.0, 0.05, 0.3]))
    process.kill()
    process.communicate()
    return process.returncode == -signal.SIGKILL


def test_kills_at_random_moments_lose_nothing(
    site: Any, layout: Layout, settings: Settings
) -> None:
    site.slow_chunk_s = 0.03
    items = []
    for number, clip in enumerate(CLIPS):
        items.append(site.item("slow", f"-v{number}", "whole", clip))
        items.append(site.item("slow", f"-v{number}", "200-900", clip))
    rng = random.Random(1)
    argv = command(layout, settings(), items)
    kills = 0
    while kills < KILLS and killed_underway(argv, site, rng):
        kills += 1
    assert kills >= 2
    done = subprocess.run(argv, capture_output=True, text=True, timeout=60, check=True)
    assert json.loads(done.stdout)["pending"] == 0
    check_everything(layout, items)
    whole = read_fetch_log(layout, "web")["web/-v0/whole"]
    assert whole.sha256 == sha256_file(site.clips / CLIPS[0])
    assert fetch_items(layout, items, settings()).counts == {}


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=400k", "tmpfs", str(folder)]
    done = subprocess.run(mount, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"no small disk can be mounted here: {done.stderr.strip()}")
    yield folder
    time.sleep(0.05)
    subprocess.run(["umount", "-l", str(folder)], check=True)


def test_a_full_disk_stops_the_run_and_nothing_half_written_counts(
    site: Any, small_disk: Path, settings: Settings
) -> None:
    layout = open_store(small_disk / "store", create=True)
    items = [
        site.item("clip", "large", "whole", "stream_of_water.mp4"),
        site.item("clip", "larger", "whole", "chaplin.mp4"),
        site.item("clip", "largest", "0-1000", "flower.mp4"),
    ]
    summary = fetch_items(layout, items, settings())
    assert summary.stopped == "disk_full"
    assert "Free some space" in summary.advice
    log = read_fetch_log(layout, "web")
    assert {event.reason for event in log.values()} <= {"ok"}
    assert summary.pending == len(items) - len(log)
    assert summary.pending >= 2
    for event in log.values():
        assert sha256_file(layout.root / event.media) == event.sha256
    media = [p for p in (layout.root / "media").rglob("*") if p.is_file()]
    assert len(media) == 2 * len(log)

    subprocess.run(["mount", "-o", "remount,size=16m", str(small_disk)], check=True)
    assert fetch_items(layout, items, settings()).pending == 0
    check_everything(layout, items)
