"""A dataset's name, a size and a seed in, the list of clips to make out.

Nothing is drawn or sounded here; the digest of this list names the finished clips. Each clip has a
seed of its own, for its melody and its performers, so that no melody or performer of a training
clip returns in validation or test, or in the other dataset.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from pipeline.datasets.classes import MUSIC21
from pipeline.demo.plan import MusicPlan, clip_seed, duration_of
from pipeline.synthmusic.instruments import MUSIC11, SYNTHMUSIC_VERSION


@dataclass(frozen=True, slots=True, kw_only=True)
class SynthPlan:
    """Every clip of a dataset, and the size and rate of their pictures (square)."""

    dataset: str
    size: str
    soundfont: str
    side_px: int
    fps: int
    clips: tuple[MusicPlan, ...]

    def as_json(self) -> dict[str, Any]:
        """Return JSON values that say everything that the clips depend on."""
        return {"version": SYNTHMUSIC_VERSION, **asdict(self)}


@dataclass(frozen=True, slots=True, kw_only=True)
class _Size:
    side_px: int
    fps: int
    duration_s: tuple[float, float]
    solos: dict[str, int]
    duets: int


_SHORT = (6.2, 6.5)
_DATASETS: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "synthmusic": (MUSIC21, ("cello", "congas", "trumpet")),
    "synthmusic11": (MUSIC11, ("cello", "trumpet", "xylophone")),
}
"""All classes, and the three of the size micro."""

_SIZES: dict[str, dict[str, _Size]] = {
    "synthmusic": {
        "micro": _Size(
            side_px=128, fps=8, duration_s=_SHORT, solos={"train": 1, "val": 1, "test": 1}, duets=1
        ),
        "small": _Size(
            side_px=128,
            fps=8,
            duration_s=_SHORT,
            solos={"train": 12, "val": 2, "test": 4},
            duets=12,
        ),
        "full": _Size(
            side_px=256,
            fps=16,
            duration_s=(10.4, 10.8),
            solos={"train": 24, "val": 3, "test": 8},
            duets=60,
        ),
    },
    "synthmusic11": {
        "micro": _Size(
            side_px=128, fps=8, duration_s=_SHORT, solos={"train": 1, "val": 1, "test": 1}, duets=0
        ),
        "small": _Size(
            side_px=128, fps=8, duration_s=_SHORT, solos={"train": 6, "val": 2, "test": 2}, duets=0
        ),
        "full": _Size(
            side_px=256,
            fps=16,
            duration_s=(10.4, 10.8),
            solos={"train": 24, "val": 3, "test": 8},
            duets=30,
        ),
    },
}
DATASETS = tuple(_SIZES)
SIZES = ("micro", "small", "full")


def plan_synthmusic(dataset: str, size: str, seed: int, *, soundfont: str) -> SynthPlan:
    """Return the clips of one dataset in one size.

    Parameters
    ----------
    dataset
        'synthmusic': MUSIC21's 21 classes. 'synthmusic11': MUSIC's 11, other clips.
    size
        'micro' (three classes, for tests), 'small' (for 2 cores) or 'full' (for a GPU).
    soundfont
        The name of the soundfont's file.

    Raises
    ------
    ValueError
        Another dataset or size.
    """
    if dataset not in _SIZES or size not in SIZES:
        raise ValueError(
            f"{dataset}:{size}: expected one of {', '.join(DATASETS)} in one of the sizes "
            f"{', '.join(SIZES)}"
        )
    every, few = _DATASETS[dataset]
    chosen = _SIZES[dataset][size]
    named = _solos(few if size == "micro" else every, chosen.solos)
    named += _duets(few if size == "micro" else every, chosen.duets)
    return SynthPlan(
        dataset=dataset,
        size=size,
        soundfont=soundfont,
        side_px=chosen.side_px,
        fps=chosen.fps,
        clips=tuple(
            _clip(clip_seed(seed, f"{dataset}/{name}"), name, played, split, chosen.duration_s)
            for name, played, split in named
        ),
    )


_Named = list[tuple[str, tuple[str, ...], str]]


def _solos(classes: tuple[str, ...], counts: dict[str, int]) -> _Named:
    """Return the solos, numbered within each split: a larger size keeps the names of a smaller."""
    return [
        (f"{name}_{split}_{number:02d}", (name,), split)
        for name in classes
        for split, count in counts.items()
        for number in range(count)
    ]


def _duets(classes: tuple[str, ...], count: int) -> _Named:
    """Return `count` duets for training, of two classes each; all classes come up equally often."""
    rng = np.random.default_rng(len(classes))
    pairs: list[tuple[str, str]] = []
    while len(pairs) < count:
        order = [classes[i] for i in rng.permutation(len(classes))]
        fresh = [p for p in zip(order[::2], order[1::2], strict=False) if p not in pairs]
        pairs += fresh
    return [(f"{one}+{other}", (one, other), "train") for one, other in pairs[:count]]


def _clip(
    seed: int, name: str, instruments: tuple[str, ...], split: str, duration_s: tuple[float, float]
) -> MusicPlan:
    return MusicPlan(
        name=name,
        instruments=instruments,
        split=split,
        duration_s=duration_of(seed, *duration_s),
        seed=seed,
    )
