"""How a trained TriBERT is evaluated: light settings, part of an evaluation's fingerprint.

In: the `configuration` of an `EvaluateJob`. Out: an `EvaluationConfig`. No torch.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from model.settings import ConfigError, Settings

ORACLES = ("dominant", "half", "ratio")


@dataclass(frozen=True, slots=True, kw_only=True)
class EvaluationConfig(Settings):
    """Which mixes are separated, over how much sound, and how a mask is applied."""

    section = "evaluation"

    pairs: int = 0
    """number of mixes; 0: one for each test clip"""
    pair_rule: str = "disjoint"
    """'disjoint': no instrument in common; 'official': the published draw, which may pair a clip
    with its own instrument, even with itself"""
    seed: int = 0
    """of the disjoint pairs (the published draw has its own), and of the bootstrap"""
    span_frames: int = 256
    """STFT frames around the middle of each clip; cut into as many windows of the network's own
    length as fit, predicted one by one, scored as one piece of sound"""
    mask_application: str = "soft"
    """'soft': the predicted probability; 'threshold': 1 above 0.5, as in the papers"""
    oracles: tuple[str, ...] = ()
    """target masks ('dominant', 'half', 'ratio') whose true values become rows, beside that of the
    model's own target"""
    nmf: bool = False
    """rows of factorised spectra, which need no training: components grouped by timbre (best
    permutation), and grouped by the truth"""
    examples: int = 3
    """mixes whose sound and pictures are kept"""

    def __post_init__(self) -> None:
        self.require_one_of("pair_rule", ("official", "disjoint"))
        self.require_one_of("mask_application", ("threshold", "soft"))
        self.require_at_least(1, "span_frames")
        self.require_at_least(0, "pairs", "examples")
        if unknown := sorted(set(self.oracles) - set(ORACLES)):
            raise ConfigError(f"evaluation.oracles: no {unknown}; expected some of {list(ORACLES)}")


EVALUATION_VERSION = 2
"""Raised when the figures change for the same model, pairs and settings."""

PUBLISHED = EvaluationConfig(
    pair_rule="official", mask_application="threshold", oracles=ORACLES, nmf=True
)
"""The papers' protocol: one mix for each test clip, in the list's order; all oracles beside."""

evaluation_presets: dict[str, EvaluationConfig] = {
    "tiny": EvaluationConfig(pairs=24),
    "paper": PUBLISHED,
    "released": PUBLISHED,
    "modern": replace(PUBLISHED, mask_application="soft"),
}
"""By the name of the model's preset."""
