"""What is on in a clip in, rows of the three stages out: float32, non-negative like the real ones.

A class has a direction in each stage's space. A second's row is a level, plus the directions of
what is on at their strength in this clip, plus directions of classes that are not there (what looks
or sounds a little like them), plus white noise; cut at zero, as after a ReLU.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import lru_cache
from typing import Any

import numpy as np

from pipeline.npy_features import FOLDERS
from pipeline.synthllp.plan import SynthClip


@dataclass(frozen=True, slots=True, kw_only=True)
class Difficulty:
    """How hard one stage's rows are; strengths are in units of a mean event's.

    Chosen so that the published network lands between 45 and 75 on segment-level Type@AV.
    """

    spread: float
    """deviation of the logarithm of an event's strength over clips"""
    alike: float
    """deviation of every class's strength over clips, whether it is there or not"""
    flicker: float
    """deviation of every class's strength over the seconds of a clip"""
    white: float
    """deviation of a value that has nothing to do with any class, by the level of a row"""


LEVEL, STRENGTH = 0.5, 0.5
"""Of a row's values: their mean without events, and the deviation that an event adds."""

DIFFICULTY: Mapping[str, Difficulty] = {
    "vggish": Difficulty(spread=0.3, alike=0.15, flicker=0.2, white=0.5),
    "resnet152": Difficulty(spread=0.3, alike=0.2, flicker=0.25, white=0.5),
    "r2plus1d": Difficulty(spread=0.3, alike=0.2, flicker=0.25, white=0.5),
}


def described() -> dict[str, Any]:
    """Return the numbers that rows are drawn with, as JSON takes them."""
    hard = {stage: asdict(difficulty) for stage, difficulty in DIFFICULTY.items()}
    return {"level": LEVEL, "strength": STRENGTH, "difficulty": hard}


@lru_cache(maxsize=8)
def directions(stage: str, classes: int, seed: int) -> np.ndarray:
    """Return each class's direction, float32 (classes, width), of deviation 1."""
    rng = np.random.default_rng([seed, zlib.crc32(stage.encode())])
    return rng.standard_normal((classes, FOLDERS[stage].width), np.float32)


def rows_of(clip: SynthClip, stage: str, *, seed: int) -> np.ndarray:
    """Return one clip's rows, float32 (rows, width) in the published layout of `stage`.

    The same clip and seed give the same rows, in whatever order and store.
    """
    folder, hard = FOLDERS[stage], DIFFICULTY[stage]
    on = clip.on[0 if stage == "vggish" else 1].T.astype(np.float32)
    video = clip.item_id.partition("/")[2]
    rng = np.random.default_rng([seed, zlib.crc32(f"{stage}/{video}".encode())])
    seconds, classes = on.shape
    strength = np.exp(hard.spread * rng.standard_normal(classes, np.float32))
    level = hard.alike * rng.standard_normal(classes, np.float32)
    flicker = hard.flicker * rng.standard_normal((seconds, classes), np.float32)
    present = on * strength + level + flicker
    second = LEVEL + STRENGTH * present @ directions(stage, classes, seed)
    rows = np.repeat(second, folder.rows // seconds, axis=0)
    rows += LEVEL * hard.white * rng.standard_normal(rows.shape, np.float32)
    return np.maximum(rows, 0, out=rows).astype(np.float32, copy=False)
