"""What a parsing model is made of: frozen settings and the presets built from them. No torch.

In: a preset's name, or the JSON of a job. Out: a `Config` that the data, the network and the
training read; its JSON form is part of a model's fingerprint.

`han` is the network and the training of Tian, Li and Xu (ECCV 2020) as published; `tiny` is the
same network, narrower and trained faster, for a few dozen clips on two CPU cores.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from model.settings import ConfigError, Settings

RECIPE_VERSION = 1

EVALUATION_VERSION = 1
"""Raised when the figures change for the same model and items."""

stages_needed = ("vggish", "resnet152", "r2plus1d")


@dataclass(frozen=True, slots=True, kw_only=True)
class Config(Settings):
    """Everything that decides what a trained parsing model is, but seed, data and stages."""

    section = "avvp"

    width: int = 512
    """D, of the tokens and of the feed-forward layer"""
    dropout: float = 0.1
    audio_smoothing: float = 0.0
    """weight of the label 0.5 in the audio targets; the published network smooths only vision"""
    visual_smoothing: float = 0.1
    standardise: bool = False
    """features to zero mean and unit variance over the training seconds; the published ones
    are used as they are, those of networks with random weights need it"""
    learning_rate: float = 3e-4
    lr_factor: float = 0.1
    """of the learning rate every `lr_every_epochs` epochs"""
    lr_every_epochs: int = 10
    batch_size: int = 16
    epochs: int = 40
    val_every_epochs: int = 1
    max_steps: int = 0
    """0: `epochs` decide"""
    gate: str = "video"
    """'video': a class is kept where the video-level probability says so; 'modality': where the
    modality's own does. Figures under different gates are not comparable"""
    label_permutation: bool = False
    """a control: every training video gets another one's labels, drawn by the seed"""

    def __post_init__(self) -> None:
        self.require_one_of("gate", ("video", "modality"))
        self.require_at_least(
            1, "width", "batch_size", "epochs", "val_every_epochs", "lr_every_epochs"
        )
        for name in ("dropout", "audio_smoothing", "visual_smoothing"):
            if not 0 <= getattr(self, name) < 1:
                raise ConfigError(f"avvp.{name}={getattr(self, name)}: expected 0 <= {name} < 1")


def steps_override(max_steps: int) -> dict[str, Any]:
    """Return the settings that end a training after `max_steps` steps."""
    return {"max_steps": max_steps}


presets: dict[str, Config] = {
    "han": Config(),
    "tiny": Config(
        width=128,
        standardise=True,
        learning_rate=1e-3,
        lr_every_epochs=20,
        batch_size=8,
        epochs=40,
        val_every_epochs=5,
    ),
}
