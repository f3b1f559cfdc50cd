"""Which clips there are, what sounds them, and what is said where something is missing."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import asdict
from pathlib import Path

import pytest

from pipeline.datasets.classes import MUSIC21
from pipeline.demo import FINISHED_FILE
from pipeline.failures import EnvironmentBroken, ProgramMissing
from pipeline.synthmusic import SPECS, make_synthmusic
from pipeline.synthmusic.instruments import INSTRUMENTS, MUSIC11
from pipeline.synthmusic.plan import DATASETS, SynthPlan, plan_synthmusic
from pipeline.synthmusic.players import PLAYERS
from pipeline.synthmusic.soundfont import SOUNDFONT, SoundfontMissing, find_soundfont
from storage.atomic import publish_json
from storage.fingerprint import sha256_json
from tasks.context import read_dataset
from tasks.settings import Settings, SettingsError, load_settings

FONT_HEAD = b"RIFF\x04\x00\x00\x00sfbk"
MAPPING_DIGEST = "b016e2522c48"
PLAN_DIGESTS = {"synthmusic": "25db51684516", "synthmusic11": "578d16be2932"}


def plan(dataset: str, size: str, seed: int = 0) -> SynthPlan:
    return plan_synthmusic(dataset, size, seed, soundfont=SOUNDFONT)


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    monkeypatch.chdir(tmp_path)
    return load_settings()


def test_every_class_has_a_voice_and_a_player() -> None:
    assert tuple(INSTRUMENTS) == MUSIC21
    assert set(PLAYERS) == set(MUSIC21)
    assert len(MUSIC11) == 11
    assert len({player for name, player in PLAYERS.items()}) == 21


def test_stand_ins_are_named() -> None:
    named = {name for name, instrument in INSTRUMENTS.items() if instrument.stand_in}
    assert named == {"erhu", "guzheng", "pipa", "ukulele"}


def test_mapping_and_plans_are_frozen() -> None:
    """Where this fails, the output changed: raise SYNTHMUSIC_VERSION and write the new digests."""
    mapping = {name: asdict(instrument) for name, instrument in INSTRUMENTS.items()}
    assert sha256_json(mapping)[:12] == MAPPING_DIGEST
    found = {d: sha256_json(plan(d, "small").as_json())[:12] for d in DATASETS}
    assert found == PLAN_DIGESTS


@pytest.mark.parametrize(
    ("dataset", "size", "classes", "solos", "duets"),
    [
        ("synthmusic", "micro", 3, (1, 1, 1), 1),
        ("synthmusic", "small", 21, (12, 2, 4), 12),
        ("synthmusic", "full", 21, (24, 3, 8), 60),
        ("synthmusic11", "micro", 3, (1, 1, 1), 0),
        ("synthmusic11", "small", 11, (6, 2, 2), 0),
        ("synthmusic11", "full", 11, (24, 3, 8), 30),
    ],
)
def test_sizes(dataset: str, size: str, classes: int, solos: tuple, duets: int) -> None:
    clips = plan(dataset, size).clips
    counts = Counter((c.instruments[0], c.split) for c in clips if len(c.instruments) == 1)
    assert len({name for name, _ in counts}) == classes
    for split, expected in zip(("train", "val", "test"), solos, strict=True):
        assert {n for (_, s), n in counts.items() if s == split} == {expected}
    pairs = [c for c in clips if len(c.instruments) == 2]
    assert len(pairs) == duets
    assert all(c.split == "train" and len(set(c.instruments)) == 2 for c in pairs)
    assert len({c.name for c in clips}) == len(clips)
    assert min(c.duration_s for c in clips) > 6.0


def test_no_melody_or_performer_returns_in_another_clip() -> None:
    seeds = [c.seed for d in DATASETS for size in ("small", "full") for c in plan(d, size).clips]
    assert len(set(seeds)) == len({(d, c.name) for d in DATASETS for s in ("small", "full")
                                   for c in plan(d, s).clips})  # fmt: skip
    one, other = ({c.seed for c in plan("synthmusic", "small", seed).clips} for seed in (0, 1))
    assert one.isdisjoint(other)


def test_small_has_sixty_test_pairs_in_it() -> None:
    tests = [c for c in plan("synthmusic", "small").clips if c.split == "test"]
    assert len(tests) >= 60


def test_an_unknown_size_is_refused(settings: Settings) -> None:
    with pytest.raises(ValueError, match="synthmusic:huge: expected one of"):
        plan("synthmusic", "huge")
    with pytest.raises(SettingsError, match=r"'synthmusic'; expected one of synthmusic:micro"):
        read_dataset("synthmusic", settings)
    assert "synthmusic11:full" in SPECS


def test_a_missing_soundfont_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(SoundfontMissing, match=r"x\.sf2: no such file.*apt-get install.*timgm6mb"):
        find_soundfont(str(tmp_path / "x.sf2"))
    monkeypatch.setattr("pipeline.synthmusic.soundfont.USUAL_PLACES", (str(tmp_path),))
    with pytest.raises(SoundfontMissing, match=r"TimGM6mb\.sf2 is in none of.*apt-get install"):
        make_synthmusic(tmp_path, size="micro")
    (tmp_path / SOUNDFONT).write_bytes(b"")
    with pytest.raises(SoundfontMissing, match=r"is no soundfont: expected a RIFF file"):
        find_soundfont("")
    (tmp_path / SOUNDFONT).write_bytes(FONT_HEAD)
    assert find_soundfont("") == tmp_path / SOUNDFONT


def test_a_missing_program_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    font, programs = tmp_path / "a.sf2", tmp_path / "bin"
    font.write_bytes(FONT_HEAD)
    programs.mkdir()
    (programs / "ffmpeg").write_text("#!/bin/sh\n")
    (programs / "ffmpeg").chmod(0o755)
    monkeypatch.setenv("PATH", str(programs))
    with pytest.raises(ProgramMissing, match=r"fluidsynth.*apt-get install.*timgm6mb-soundfont"):
        make_synthmusic(tmp_path, size="micro", soundfont=str(font))


def test_clips_of_another_soundfont_are_not_mixed_in(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    font = tmp_path / "a.sf2"
    font.write_bytes(FONT_HEAD)
    digest = sha256_json(plan_synthmusic("synthmusic", "micro", 0, soundfont="a.sf2").as_json())
    home = tmp_path / f"synthmusic-micro-{digest[:12]}"
    home.mkdir()
    publish_json(home / "soundfont.json", {"file": "a.sf2", "sha256": "0" * 64})
    monkeypatch.setattr("pipeline.synthmusic.check_programs", lambda: None)
    with pytest.raises(EnvironmentBroken, match=r"begun with another a\.sf2.*remove the folder"):
        make_synthmusic(tmp_path, size="micro", soundfont=str(font))


def test_finished_clips_need_no_soundfont(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = plan("synthmusic", "micro")
    home = tmp_path / f"synthmusic-micro-{sha256_json(made.as_json())[:12]}"
    (home / "music").mkdir(parents=True)
    rows = [f"{c.name}.mp4,{';'.join(c.instruments)},{c.split}" for c in made.clips]
    (home / "music" / "labels.csv").write_text("\n".join(["file,labels,split", *rows]) + "\n")
    for clip in made.clips:
        (home / "music" / f"{clip.name}.mp4").write_bytes(b"a clip")
    (home / FINISHED_FILE).write_text(json.dumps(made.as_json()))
    monkeypatch.setenv("PATH", str(tmp_path))
    read = make_synthmusic(tmp_path, size="micro", soundfont="")
    assert len(read.items) == 10
    assert read.classes == ("congas", "cello", "trumpet")
