"""What a parsing model is made of: frozen settings and the presets built from them. No torch.

In: a preset's name, or the JSON of a job. Out: a `Config` that the data, the network and the
training read; its JSON form is part of a model's fingerprint.

`han` is the network and the training of Tian, Li and Xu (ECCV 2020) as published. `paper` is the
full model of Lamba et al. (Interspeech 2021) trained as the paper says, `release` the same model
trained as their released code does; the two differ in weights and learning rate. `tiny` is HAN,
narrower and trained faster, for a few dozen clips on two CPU cores. `modern` is HAN's network with
what goes beyond both (`model.avvp.modern`).

A network may start from a model of audio-visual grounding (`model.avg`): `pretrained`.

The rows of the paper's tables are one preset with another network: `row_config`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from model.avg.config import OBJECTIVES, TINY_ENCODER, EncoderConfig
from model.avvp.flags import Flags
from model.avvp.modern import MODERN, modern_rows
from model.settings import ConfigError

RECIPE_VERSION = 1

EVALUATION_VERSION = 2
"""Raised when the figures change for the same model and items."""

stages_needed = ("vggish", "resnet152", "r2plus1d")


@dataclass(frozen=True, slots=True, kw_only=True)
class Config(Flags):
    """Everything that decides what a trained parsing model is, but seed, data and stages."""

    section = "avvp"

    network: str = "han"
    """'han'; 'base': self-attention for each modality, then one shared cross attention; or
    'pretrained': a transformer over the seconds of all streams that starts from `initial`"""
    gcaa: bool = False
    """of `base`: global context aware attention in the place of plain attention"""
    first_step_broadcast: bool = False
    """of `gcaa`, for ablation: every second gets what second 0 attended to, a defect of the
    released code"""
    skip: bool = False
    """of `base`: self-attended features are added to the joint ones"""
    adversarial: bool = False
    """a discriminator of modalities before pooling, behind a reversed gradient"""
    initial: str = ""
    """of `pretrained`: name of the published model of audio-visual grounding to start from"""
    grounding: str = ""
    """of `pretrained`: the objective that `initial` was trained on, 'uni', 'cross' or 'multi'"""
    frozen: bool = False
    """of `pretrained`: what `initial` learnt stays as it is"""
    encoder: EncoderConfig = TINY_ENCODER
    """of `pretrained`: the sizes of `initial`"""
    initial_lr_factor: float = 1.0
    """of `pretrained`: what `initial` learnt moves at this multiple of the learning rate"""
    adversarial_weight: float = 0.4
    """of the discriminator's loss, lambda_ad"""
    reversal: str = "ramp"
    """of the gradient: 'ramp' grows from 0.12 to 1, as released; 'constant' is 1; with 'none' the
    discriminator only watches"""
    modality_weight: float = 1.0
    """of the audio and of the visual term of the loss. The paper's lambda_g = 0.6 weighs their
    mean: 0.3 each"""
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
    precision: str = "32-true"
    """'32-true' or 'bf16-mixed', as Lightning names them; losses and pooling stay in float32"""
    fused: bool = True
    """of `han`, both directions in one call and dropout drawn in words; of all, Adam in one call:
    the same function, faster on a CPU, with other rounding and other draws"""
    resident_gib: float = 16.0
    """features beyond so much are mapped from disk, not kept in memory. LLP's are 1.1 GiB, as a
    clip's pictures are averaged over each second when it is read"""
    gate: str = "video"
    """'video': a class is kept where the video-level probability says so; 'modality': where the
    modality's own does. Figures under different gates are not comparable"""
    label_permutation: bool = False
    """a control: every training video gets another one's labels, drawn by the seed"""

    def __post_init__(self) -> None:
        self.check_flags()
        self.require_one_of("gate", ("video", "modality"))
        self.require_one_of("network", ("han", "base", "pretrained"))
        self.require_one_of("grounding", ("", *OBJECTIVES))
        self.require_one_of("reversal", ("ramp", "constant", "none"))
        self.require_one_of("precision", ("32-true", "bf16-mixed"))
        self.require_at_least(0, "adversarial_weight", "modality_weight", "resident_gib")
        for name, needed in _ONLY_OF.items():
            if (value := getattr(self, name)) and self.network != needed:
                raise ConfigError(
                    f"avvp.{name}={value!r}: only network {needed!r} has it, not {self.network!r}"
                )
        if self.network != "han" and (beyond := self.of_han_only()):
            raise ConfigError(
                f"avvp.network={self.network!r}: only 'han' has {', '.join(beyond)}; "
                "nce='expected' and denoise='rank' or 'swap' are for all"
            )
        if self.first_step_broadcast and not self.gcaa:
            raise ConfigError("avvp.first_step_broadcast=True: a defect of gcaa; set gcaa too")
        self.require_at_least(
            1, "width", "batch_size", "epochs", "val_every_epochs", "lr_every_epochs"
        )
        for name in ("dropout", "audio_smoothing", "visual_smoothing"):
            if not 0 <= getattr(self, name) < 1:
                raise ConfigError(f"avvp.{name}={getattr(self, name)}: expected 0 <= {name} < 1")


_ONLY_OF = {
    "gcaa": "base",
    "skip": "base",
    "initial": "pretrained",
    "grounding": "pretrained",
    "frozen": "pretrained",
}
"""Setting -> the only network that has it."""


def steps_override(max_steps: int) -> dict[str, Any]:
    """Return the settings that end a training after `max_steps` steps."""
    return {"max_steps": max_steps}


HAN = "HAN"
FULL = "Base+Adv+Skip+GCAA"
FROZEN = "Pretrain frozen (uni)"
networks: dict[str, dict[str, Any]] = {
    HAN: {"network": "han"},
    "Base": {"network": "base"},
    "Base+GCAA": {"network": "base", "gcaa": True},
    "Base+Adv+Skip": {"network": "base", "adversarial": True, "skip": True},
    FULL: {"network": "base", "adversarial": True, "skip": True, "gcaa": True},
    "Pretrain (uni)": {"network": "pretrained", "grounding": "uni"},
    "Pretrain (cross)": {"network": "pretrained", "grounding": "cross"},
    "Pretrain (multi)": {"network": "pretrained", "grounding": "multi"},
    FROZEN: {"network": "pretrained", "grounding": "uni", "frozen": True},
}
"""Row of the paper's tables -> the settings of its network. `FROZEN` is a row of the paper's first
version only. Rows of pre-trained networks want `initial` besides: see `model.avvp.table`."""
DEFECT = "Base+Adv+Skip+GCAA, first second for all"
ablations: dict[str, dict[str, Any]] = {DEFECT: {**networks[FULL], "first_step_broadcast": True}}
"""Rows beside those of the paper."""

_paper = Config(
    **networks[FULL],
    modality_weight=0.3,
    adversarial_weight=0.4,
    learning_rate=3e-4,
    lr_factor=0.5,
    lr_every_epochs=5,
    batch_size=64,
)

presets: dict[str, Config] = {
    "han": Config(),
    "paper": _paper,
    "release": replace(_paper, adversarial_weight=0.3, learning_rate=6e-4, lr_every_epochs=6),
    "tiny": Config(
        width=128,
        standardise=True,
        learning_rate=1e-3,
        lr_every_epochs=20,
        batch_size=8,
        epochs=40,
        val_every_epochs=5,
        fused=False,
    ),
    MODERN: Config.from_json(modern_rows[MODERN]),
}


_PLAIN: dict[str, Any] = {
    **dict.fromkeys(("gcaa", "first_step_broadcast", "skip", "adversarial", "frozen"), False),
    "grounding": "",
}
_FINE_TUNED: dict[str, dict[str, Any]] = {
    "paper": {"modality_weight": 1.0, "initial_lr_factor": 0.1},
    "release": {"modality_weight": 1.0, "learning_rate": 1e-6, "lr_factor": 1.0},
}
"""Preset -> what is different for pre-trained networks: HAN's loss; in the paper's preset a lower
rate for what is trained already, in the released code's the rate of pre-training throughout."""


def row_config(row: str, preset: str, changes: Mapping[str, Any] | None = None) -> Config:
    """Return the configuration of a row of the paper's tables.

    Parameters
    ----------
    row : str
        Of `networks`, `ablations` or `modern_rows`.
    preset : str
        Where everything but the network comes from. HAN keeps its own training, `han`, where the
        preset is `paper` or `release`: the paper quotes HAN from its authors. Pre-trained networks
        have HAN's loss there. Rows of `modern_rows` bring their training along: of all presets but
        `tiny` they take what `han` has, of `tiny` what they do not name (width, learning rate).
    changes
        Settings of the whole table, over those of the preset.

    Raises
    ------
    ConfigError
        No such row, preset or setting.
    """
    known = {**networks, **ablations, **modern_rows}
    if row not in known:
        raise ConfigError(f"row {row!r}: expected one of {list(known)}")
    if preset not in presets:
        raise ConfigError(f"preset {preset!r}: expected one of {sorted(presets)}")
    of_han = row == HAN and preset in ("paper", "release")
    of_han |= row in modern_rows and preset != "tiny"
    chosen = "han" if of_han else preset
    values = {**presets[chosen].as_json(), **_PLAIN, **known[row]}
    if values["network"] == "pretrained":
        values |= _FINE_TUNED.get(preset, {})
    values |= changes or {}
    return Config.from_json(values)


def row_name(config: Config) -> str:
    """Return the row of the papers' tables, or the ablation, whose network a configuration has.

    What it has beyond that in loss and labels follows, joined by '+'.
    """
    asked = {name: getattr(config, name) for name in ("network", *_PLAIN)}
    known = {
        row: {"network": "", **_PLAIN, **own} for row, own in {**networks, **ablations}.items()
    }
    row = next((row for row, own in known.items() if own == asked), f"{config.network}, as set")
    return "+".join([row, *config.steps()])
