"""What a TriBERT is made of: frozen settings, and the presets built from them. Loads no torch.

In: a preset's name, or the JSON of a job. Out: a `Config` that the data, the network and the
training read; its JSON form is part of a model's fingerprint.

Where the paper and its published code differ, `paper` and `released` take one side each
(tribert.md lists the places). `modern` takes what is known to be better (separation_baselines.md
section 6), each a setting of its own. `reduced` makes a configuration small enough for two CPU
cores; `tiny` is `paper` reduced, with what short training needs: gated mask channels,
complementary masks, a loss on the attention maps, and wider crops in changed colours, since a
backbone that starts from nothing on few clips would learn each clip's background.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, replace
from typing import Any

from model.settings import ConfigError, Settings
from model.tribert.sections import (
    SPECTROGRAM_STAGES,
    TIME_HEADS,
    AudioConfig,
    DataConfig,
    EncoderConfig,
    HeadConfig,
    InitialConfig,
    LossConfig,
    OptimConfig,
    PoseConfig,
    SeparationConfig,
    VisionConfig,
    stages_needed,
)

__all__ = [
    "FINE_TUNING_RATE",
    "FINE_TUNING_STEPS",
    "RECIPE_VERSION",
    "SPECTROGRAM_STAGES",
    "AudioConfig",
    "Config",
    "DataConfig",
    "EncoderConfig",
    "HeadConfig",
    "InitialConfig",
    "LossConfig",
    "OptimConfig",
    "PoseConfig",
    "SeparationConfig",
    "VisionConfig",
    "finetune_override",
    "presets",
    "reduced",
    "stages_needed",
    "steps_override",
    "vggish_override",
]

RECIPE_VERSION = 1
HOP_S = 256 / 11025
"""From one spectrogram frame to the next, as published."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Config(Settings):
    """Everything that decides what a trained TriBERT is, but seed, data and stages."""

    section = "tribert"

    data: DataConfig = field(default_factory=DataConfig)
    vision: VisionConfig = field(default_factory=VisionConfig)
    pose: PoseConfig = field(default_factory=PoseConfig)
    audio: AudioConfig = field(default_factory=AudioConfig)
    encoder: EncoderConfig = field(default_factory=EncoderConfig)
    heads: HeadConfig = field(default_factory=HeadConfig)
    separation: SeparationConfig = field(default_factory=SeparationConfig)
    loss: LossConfig = field(default_factory=LossConfig)
    optim: OptimConfig = field(default_factory=OptimConfig)
    initial: InitialConfig = field(default_factory=InitialConfig)

    def __post_init__(self) -> None:
        _check(self)


def _check(config: Config) -> None:
    """Refuse combinations that no network can be built from."""
    encoder, separation, vision = config.encoder, config.separation, config.vision
    for name in ("vision_width", "pose_width", "audio_width"):
        if getattr(encoder, name) % encoder.heads:
            raise ConfigError(f"encoder.{name}: not a multiple of encoder.heads={encoder.heads}")
    if encoder.co_width % (2 * encoder.co_heads):
        raise ConfigError(f"encoder.co_width: not a multiple of 2 x {encoder.co_heads} heads")
    if vision.feature_width != encoder.vision_width:
        raise ConfigError("vision.feature_width: differs from encoder.vision_width")
    if encoder.keys == "feature" and vision.objects != config.pose.persons:
        raise ConfigError("encoder.keys 'feature': vision.objects must equal pose.persons")
    if separation.fusion == "channel_softmax" and separation.widths[-1] != 3 * encoder.co_width:
        raise ConfigError("separation.widths: 'channel_softmax' needs a bottleneck of 3 x co_width")
    _check_conditioning(separation, encoder)
    _check_audio(config)
    step = 2 ** (len(separation.widths) - (separation.unet == "double"))
    for name in ("spec_rows", "spec_frames"):
        if getattr(config.data, name) % step:
            raise ConfigError(f"data.{name}: not a multiple of {step}, the U-Net's stride")
    optim = config.optim
    if optim.accumulate < 1 or optim.batch_size % optim.accumulate:
        raise ConfigError(
            f"optim.accumulate={optim.accumulate}: expected a divisor of "
            f"optim.batch_size={optim.batch_size}, at least 1"
        )


def _check_conditioning(separation: SeparationConfig, encoder: EncoderConfig) -> None:
    if separation.fusion == "none" and separation.mask_channels < 2:
        raise ConfigError(
            f"separation.mask_channels={separation.mask_channels}: with separation.fusion 'none' "
            "nothing but the channels' weights tells the videos apart; expected 2 at least"
        )
    if separation.fusion == "tokens" and separation.widths[-1] % encoder.co_heads:
        raise ConfigError(
            f"separation.widths: with separation.fusion 'tokens' the bottleneck's width is a "
            f"multiple of encoder.co_heads={encoder.co_heads}, got {separation.widths[-1]}"
        )
    deepest = len(separation.widths) - 1
    attention = separation.time_attention
    if not 0 <= attention <= deepest:
        raise ConfigError(
            f"separation.time_attention={attention}: expected 0 (nowhere) to {deepest}, the "
            "halvings before the bottleneck"
        )
    if attention and separation.widths[attention - (separation.unet == "strided")] % TIME_HEADS:
        raise ConfigError(
            f"separation.widths: the level that attends over time has a multiple of {TIME_HEADS} "
            f"channels, got {separation.widths}"
        )


def _check_audio(config: Config) -> None:
    heard, patches = config.audio.encoder == "vggish", config.data.sound_patches
    if heard != (patches > 0):
        raise ConfigError(
            f"audio.encoder={config.audio.encoder!r}, data.sound_patches={patches}: 'vggish' "
            "hears data.sound_patches patches (6: one a second), 'vgg' none"
        )
    alike = config.encoder.keys == "feature" or config.separation.fusion == "channel_softmax"
    if heard and alike:
        raise ConfigError(
            "audio.encoder 'vggish': its stream has another number of tokens than the two others; "
            "expected encoder.keys 'sequence' and separation.fusion 'keys', 'tokens' or 'none'"
        )


REDUCED_HALVINGS = 2
"""A reduced spectrogram is so often halved as to have 64 rows instead of 256."""


def reduced(config: Config) -> Config:
    """Return the same model small: sizes, and the rates and steps that suit them.

    Pictures and spectrograms have 64 rows and columns, the widths are an eighth or less, and a
    training has 240 steps of 16 mixes. Every other setting stays.
    """
    separation = config.separation
    double = separation.unet == "double"
    co_width = 64
    widths = (16, 32, 64, 128, 3 * co_width if double else 128)
    attention = separation.time_attention
    return replace(
        config,
        data=replace(config.data, picture_px=64, spec_frames=64, spec_rows=64),
        vision=replace(config.vision, backbone="small", feature_width=128),
        pose=replace(config.pose, channels=64),
        audio=replace(config.audio, widths=(16, 32, 64, 64)),
        encoder=replace(
            config.encoder,
            layers=2,
            vision_width=128,
            pose_width=128,
            audio_width=64,
            vision_ffn=128,
            pose_ffn=128,
            audio_ffn=128,
            heads=4,
            co_width=co_width,
            co_heads=4,
        ),
        separation=replace(
            separation,
            widths=widths,
            mask_channels=min(separation.mask_channels, 16),
            time_attention=max(attention - REDUCED_HALVINGS, 1) if attention else 0,
        ),
        optim=replace(
            config.optim,
            batch_size=16,
            max_steps=240,
            val_every_steps=60,
            lr_backbone=1e-3,
            lr_encoder=1e-3,
            lr_unet=2e-3,
        ),
    )


def _tiny() -> Config:
    small = reduced(Config())
    return replace(
        small,
        data=replace(
            small.data,
            mask="dominant",
            scale_low=0.6,
            scale_high=1.0,
            colour=0.4,
            other_class=0.5,
        ),
        vision=replace(small.vision, sos="features"),
        separation=replace(small.separation, mask_channels=16),
        loss=replace(small.loss, maps=0.5),
        optim=replace(small.optim, decay="cosine"),
    )


def _paper() -> Config:
    return Config(data=DataConfig(resize="linear"))


def _released() -> Config:
    base = _paper()
    return replace(
        base,
        vision=replace(base.vision, expansive="class_softmax", norm_tokens=False),
        audio=replace(base.audio, log="ln", input_norm=False),
        encoder=replace(base.encoder, keys="feature"),
        heads=HeadConfig(regions="slots", audio="softmax"),
        separation=SeparationConfig(
            unet="double", widths=(64, 128, 256, 512, 1536), fusion="channel_softmax"
        ),
        loss=replace(base.loss, over_videos="sum"),
        optim=replace(base.optim, lr_backbone=1e-5, lr_encoder=1e-5, lr_unet=1e-5),
    )


def _modern() -> Config:
    """Return what is known to be better (separation_baselines.md section 6), at full size.

    log1p, the input norm, keys of each stream and masks for absent persons are those of `paper`;
    the 7-level U-Net runs once for all sources of a mix; rates are those of a backbone that starts
    from random weights.
    """
    base = _paper()
    return replace(
        base,
        data=replace(
            base.data,
            mask="dominant",
            scale_low=0.6,
            scale_high=1.0,
            colour=0.4,
            other_class=0.5,
        ),
        vision=replace(base.vision, sos="features"),
        separation=SeparationConfig(fusion="none", mask_channels=32, time_attention=4),
        loss=replace(base.loss, maps=0.5),
        optim=replace(
            base.optim,
            max_steps=105_000,
            lr_backbone=1e-4,
            lr_encoder=1e-4,
            lr_unet=1e-4,
            warmup=0.01,
            decay="cosine",
            precision="bf16-mixed",
        ),
    )


presets: dict[str, Config] = {
    "tiny": _tiny(),
    "paper": _paper(),
    "released": _released(),
    "modern": _modern(),
}


def steps_override(max_steps: int) -> dict[str, Any]:
    """Return the settings that end a training after `max_steps` steps."""
    quarter, rest = divmod(max_steps, 4)
    val_every_steps = quarter if quarter and not rest else max_steps
    return {"optim": {"max_steps": max_steps, "val_every_steps": val_every_steps}}


def vggish_override(spec_frames: int) -> dict[str, Any]:
    """Return the settings with which VGGish hears a mixture, a patch for each second of a crop."""
    seconds = spec_frames * HOP_S
    return {"audio": {"encoder": "vggish"}, "data": {"sound_patches": max(1, round(seconds))}}


FINE_TUNING_STEPS = 57_000
"""1500 epochs of 452 clips in batches of 12 (tribert.md section 9)."""
FINE_TUNING_RATE = 1e-7


def finetune_override(preset: str, initial: InitialConfig) -> dict[str, Any]:
    """Return the settings that fine-tune `initial.model` instead of training from nothing.

    All presets but `tiny` take the paper's learning rate and length. At 1e-7 weights barely move:
    new attention maps would hardly be learned, which is why the old ones are kept by default.
    """
    override: dict[str, Any] = {"initial": asdict(initial)}
    if preset != "tiny":
        rates = dict.fromkeys(("lr_backbone", "lr_encoder", "lr_unet"), FINE_TUNING_RATE)
        override["optim"] = rates | {"max_steps": FINE_TUNING_STEPS, "val_every_steps": 1_000}
    return override
