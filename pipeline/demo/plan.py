"""A size and a seed in, the list of clips to make out: names, splits, seeds, events.

Nothing is drawn or sounded here; the digest of this list names the finished demo.
"""

from __future__ import annotations

import zlib
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from pipeline.datasets.classes import MUSIC21
from pipeline.demo.llp_plan import LlpPlan, plan_llp

DEMO_VERSION = 1
"""Raised when the same seed gives other clips."""

INSTRUMENTS = ("flute", "drum", "acoustic_guitar", "xylophone", "tuba", "violin")
_DUETS = (
    ("flute", "drum"),
    ("acoustic_guitar", "tuba"),
    ("xylophone", "violin"),
    ("flute", "acoustic_guitar"),
    ("drum", "violin"),
    ("xylophone", "tuba"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class MusicPlan:
    """One clip of one or two performers, from left to right."""

    name: str
    instruments: tuple[str, ...]
    split: str
    duration_s: float
    seed: int


@dataclass(frozen=True, slots=True, kw_only=True)
class DemoPlan:
    """Every clip of a demo, and the size and rate of their pictures.

    Pictures are square: networks see the centre, 224 of 256 pixels, so nothing may be at the sides.
    """

    size: str
    side_px: int
    music_fps: int
    llp_fps: int
    music: tuple[MusicPlan, ...]
    llp: tuple[LlpPlan, ...]

    def as_json(self) -> dict[str, Any]:
        """Return JSON values that say everything that the clips depend on."""
        return {"version": DEMO_VERSION, **asdict(self)}


def plan_demo(size: str, seed: int) -> DemoPlan:
    """Return the clips of `size`, 'demo' or 'micro'.

    Raises
    ------
    ValueError
        Another size.
    """
    if size == "demo":
        counts = {"train": 8, "val": 1, "test": 2}
        return DemoPlan(
            size=size,
            side_px=256,
            music_fps=16,
            llp_fps=8,
            music=_music(seed, INSTRUMENTS, counts, _DUETS, (10.5, 12.0)),
            llp=plan_llp(seed),
        )
    if size == "micro":
        counts = {"train": 1, "val": 1, "test": 1}
        return DemoPlan(
            size=size,
            side_px=128,
            music_fps=8,
            llp_fps=8,
            music=_music(seed, ("drum", "tuba", "violin"), counts, _DUETS[4:5], (6.2, 6.5)),
            llp=plan_llp(seed, few=True),
        )
    raise ValueError(f"demo size {size!r}: expected 'demo' or 'micro'")


def clip_seed(seed: int, name: str) -> int:
    """Return the seed of one clip: it depends on the clip's name, not on its place in the list."""
    return zlib.crc32(f"{seed}/{name}".encode())


def _music(
    seed: int,
    instruments: tuple[str, ...],
    counts: dict[str, int],
    duets: tuple[tuple[str, str], ...],
    duration_s: tuple[float, float],
) -> tuple[MusicPlan, ...]:
    splits = [split for split, count in counts.items() for _ in range(count)]
    named: list[tuple[str, tuple[str, ...], str]] = [
        (f"{instrument}_{number:02d}", (instrument,), split)
        for instrument in sorted(instruments, key=MUSIC21.index)
        for number, split in enumerate(splits)
    ]
    named += [("+".join(duet), duet, "train") for duet in duets]
    return tuple(
        MusicPlan(
            name=name,
            instruments=played,
            split=split,
            duration_s=duration_of(clip_seed(seed, name), *duration_s),
            seed=clip_seed(seed, name),
        )
        for name, played, split in named
    )


def duration_of(seed: int, shortest_s: float, longest_s: float) -> float:
    """Return the length of the clip with this seed, seconds, between two bounds."""
    return round(float(np.random.default_rng(seed).uniform(shortest_s, longest_s)), 2)
