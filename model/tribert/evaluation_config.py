"""How a trained TriBERT is evaluated: light settings, part of an evaluation's fingerprint.

In: the `configuration` of an `EvaluateJob`. Out: an `EvaluationConfig`. No torch.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

from model.tribert.config import ConfigError


@dataclass(frozen=True, slots=True, kw_only=True)
class EvaluationConfig:
    """Which mixes are separated, over how much sound, and how a mask is applied."""

    pairs: int = 0
    """number of mixes; 0: one for each test clip"""
    pair_rule: str = "disjoint"
    """'disjoint': no instrument in common; 'official': the published draw, which may pair a clip
    with its own instrument, even with itself"""
    seed: int = 0
    """of the disjoint pairs; the published draw has its own"""
    span_frames: int = 256
    """STFT frames around the middle of each clip; cut into as many windows of the network's own
    length as fit, predicted one by one, scored as one piece of sound"""
    mask_application: str = "soft"
    """'soft': the predicted probability; 'threshold': 1 above 0.5, as in the papers"""
    examples: int = 3
    """mixes whose sound and pictures are kept"""

    def __post_init__(self) -> None:
        for name, allowed in (
            ("pair_rule", ("official", "disjoint")),
            ("mask_application", ("threshold", "soft")),
        ):
            if getattr(self, name) not in allowed:
                raise ConfigError(
                    f"evaluation.{name}: expected one of {list(allowed)}, "
                    f"got {getattr(self, name)!r}"
                )
        if self.span_frames < 1 or min(self.pairs, self.examples) < 0:
            raise ConfigError(
                f"evaluation: span_frames={self.span_frames}, pairs={self.pairs}, "
                f"examples={self.examples}: expected at least 1, 0 and 0"
            )

    def as_json(self) -> dict[str, Any]:
        """Return the settings as JSON values."""
        return asdict(self)

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> EvaluationConfig:
        """Return the settings; what is not named keeps its default. Raises ConfigError."""
        known = {item.name: item.type for item in fields(cls)}
        if unknown := sorted(set(value) - set(known)):
            raise ConfigError(f"evaluation: no setting {unknown}; known: {sorted(known)}")
        for name, given in value.items():
            if type(given).__name__ != known[name]:
                raise ConfigError(f"evaluation.{name}: expected {known[name]}, got {given!r}")
        return cls(**value)


EVALUATION_VERSION = 1
"""Raised when the figures change for the same model, pairs and settings."""

PUBLISHED = EvaluationConfig(pair_rule="official", mask_application="threshold")
"""The papers' protocol: one mix for each test clip, in the list's order."""

evaluation_presets: dict[str, EvaluationConfig] = {
    "tiny": EvaluationConfig(pairs=24),
    "paper": PUBLISHED,
    "released": PUBLISHED,
}
"""By the name of the model's preset."""
