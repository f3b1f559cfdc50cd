"""How retrieval is trained and judged: frozen settings and presets. Loads no torch.

In: a preset's name, or the JSON of a job. Out: a `Config`, part of a scorer's fingerprint, and an
`EvaluationConfig`, part of an evaluation's (TriBERT section 4.2; tribert.md section 8).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from model.settings import ConfigError, Settings
from model.tribert.config import SPECTROGRAM_STAGES

RECIPE = "retrieval"
RECIPE_VERSION = 1
EVALUATION_VERSION = 2
"""Raised when the figures change for the same models and settings, or what is kept beside them."""

stages_needed = SPECTROGRAM_STAGES["stored"]

VARIANTS: dict[str, tuple[tuple[str, ...], str]] = {
    "audio_to_vision": (("audio",), "vision"),
    "vision_to_audio": (("vision",), "audio"),
    "audio_to_pose": (("audio",), "pose"),
    "pose_to_audio": (("pose",), "audio"),
    "vision_audio_to_pose": (("vision", "audio"), "pose"),
}
"""Name -> the streams of the query, and the stream that is looked for."""

PRINTED = {
    "audio_to_vision": {"transformer": (68.10, 93.81, 98.57), "input": (1.43, 10.48, 17.62)},
    "vision_to_audio": {"transformer": (59.52, 89.52, 92.38), "input": (4.76, 18.57, 31.90)},
    "audio_to_pose": {"transformer": (63.81, 86.67, 94.29), "input": (2.38, 6.67, 10.95)},
    "pose_to_audio": {"transformer": (54.29, 85.24, 86.67), "input": (1.90, 9.05, 14.29)},
    "vision_audio_to_pose": {"transformer": (54.29, 90.00, 96.19), "input": (3.33, 9.05, 15.24)},
}
"""TriBERT Table 3: top-1, 5 and 10 in percent over a pool of 210, as the paper prints them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Config(Settings):
    """The defaults are the paper's; sizes of the scorer are those of the published code."""

    section = "retrieval"

    tribert: str = ""
    """name of the published TriBERT that the embeddings come from"""
    embedding: Literal["transformer", "input"] = "transformer"
    """the streams' outputs, or (the paper's baseline) what goes into them"""
    protocol: Literal["joint", "alone"] = "joint"
    """joint: one pass over all streams, as in the paper, so that each stream's output has already
    attended to the two others of its own video; alone: each stream with the others set to zero"""
    variants: tuple[str, ...] = tuple(VARIANTS)
    ways: int = 3
    """candidates of a training choice, the right one among them; the others are hard"""
    pair_ways: int = 4
    """the same for queries of two streams, with one hard candidate and otherwise random ones"""
    neighbours: int = 24
    """hard candidates are drawn from so many nearest neighbours by what is seen"""
    pair_skips: int = 2
    """nearest neighbours left out for queries of two streams"""
    hidden: tuple[int, ...] = (4096, 2048, 1024)
    """widths between the product of query and candidate, and the score"""
    standardise: bool = False
    """scale every feature to mean 0 and deviation 1 over the training clips"""
    batch_size: int = 64
    max_steps: int = 10_500
    """750 epochs of 840 clips"""
    val_every_steps: int = 350
    learning_rate: float = 2e-5

    def __post_init__(self) -> None:
        self.require_at_least(1, "neighbours", "batch_size", "max_steps", "val_every_steps")
        self.require_at_least(2, "ways", "pair_ways")
        self.require_at_least(0, "pair_skips")
        if unknown := sorted(set(self.variants) - set(VARIANTS)):
            raise ConfigError(
                f"retrieval.variants: no variant {unknown}; expected some of {list(VARIANTS)}"
            )
        if not self.variants:
            raise ConfigError(f"retrieval.variants: empty; expected some of {list(VARIANTS)}")
        if self.embedding == "input" and self.protocol == "alone":
            raise ConfigError(
                "retrieval.protocol='alone' with embedding='input': before the transformer no "
                "stream has met another, so both protocols are one; set protocol to 'joint'"
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class EvaluationConfig(Settings):
    """How ranks become figures."""

    section = "retrieval_evaluation"

    resamples: int = 2000
    """bootstrap draws of the 95 % intervals"""
    seed: int = 0
    examples: int = 3
    """queries of each row whose nearest candidates are listed"""
    shown: int = 5
    """candidates listed"""

    def __post_init__(self) -> None:
        self.require_at_least(1, "resamples", "shown")
        self.require_at_least(0, "examples")


presets: dict[str, Config] = {
    "tiny": Config(
        hidden=(128, 64),
        standardise=True,
        batch_size=32,
        max_steps=400,
        val_every_steps=50,
        learning_rate=1e-3,
    ),
    "paper": Config(),
}


def steps_override(max_steps: int) -> dict[str, Any]:
    """Return the settings that end a training after `max_steps` steps."""
    quarter, rest = divmod(max_steps, 4)
    return {
        "max_steps": max_steps,
        "val_every_steps": quarter if quarter and not rest else max_steps,
    }
