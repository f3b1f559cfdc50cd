"""What audio-visual grounding (AVG) is made of: frozen settings and presets. No torch.

In: a preset's name, or the JSON of a job. Out: a `Config` that ground truth, network and training
read; its JSON form is part of a model's fingerprint. Of the parsing networks that start from such a
model, `EncoderConfig` is a part, too.

`paper` is Lamba et al. (Interspeech 2021, section 3.2) in the sizes of their released code;
`release` has that code's choices where the two differ; `tiny` is for a few hundred clips on two
CPU cores, with thresholds that suit synthetic LLP.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from model.settings import ConfigError, Settings

RECIPE_VERSION = 1

stages_needed = ("vggish", "resnet152")

OBJECTIVES = ("uni", "cross", "multi")
AUDIO_SIZE = 128


@dataclass(frozen=True, slots=True, kw_only=True)
class EncoderConfig(Settings):
    """Sizes of the transformer over the seconds of all streams."""

    section = "encoder"

    width: int = 1024
    """H, of the tokens"""
    layers: int = 12
    heads: int = 8
    inner_width: int = 3072
    """of the feed-forward layers"""
    dropout: float = 0.1
    """of tokens, attention weights and what every layer adds"""

    def __post_init__(self) -> None:
        self.require_at_least(1, "width", "layers", "heads", "inner_width")
        if self.width % self.heads or self.width % 2:
            raise ConfigError(
                f"encoder.width={self.width}: expected an even multiple of heads={self.heads}"
            )
        if not 0 <= self.dropout < 1:
            raise ConfigError(f"encoder.dropout={self.dropout}: expected 0 <= dropout < 1")


TINY_ENCODER = EncoderConfig(width=128, layers=2, heads=4, inner_width=256)


@dataclass(frozen=True, slots=True, kw_only=True)
class Config(Settings):
    """Everything that decides what a pre-trained model is, but seed, data and stages."""

    section = "avg"

    encoder: EncoderConfig = field(default_factory=EncoderConfig)
    objective: str = "multi"
    """'uni' compares seconds within a modality, 'cross' between the two, 'multi' adds both"""
    alternate: bool = False
    """of `multi`, as released: even epochs are 'cross', odd ones 'uni'"""
    positive_margin: float = 0.7
    """p: cosines of seconds that belong together are pushed up to it"""
    negative_margin: float = 0.7
    """n: cosines of other seconds are pushed down to it"""
    agreement: str = "union"
    """two seconds are alike where 'union' either modality says so, or 'consensus' both do"""
    picture_threshold: float = 0.96
    """cosine of ResNet-152 rows from which on two seconds look alike"""
    audio_threshold: float = 0.99
    """cosine of VGGish rows from which on two seconds sound alike"""
    strict: bool = False
    """a cosine that equals its threshold is not enough, as released"""
    silence: tuple[float, ...] = ()
    """VGGish row of silence, 128 values: a second that sounds like it is alike to none after it.
    Empty: silence is nothing special"""
    silence_threshold: float = 0.99
    """cosine with `silence` above which a second is silent"""
    standardise: bool = False
    """what the network reads to zero mean and unit variance over the training seconds; ground
    truth is computed before"""
    learning_rate: float = 1e-4
    """highest of the training; the released 1e-6 is too small for what starts anew"""
    warmup: float = 0.1
    """share of the steps in which the rate rises to `learning_rate`; it falls to 0 afterwards"""
    constant: bool = False
    """the rate stays at `learning_rate` after warming up"""
    clip_norm: float = 1.0
    """longest gradient; 0 for no limit"""
    batch_size: int = 16
    epochs: int = 40
    val_every_epochs: int = 1
    max_steps: int = 0
    """0: `epochs` decide"""
    precision: str = "32-true"
    """'32-true' or 'bf16-mixed', as Lightning names them; cosines and loss stay in float32"""
    resident_gib: float = 16.0
    """features beyond so much are mapped from disk, not kept in memory"""

    def __post_init__(self) -> None:
        self.require_one_of("objective", OBJECTIVES)
        self.require_one_of("agreement", ("union", "consensus"))
        self.require_one_of("precision", ("32-true", "bf16-mixed"))
        self.require_at_least(1, "batch_size", "epochs", "val_every_epochs")
        self.require_at_least(0, "resident_gib", "clip_norm", "max_steps")
        if self.alternate and self.objective != "multi":
            raise ConfigError(f"avg.alternate=True: of 'multi' only, not {self.objective!r}")
        for name in ("positive_margin", "negative_margin", "silence_threshold"):
            if not -1 <= getattr(self, name) <= 1:
                raise ConfigError(f"avg.{name}={getattr(self, name)}: expected a cosine, -1 to 1")
        if not 0 <= self.warmup < 1:
            raise ConfigError(f"avg.warmup={self.warmup}: expected 0 <= warmup < 1")
        if len(self.silence) not in (0, AUDIO_SIZE):
            raise ConfigError(
                f"avg.silence: {len(self.silence)} values; expected {AUDIO_SIZE}, or none"
            )


def steps_override(max_steps: int) -> dict[str, Any]:
    """Return the settings that end a training after `max_steps` steps."""
    return {"max_steps": max_steps}


presets: dict[str, Config] = {
    "paper": Config(),
    "release": Config(
        alternate=True,
        agreement="consensus",
        strict=True,
        learning_rate=1e-6,
        warmup=0.0,
        constant=True,
        clip_norm=0.0,
    ),
    "tiny": Config(
        encoder=TINY_ENCODER,
        agreement="consensus",
        picture_threshold=0.75,
        audio_threshold=0.75,
        standardise=True,
        learning_rate=1e-3,
        epochs=20,
    ),
}


def objective_config(
    objective: str, preset: str, changes: Mapping[str, Any] | None = None
) -> Config:
    """Return the configuration that trains one objective with a preset's settings.

    Parameters
    ----------
    objective : str
        Of `OBJECTIVES`.
    preset : str
        Of `presets`; it decides whether 'multi' alternates.
    changes
        Settings over those of the preset.

    Raises
    ------
    ConfigError
        No such objective, preset or setting.
    """
    if preset not in presets:
        raise ConfigError(f"avg preset {preset!r}: expected one of {sorted(presets)}")
    values = presets[preset].as_json() | {"objective": objective}
    if objective != "multi":
        values["alternate"] = False
    merged = values | dict(changes or {})
    encoder = dict(changes or {}).get("encoder")
    if isinstance(encoder, Mapping):
        merged["encoder"] = {**values["encoder"], **encoder}
    return Config.from_json(merged)
