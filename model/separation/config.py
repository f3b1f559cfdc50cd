"""What a separation baseline is made of: frozen settings, and the presets. Loads no torch.

In: a preset's name, or the JSON of a job. Out: a `Config`; its JSON form is part of a model's
fingerprint.

`released` is Sound-of-Pixels as its script trains it (separation_baselines.md section 1), with
7 levels and random initial weights as every backbone here; `tiny` fits two CPU cores. `twin` gives
a baseline the mixes, pictures, steps and batch of a TriBERT, so that the system is the only
difference.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any, Literal

from model.settings import ConfigError, Settings
from model.stgcn.config import presets as stgcn_presets
from model.tribert.config import SPECTROGRAM_STAGES, DataConfig, VisionConfig
from model.tribert.config import Config as TribertConfig
from model.tribert.config import presets as tribert_presets
from pipeline.networks.stgcn_config import NetworkConfig as GraphConfig

RECIPE_VERSION = 1
RECIPE = "separation"

stages_needed = SPECTROGRAM_STAGES["stored"]

System = Literal[
    "sound_of_pixels",
    "unet_pit",
    "music_gesture",
    "music_gesture_plain",
    "co_separation",
    "av_mix_separate",
    "mask_coefficients",
]
"""music_gesture has the gated head, music_gesture_plain the published one."""

BLIND: tuple[System, ...] = ("unet_pit",)
"""Never see the video."""
GESTURE: tuple[System, ...] = ("music_gesture", "music_gesture_plain")
OBJECTS: tuple[System, ...] = ("co_separation", "av_mix_separate")

MOST_ENUMERATED = 4
"""Sources whose permutations are tried one by one."""
GESTURE_LEVELS = 4
"""Halvings at most in the U-Net of Music Gesture, so that its bottleneck keeps an axis of time."""
JOINT_FRAMES, OF_SPEC_FRAMES = 48, 256
"""Rows of joints (at 8 a second) for so many frames of the spectrogram: both last 6 s."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NetworkConfig:
    """Audio U-Net, and what Sound-of-Pixels adds to it."""

    widths: tuple[int, ...] = (64, 128, 256, 512, 512, 512, 512)
    """channels after each halving of the spectrogram"""
    maps: int = 32
    """K, of Sound-of-Pixels: maps that the picture's vector weighs"""
    backbone: Literal["resnet18", "small"] = "resnet18"
    """resnet18: dilated, stride 16"""
    small_widths: tuple[int, ...] = (16, 32, 64, 96)
    pool: Literal["max", "mean"] = "max"
    """over all pictures and places at once"""
    synthesizer: Literal["linear", "bias"] = "linear"
    """linear: a scale for each map, and a bias; bias: the bias alone"""
    init: Literal["published", "kaiming"] = "published"
    """published: normal, deviation 0.001, for the U-Net's convolutions; kaiming: leaves the
    plateau at 0.5 sooner"""


@dataclass(frozen=True, slots=True, kw_only=True)
class GestureConfig:
    """What Music Gesture adds to the U-Net."""

    graph: GraphConfig = field(default_factory=GraphConfig)
    context_width: int = 128


@dataclass(frozen=True, slots=True, kw_only=True)
class OptimConfig:
    """One learning rate a group, ten times smaller after two shares of the steps."""

    method: Literal["sgd", "adamw"] = "sgd"
    """sgd: momentum 0.9; weight decay of either is on matrices and kernels alone for adamw, on
    everything for sgd, as published"""
    batch_size: int = 80
    max_steps: int = 105_000
    val_every_steps: int = 1_050
    lr_sound: float = 1e-3
    """of the U-Net, and of what works on spectrograms"""
    lr_synthesizer: float = 1e-3
    lr_trunk: float = 1e-4
    """of the backbone for pictures"""
    lr_frame: float = 1e-3
    """of everything else that reads pictures or poses"""
    weight_decay: float = 1e-4
    drops: tuple[float, ...] = (0.4, 0.8)
    """shares of the steps after which the rates are divided by ten"""
    clip_norm: float = 0.0
    """0: gradients are not clipped"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Config(Settings):
    """Everything that decides what a trained baseline is, but seed, data and stages."""

    section = RECIPE

    system: System = "sound_of_pixels"
    """unet_pit: the U-Net alone, one map a source, in whatever order suits the truth"""
    data: DataConfig = field(default_factory=lambda: DataConfig(picture_stride=24))
    network: NetworkConfig = field(default_factory=NetworkConfig)
    vision: VisionConfig = field(default_factory=VisionConfig)
    """backbone of Music Gesture's context; visual branch of mask coefficients"""
    gesture: GestureConfig = field(default_factory=GestureConfig)
    crop: Literal["box", "frame"] = "box"
    """objects of Co-Separation and AV-Mix-and-Separate: persons' boxes, or the whole picture (also
    where there is no box)"""
    class_weight: float = 0.0
    """of the classes' loss beside the masks', where a system has one"""
    optim: OptimConfig = field(default_factory=OptimConfig)

    def __post_init__(self) -> None:
        step = 2 ** len(self.network.widths)
        for name in ("spec_rows", "spec_frames"):
            if getattr(self.data, name) % step:
                raise ConfigError(f"data.{name}: not a multiple of {step}, the U-Net's stride")
        if len(self.network.widths) < 2:
            raise ConfigError("network.widths: a U-Net needs two levels at least")
        if self.system == "unet_pit" and self.data.videos > MOST_ENUMERATED:
            raise ConfigError(
                f"data.videos={self.data.videos}: permutations are tried one by one, for up to "
                f"{MOST_ENUMERATED} sources"
            )
        if self.system in GESTURE and not self.data.joint_frames:
            raise ConfigError(
                "data.joint_frames=0: Music Gesture reads raw joints, give the number of rows"
            )
        if any(not 0 < share < 1 for share in self.optim.drops):
            raise ConfigError(f"optim.drops={self.optim.drops}: expected shares between 0 and 1")


def twin(config: TribertConfig, system: System) -> Config:
    """Return a baseline with a TriBERT's mixes, pictures, number of steps and batch.

    It is trained by AdamW with the TriBERT's own rates and clipping, and has a U-Net of as many
    levels and channels where that TriBERT's is of the same kind. What its system cannot do
    without, `for_system` sets.
    """
    optim, separation = config.optim, config.separation
    strided = separation.unet == "strided"
    small = config.vision.backbone == "small"
    base = Config(
        data=config.data,
        network=NetworkConfig(
            widths=separation.widths if strided else NetworkConfig().widths,
            maps=separation.mask_channels if separation.mask_channels > 1 else 32,
            backbone="small" if small else "resnet18",
            small_widths=config.vision.small_widths,
            init="kaiming",
        ),
        vision=config.vision,
        gesture=GestureConfig(graph=stgcn_presets["tiny" if small else "released"].network),
        optim=OptimConfig(
            method="adamw",
            batch_size=optim.batch_size,
            max_steps=optim.max_steps,
            val_every_steps=optim.val_every_steps,
            lr_sound=optim.lr_unet,
            lr_synthesizer=optim.lr_unet,
            lr_trunk=optim.lr_backbone,
            lr_frame=optim.lr_encoder,
            weight_decay=optim.weight_decay,
            clip_norm=optim.clip_norm,
        ),
    )
    return for_system(base, system)


def for_system(config: Config, system: System) -> Config:
    """Return the settings with another system, and the targets and inputs that it is made for.

    Music Gesture: dominant masks, joints over the length of the spectrogram, four levels at most.
    Co-Separation and AV-Mix-and-Separate: ratio masks, and their own crops. The weights of the
    classes are the published 0.05 for these, and 1 for mask coefficients.
    """
    data, network = config.data, config.network
    crop, class_weight = config.crop, 0.0
    if system in GESTURE:
        rows = max(1, JOINT_FRAMES * data.spec_frames // OF_SPEC_FRAMES)
        data = replace(data, mask="dominant", joint_frames=rows)
        network = replace(network, widths=network.widths[:GESTURE_LEVELS])
    elif system in OBJECTS:
        data = replace(data, mask="ratio")
        crop, class_weight = "box" if system == "co_separation" else "frame", 0.05
    elif system == "mask_coefficients":
        class_weight = 1.0
    return replace(
        config, system=system, data=data, network=network, crop=crop, class_weight=class_weight
    )


presets: dict[str, Config] = {
    "tiny": twin(tribert_presets["tiny"], "sound_of_pixels"),
    "paper": twin(tribert_presets["paper"], "sound_of_pixels"),
    "released": Config(),
    "modern": twin(tribert_presets["modern"], "sound_of_pixels"),
}
"""By the name of the TriBERT that they stand beside; `system` chooses the other baseline."""


def of_system(preset: str, system: System) -> Config:
    """Return a preset with another system."""
    return for_system(presets[preset], system)


def steps_override(max_steps: int) -> dict[str, Any]:
    """Return the settings that end a training after `max_steps` steps."""
    quarter, rest = divmod(max_steps, 4)
    val_every_steps = quarter if quarter and not rest else max_steps
    return {"optim": {"max_steps": max_steps, "val_every_steps": val_every_steps}}
