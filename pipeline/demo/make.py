"""A plan and a folder in, finished clips in it out; clips that are there are left alone.

`python -m pipeline.demo.make FOLDER SIZE SEED PART PARTS` makes every PARTS-th clip: the demo is
made by such processes, each of which ends with the process that started it.
"""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np

from pipeline.datasets.folder import ALPHAPOSE_SUFFIX
from pipeline.demo import llp_clip, music_clip
from pipeline.demo.llp_plan import LlpPlan
from pipeline.demo.plan import DemoPlan, MusicPlan, plan_demo
from pipeline.demo.writer import write_alphapose, write_clip
from pipeline.failures import ProgramMissing
from pipeline.process import run

MUSIC, LLP = "music", "llp"
_TIMEOUT_S = 1800.0


def make_clips(folder: Path, *, size: str, seed: int, jobs: int) -> None:
    """Make every clip of a demo below `folder`, with `jobs` processes at once.

    Raises
    ------
    ProgramMissing
        There is no ffmpeg.
    ProcessFailed, ProcessTimeout
        As `pipeline.process.run`.
    """
    if shutil.which("ffmpeg") is None:
        raise ProgramMissing("ffmpeg")
    if jobs == 1:
        make_part(folder, plan_demo(size, seed), part=0, parts=1)
        return
    run_parts("pipeline.demo.make", [str(folder), size, str(seed)], jobs)


def run_parts(
    module: str, arguments: list[str], jobs: int, *, timeout_s: float = _TIMEOUT_S
) -> None:
    """Run `python -m module ARGUMENTS PART PARTS` for each of `jobs` parts, all at once.

    Raises
    ------
    ProcessFailed, ProcessTimeout
        As `pipeline.process.run`.
    """
    command = [sys.executable, "-m", module, *arguments]
    with ThreadPoolExecutor(jobs) as pool:
        started = [
            pool.submit(run, [*command, str(part), str(jobs)], timeout_s=timeout_s)
            for part in range(jobs)
        ]
        for future in started:
            future.result()


def make_part(folder: Path, plan: DemoPlan, *, part: int, parts: int) -> None:
    """Make the clips number `part`, `part + parts` ... that are not there yet."""
    clips: list[Callable[[], None]] = [
        partial(_make_music, folder / MUSIC / f"{clip.name}.mp4", clip, plan) for clip in plan.music
    ]
    clips += [
        partial(_make_llp, folder / LLP / f"{clip.name}.mp4", clip, plan) for clip in plan.llp
    ]
    for make in clips[part::parts]:
        make()


def _make_music(path: Path, clip: MusicPlan, plan: DemoPlan) -> None:
    write_music(path, clip, side_px=plan.side_px, fps=plan.music_fps)


def write_music(
    path: Path,
    clip: MusicPlan,
    *,
    side_px: int,
    fps: int,
    band: music_clip.Band = music_clip.DEMO_BAND,
) -> None:
    """Write the joints and then the clip, unless it is there: then its joints lie beside it."""
    if path.exists():
        return
    staged = music_clip.stage(clip, side_px=side_px, fps=fps, band=band)
    joints_px = np.stack([performer.joints_px() for performer in staged.performers])
    beside = path.with_name(path.stem + ALPHAPOSE_SUFFIX)
    write_alphapose(beside, joints_px, np.random.default_rng([clip.seed, 1]))
    write_clip(path, staged.frames(), staged.sound, fps=fps)


def _make_llp(path: Path, clip: LlpPlan, plan: DemoPlan) -> None:
    if path.exists():
        return
    staged = llp_clip.stage(clip, side_px=plan.side_px, fps=plan.llp_fps)
    write_clip(path, staged.frames(), staged.sound, fps=plan.llp_fps)


def main(arguments: list[str]) -> None:
    """Make one part of a demo."""
    folder, size, seed, part, parts = arguments
    make_part(Path(folder), plan_demo(size, int(seed)), part=int(part), parts=int(parts))


if __name__ == "__main__":
    main(sys.argv[1:])
