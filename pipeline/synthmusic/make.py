"""A plan and a folder in, finished clips in it out; clips that are there are left alone.

`python -m pipeline.synthmusic.make FOLDER DATASET SIZE SEED SOUNDFONT PART PARTS` makes every
PARTS-th clip: a dataset is made by such processes, each of which ends with the one that started it.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

from pipeline.demo.make import run_parts, write_music
from pipeline.demo.music_clip import Band
from pipeline.demo.score import Score
from pipeline.synthmusic.plan import SynthPlan, plan_synthmusic
from pipeline.synthmusic.players import PLAYERS
from pipeline.synthmusic.score import play
from pipeline.synthmusic.sound import render

_TIMEOUT_S = 6 * 3600.0


def make_clips(folder: Path, plan: SynthPlan, *, seed: int, soundfont: Path, jobs: int) -> None:
    """Make every clip of `plan` in `folder`, with `jobs` processes at once.

    Raises
    ------
    ProgramMissing, ProcessFailed, ProcessTimeout
        As `pipeline.process.run`.
    """
    if jobs == 1:
        make_part(folder, plan, soundfont=soundfont, part=0, parts=1)
        return
    arguments = [str(folder), plan.dataset, plan.size, str(seed), str(soundfont)]
    run_parts("pipeline.synthmusic.make", arguments, jobs, timeout_s=_TIMEOUT_S)


def make_part(folder: Path, plan: SynthPlan, *, soundfont: Path, part: int, parts: int) -> None:
    """Make the clips number `part`, `part + parts` ... that are not there yet."""
    band = sampled_band(soundfont)
    for clip in plan.clips[part::parts]:
        path = folder / f"{clip.name}.mp4"
        write_music(path, clip, side_px=plan.side_px, fps=plan.fps, band=band)


def sampled_band(soundfont: Path) -> Band:
    """Return the players of every class, with the sound of `soundfont`."""

    def sound(name: str, score: Score, duration_s: float, _: np.random.Generator) -> np.ndarray:
        return render(name, score, duration_s, soundfont=soundfont)

    return Band(players=PLAYERS, score=play, sound=sound)


def main(arguments: list[str]) -> None:
    """Make one part of a dataset."""
    folder, dataset, size, seed, soundfont, part, parts = arguments
    font = Path(soundfont)
    plan = plan_synthmusic(dataset, size, int(seed), soundfont=font.name)
    make_part(Path(folder), plan, soundfont=font, part=int(part), parts=int(parts))


if __name__ == "__main__":
    main(sys.argv[1:])
