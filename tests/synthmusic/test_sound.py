"""Sampled instruments: each sounds, at one level, at its pitch, and the same on repeat."""

from __future__ import annotations

import hashlib
import importlib.util
import shutil
import subprocess
import sys
import time
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from pipeline.datasets.base import Dataset
from pipeline.datasets.classes import MUSIC21
from pipeline.datasets.recipes import default_recipe
from pipeline.demo.score import Note
from pipeline.demo.timbre import LOUDNESS_RMS, RATE_HZ
from pipeline.failures import EnvironmentBroken
from pipeline.synthmusic import make_synthmusic
from pipeline.synthmusic.make import make_part
from pipeline.synthmusic.plan import SynthPlan, plan_synthmusic
from pipeline.synthmusic.score import play
from pipeline.synthmusic.sound import render
from pipeline.synthmusic.soundfont import SoundfontMissing, find_soundfont
from tasks.context import read_dataset
from tasks.settings import load_settings


@pytest.fixture(scope="module")
def soundfont() -> Path:
    for program in ("fluidsynth", "ffmpeg"):
        if shutil.which(program) is None:
            pytest.skip(f"no {program} on the PATH (apt-get install {program})")
    if importlib.util.find_spec("mido") is None:
        pytest.skip("the Python package mido is not installed")
    try:
        return find_soundfont("")
    except SoundfontMissing as missing:
        pytest.skip(str(missing))


@pytest.fixture(scope="module")
def micro(soundfont: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Dataset]:
    folder = tmp_path_factory.mktemp("demo")
    return folder, make_synthmusic(folder / "synthmusic", size="micro", jobs=1)


def digests(folder: Path) -> dict[str, str]:
    return {p.name: hashlib.sha256(p.read_bytes()).hexdigest() for p in folder.glob("*.*")}


@pytest.mark.parametrize("name", MUSIC21)
def test_every_instrument_sounds_at_one_level_and_the_same_twice(
    soundfont: Path, name: str
) -> None:
    score = play(name, 3.0, np.random.default_rng(1))
    once, again = (render(name, score, 3.0, soundfont=soundfont) for _ in range(2))
    assert once.shape == (3 * RATE_HZ,)
    assert once.dtype == np.float32
    assert np.array_equal(once, again)
    assert np.sqrt(np.mean(once**2)) == pytest.approx(LOUDNESS_RMS, rel=0.1)
    quiet = once[: round(max(score[0].onset_s - 0.02, 0.0) * RATE_HZ)]
    assert np.abs(quiet).max(initial=0.0) < 0.01 * np.abs(once).max()


@pytest.mark.parametrize("name", ["flute", "cello", "trumpet", "pipa"])
def test_the_pitch_is_the_notes(soundfont: Path, name: str) -> None:
    note = Note(onset_s=0.1, duration_s=1.4, pitch=69, strength=0.9, height=0.5)
    sound = render(name, (note,), 1.5, soundfont=soundfont)
    spectrum = np.abs(np.fft.rfft(sound * np.hanning(len(sound))))
    hz = np.fft.rfftfreq(len(sound), 1 / RATE_HZ)
    near = [spectrum[np.abs(hz - 440 * 2**k) < 12].max() for k in range(2)]
    assert max(near) > 0.5 * spectrum.max()


def test_what_is_no_soundfont_is_named(soundfont: Path, tmp_path: Path) -> None:
    font = tmp_path / "empty.sf2"
    font.write_bytes(b"RIFF\x04\x00\x00\x00sfbk")
    note = Note(onset_s=0.1, duration_s=0.4, pitch=69, strength=0.9, height=0.5)
    with pytest.raises(EnvironmentBroken, match=r"empty\.sf2 gives no sound for flute.*apt-get"):
        render("flute", (note,), 1.0, soundfont=font)


def test_micro_is_whole(micro: tuple[Path, Dataset]) -> None:
    _, made = micro
    counts = Counter(
        (s.item.labels[0], s.item.split) for s in made.items if len(s.item.labels) == 1
    )
    assert set(counts.values()) == {1}
    assert len(counts) == 9
    assert {s.item.tasks for s in made.items} == {("tribert",)}
    assert all(s.path is not None and s.path.is_file() and "alphapose" in s.sidecars
               for s in made.items)  # fmt: skip
    assert made.preset == {"pose": {"backend": "alphapose-json"}}
    assert default_recipe(made)[0] == "tribert"


def test_the_command_line_name_reads_what_is_made(micro: tuple[Path, Dataset]) -> None:
    folder, made = micro
    before = {p: p.stat().st_mtime_ns for p in folder.rglob("*")}
    settings = load_settings()
    read = read_dataset(
        "synthmusic:micro", replace(settings, run=replace(settings.run, demo_dir=str(folder)))
    )
    assert read.name == "synthmusic:micro"
    assert read.items == made.items
    assert {p: p.stat().st_mtime_ns for p in folder.rglob("*")} == before


def test_a_clip_made_again_has_the_same_bytes(
    micro: tuple[Path, Dataset], soundfont: Path, tmp_path: Path
) -> None:
    folder, _ = micro
    plan = plan_synthmusic("synthmusic", "micro", 0, soundfont=soundfont.name)
    few = SynthPlan(
        dataset=plan.dataset,
        size=plan.size,
        soundfont=plan.soundfont,
        side_px=plan.side_px,
        fps=plan.fps,
        clips=(plan.clips[0], plan.clips[-1]),
    )
    make_part(tmp_path, few, soundfont=soundfont, part=0, parts=1)
    first = digests(next(folder.glob("synthmusic/*/music")))
    again = digests(tmp_path)
    assert len(again) == 4
    assert again.items() <= first.items()


@pytest.mark.slow
def test_a_killed_making_goes_on_and_ends_the_same(
    micro: tuple[Path, Dataset], tmp_path: Path
) -> None:
    script = (
        "import sys, pathlib, pipeline.synthmusic as made\n"
        "made.make_synthmusic(pathlib.Path(sys.argv[1]), size='micro')"
    )
    process = subprocess.Popen([sys.executable, "-c", script, str(tmp_path)])
    deadline = time.monotonic() + 60
    while not list(tmp_path.rglob("*.mp4")) and time.monotonic() < deadline:
        time.sleep(0.02)
    process.kill()
    process.wait()
    assert not list(tmp_path.rglob("finished.json"))
    first = {p.name: p.stat().st_ino for p in tmp_path.rglob("*.mp4")}
    make_synthmusic(tmp_path, size="micro", jobs=2)
    whole = digests(next(micro[0].glob("synthmusic/*/music")))
    assert digests(next(tmp_path.glob("*/music"))) == whole
    after = {p.name: p.stat().st_ino for p in tmp_path.rglob("*.mp4")}
    assert first
    assert first.items() <= after.items()
