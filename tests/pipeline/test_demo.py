"""The built-in dataset: made once, the same from the same seed, whole after a kill."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest

from pipeline.datasets.base import Dataset
from pipeline.datasets.recipes import default_recipe
from pipeline.demo import make_demo
from pipeline.demo.make import make_part
from pipeline.demo.plan import DemoPlan, plan_demo
from pipeline.failures import ProgramMissing


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("demo")


@pytest.fixture(scope="module")
def micro(folder: Path) -> Dataset:
    return make_demo(folder, size="micro", jobs=1)


def digests(folder: Path) -> dict[str, str]:
    files = (path for path in sorted(folder.rglob("*")) if path.is_file())
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in files
    }


def written(folder: Path) -> dict[Path, tuple[int, int]]:
    return {p: (p.stat().st_ino, p.stat().st_mtime_ns) for p in folder.rglob("*")}


def first_clips(plan: DemoPlan, count: int) -> DemoPlan:
    return DemoPlan(
        size=plan.size,
        side_px=plan.side_px,
        music_fps=plan.music_fps,
        llp_fps=plan.llp_fps,
        music=plan.music[:count],
        llp=plan.llp[:count],
    )


def test_every_split_of_both_parts_has_clips(micro):
    counts = Counter((s.item.tasks, s.item.split) for s in micro.items)
    assert set(counts) == {
        (t, s) for t in (("tribert",), ("avvp",)) for s in ("train", "val", "test")
    }
    assert micro.preset["pose"] == {"backend": "alphapose-json"}
    assert default_recipe(micro)[0] == "all"


def test_held_out_solos_are_of_several_classes(micro):
    for split in ("val", "test"):
        solos = {s.item.labels for s in micro.serving("tribert") if s.item.split == split}
        assert len(solos) >= 2
        assert all(len(labels) == 1 for labels in solos)


def test_only_held_out_clips_have_dense_events(micro):
    for source_item in micro.serving("avvp"):
        item = source_item.item
        assert item.labels
        assert (item.events is None) == (item.split == "train")
        assert {e.label for e in item.events or ()} <= set(item.labels)


def test_music_clips_have_poses_beside_them(micro):
    for source_item in micro.items:
        assert source_item.path is not None
        assert source_item.path.is_file()
        assert ("alphapose" in source_item.sidecars) == (source_item.item.tasks == ("tribert",))


def test_clips_have_picture_and_sound_of_one_length(micro):
    for source_item in (micro.items[0], micro.items[-1]):
        shown = subprocess.run(
            ["ffprobe", "-v", "error", "-show_streams", "-of", "json", str(source_item.path)],
            capture_output=True,
            check=True,
        )
        video, audio = json.loads(shown.stdout)["streams"]
        assert (video["codec_name"], audio["codec_name"]) == ("h264", "aac")
        assert float(video["duration"]) == pytest.approx(float(audio["duration"]), abs=0.15)


def test_a_finished_demo_is_only_read(micro, folder):
    before = written(folder)
    assert make_demo(folder, size="micro") == micro
    assert written(folder) == before


def test_the_same_seed_gives_the_same_bytes(tmp_path):
    plan = first_clips(plan_demo("micro", 0), 1)
    for name in ("one", "two"):
        (tmp_path / name / "music").mkdir(parents=True)
        (tmp_path / name / "llp").mkdir()
        make_part(tmp_path / name, plan, part=0, parts=1)
    assert digests(tmp_path / "one") == digests(tmp_path / "two")


def test_another_seed_gives_other_clips():
    one, other = plan_demo("demo", 0), plan_demo("demo", 1)
    assert {c.seed for c in one.music}.isdisjoint(c.seed for c in other.music)
    assert [c.events for c in one.llp] != [c.events for c in other.llp]


def test_seeds_of_clips_differ():
    plan = plan_demo("demo", 0)
    seeds = [clip.seed for clip in (*plan.music, *plan.llp)]
    assert len(set(seeds)) == len(seeds)


@pytest.mark.slow
def test_a_killed_demo_goes_on_and_ends_the_same(micro, folder, tmp_path):
    script = (
        "import sys, pathlib, pipeline.demo\n"
        "pipeline.demo.make_demo(pathlib.Path(sys.argv[1]), size='micro')"
    )
    command = [sys.executable, "-c", script, str(tmp_path)]
    process = subprocess.Popen(command, start_new_session=True)
    deadline = time.monotonic() + 60
    while not list(tmp_path.rglob("*.mp4")) and time.monotonic() < deadline:
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not list(tmp_path.rglob("finished.json"))
    deadline = time.monotonic() + 10
    while _running(str(tmp_path)) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not _running(str(tmp_path))
    make_demo(tmp_path, size="micro")
    assert digests(tmp_path) == digests(folder)


def _running(text: str) -> list[str]:
    """Return the command lines of processes that mention `text`."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            try:
                command = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode()
            except OSError:
                continue
            if text in command:
                found.append(command)
    return found


def test_an_unknown_size_is_refused(tmp_path):
    with pytest.raises(ValueError, match="'demo' or 'micro'"):
        make_demo(tmp_path, size="huge")


def test_a_missing_ffmpeg_is_named(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ProgramMissing, match=r"ffmpeg.*install"):
        make_demo(tmp_path, size="micro")


def test_naming_the_demo_does_not_load_what_draws_it():
    script = "import sys, pipeline.demo, pipeline.datasets.folder; print(*sys.modules)"
    shown = subprocess.run([sys.executable, "-c", script], capture_output=True, check=True)
    loaded = set(shown.stdout.decode().split())
    assert loaded.isdisjoint({"cv2", "torch", "lightning", "mediapipe", "dask"})
