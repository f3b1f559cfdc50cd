"""What an ST-GCN is and how it is trained: frozen settings and presets. Loads no torch.

In: a preset's name, or the JSON of a job. Out: a `Config`; its JSON form is part of the model's
fingerprint, and `network` is read again by the stage `pose_embed`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from model.settings import Settings
from pipeline.networks.stgcn_config import NetworkConfig

RECIPE_VERSION = 1

stages_needed = ("pose",)

OPTIMISERS = ("sgd", "adamw")


@dataclass(frozen=True, slots=True, kw_only=True)
class Config(Settings):
    """The defaults are the published recipe (Yan et al. 2018, Kinetics skeletons).

    Differences: windows of 256 rows, the length named by TriBERT, and a batch of 64, that of the
    same code's other recipe. `sgd` has Nesterov momentum 0.9 and a learning rate ten times smaller
    from 40, 60 and 80 % of the steps on; `adamw` a one-cycle schedule.
    """

    section = "stgcn"

    network: NetworkConfig = field(default_factory=NetworkConfig)
    persons: int = 2
    """persons of the pose stage"""
    window_rows: int = 256
    min_present_rows: int = 8
    """a clip with a person in fewer rows than this is not used"""
    scale: float = 0.1
    """a window is drawn larger or smaller by up to this part (augmentation)"""
    shift: float = 0.05
    """and moved by up to this part of the picture"""
    flip: float = 0.5
    """and mirrored with this probability, left and right joints exchanged"""
    optimiser: str = "sgd"
    learning_rate: float = 0.1
    weight_decay: float = 1e-4
    batch_size: int = 64
    max_steps: int = 4000
    validations: int = 20
    clip_norm: float = 5.0

    def __post_init__(self) -> None:
        self.require_at_least(
            1, "persons", "window_rows", "min_present_rows", "batch_size", "max_steps"
        )
        self.require_one_of("optimiser", OPTIMISERS)

    @property
    def val_every_steps(self) -> int:
        """Steps between validations: `max_steps` in equal parts, at most `validations` of them."""
        parts = next(n for n in range(max(1, self.validations), 0, -1) if self.max_steps % n == 0)
        return self.max_steps // parts


def steps_override(max_steps: int) -> dict[str, Any]:
    """Return the settings that end a training after `max_steps` steps."""
    return {"max_steps": max_steps}


presets: dict[str, Config] = {
    "released": Config(),
    "tiny": Config(
        network=NetworkConfig(channels=(16, 32, 64), strides=(2, 2, 1)),
        window_rows=48,
        optimiser="adamw",
        learning_rate=2e-2,
        weight_decay=1e-2,
        batch_size=16,
        max_steps=120,
        validations=6,
    ),
}
