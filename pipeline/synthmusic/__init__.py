"""A folder, a dataset's name and a size in, the benchmark's clips out: made where they are needed.

Solos and duets of the demo's animated performers for all 21 instrument classes, with the sound of
sampled instruments (FluidSynth and a General MIDI soundfont). Nothing of it is stored here.
"""

from __future__ import annotations

import json
import logging
from pathlib import Path

from pipeline.datasets.base import Dataset
from pipeline.datasets.classes import order_classes
from pipeline.datasets.folder import read_folder
from pipeline.datasets.labels import LABELS_FILE
from pipeline.demo import FINISHED_FILE, publish_csv, serving
from pipeline.failures import EnvironmentBroken
from pipeline.synthmusic.instruments import INSTRUMENTS
from pipeline.synthmusic.plan import DATASETS, SIZES, SynthPlan, plan_synthmusic
from pipeline.synthmusic.soundfont import check_programs, find_soundfont, soundfont_name
from storage.atomic import publish_json, sweep_temp
from storage.fingerprint import sha256_file, sha256_json

logger = logging.getLogger(__name__)

SOUNDFONT_FILE = "soundfont.json"
SPECS = tuple(f"{dataset}:{size}" for dataset in DATASETS for size in SIZES)
"""The names that `--dataset` takes."""


def make_synthmusic(
    folder: Path,
    *,
    dataset: str = "synthmusic",
    size: str = "small",
    seed: int = 0,
    soundfont: str = "",
    jobs: int = 2,
) -> Dataset:
    """Return a dataset of synthetic music, making below `folder` what is not there yet.

    The clips lie in `folder/<dataset>-<size>-<digest>`, where the digest covers their plan and the
    name of the soundfont. Finished ones are only read, and need neither FluidSynth nor soundfont.
    Killed at any moment, a later call goes on with the next clip.

    Parameters
    ----------
    dataset, size
        As `plan_synthmusic` describes them.
    soundfont
        A General MIDI soundfont (.sf2); '' for TimGM6mb.sf2 in the usual places.
    jobs
        Processes that make clips at the same time.

    Raises
    ------
    ValueError
        Another dataset or size.
    SoundfontMissing, ProgramMissing, EnvironmentBroken
        The soundfont, ffmpeg, fluidsynth or mido is missing; or clips in the folder were begun
        with another soundfont of the same name.
    ProcessFailed, ProcessTimeout
        A program fails.
    """
    plan = plan_synthmusic(dataset, size, seed, soundfont=soundfont_name(soundfont))
    home = folder / f"{dataset}-{size}-{sha256_json(plan.as_json())[:12]}"
    if not (home / FINISHED_FILE).is_file():
        _make(home, plan, seed=seed, soundfont=find_soundfont(soundfont), jobs=jobs)
    read = read_folder(home / "music", source=f"{dataset}-{size}")
    return Dataset(
        name=f"{dataset}-{size}",
        items=tuple(serving("tribert", read.items)),
        classes=order_classes(read.classes),
        notes=("synthetic clips made by this package, with sampled instruments", *_stand_ins(plan)),
        preset={"pose": {"backend": "alphapose-json"}},
    )


def _stand_ins(plan: SynthPlan) -> tuple[str, ...]:
    played = {name for clip in plan.clips for name in clip.instruments}
    named = [f"{n} by {i.stand_in}" for n, i in INSTRUMENTS.items() if i.stand_in and n in played]
    return (f"General MIDI's stand-ins are heard: {', '.join(named)}",) if named else ()


def _make(home: Path, plan: SynthPlan, *, seed: int, soundfont: Path, jobs: int) -> None:
    check_programs()
    from pipeline.synthmusic.make import make_clips  # draws and encodes: OpenCV and ffmpeg

    clips = home / "music"
    clips.mkdir(parents=True, exist_ok=True)
    _note_soundfont(home, soundfont)
    logger.info("making %d clips of %s:%s in %s", len(plan.clips), plan.dataset, plan.size, home)
    make_clips(clips, plan, seed=seed, soundfont=soundfont, jobs=jobs)
    rows = [[f"{clip.name}.mp4", ";".join(clip.instruments), clip.split] for clip in plan.clips]
    publish_csv(clips / LABELS_FILE, [["file", "labels", "split"], *rows])
    sweep_temp(clips, 0)
    publish_json(home / FINISHED_FILE, plan.as_json())


def _note_soundfont(home: Path, soundfont: Path) -> None:
    """Record which soundfont the clips in `home` are made with; refuse to go on with another."""
    found = {"file": soundfont.name, "sha256": sha256_file(soundfont)}
    publish_json(home / SOUNDFONT_FILE, found)
    begun = json.loads((home / SOUNDFONT_FILE).read_text(encoding="utf-8"))
    if begun != found:
        raise EnvironmentBroken(
            f"{home}: its clips were begun with another {soundfont.name} (sha256 "
            f"{begun['sha256'][:12]}, now {found['sha256'][:12]}): set [soundstage] soundfont to "
            "that file, or remove the folder to make all clips anew"
        )
