"""What a TriBERT is made of: frozen settings, and the presets built from them. Loads no torch.

In: a preset's name, or the JSON of a job. Out: a `Config` that the data, the network and the
training read; its JSON form is part of a model's fingerprint.

Where the paper and its published code differ, `paper` and `released` take one side each
(tribert.md lists the places); `tiny` is `paper` made small enough for two CPU cores, with what
short training needs: gated mask channels, complementary masks, a loss on the attention maps, and
wider crops in changed colours, since a backbone that starts from nothing on few clips would learn
each clip's background.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, replace
from typing import Any, Literal

from model.settings import ConfigError, Settings

RECIPE_VERSION = 1

SPECTROGRAM_STAGES = {
    "stored": ("frames", "stft", "pose_embed"),
    "computed": ("frames", "audio_11025", "pose_embed"),
}
"""What samples are made of, by `DataConfig.spectrogram`."""
stages_needed = SPECTROGRAM_STAGES["stored"]


@dataclass(frozen=True, slots=True, kw_only=True)
class DataConfig:
    """What one sample is: shapes, times and random draws.

    A crop has `spec_frames` STFT frames and starts on the hop grid; pictures are consecutive rows
    of the frames stage around its middle, `picture_stride` rows apart.
    """

    videos: int = 2
    """N, videos of a mix"""
    steps: int = 3
    """T, pictures of a video (the SOS step is made by the network)"""
    picture_stride: int = 1
    picture_px: int = 224
    spec_frames: int = 256
    spec_rows: int = 256
    """rows of the warped (log-frequency) spectrogram"""
    spectrogram: Literal["stored", "computed"] = "stored"
    """stored: crops are read from the stft stage; computed: from the sound, with the published
    window and hop"""
    mask: Literal["half", "dominant", "ratio"] = "half"
    """half: |S_n| > |S_mix| / 2; dominant: loudest source of the cell; ratio: |S_n| / sum |S_m|"""
    scale_low: float = 1 / 1.1
    """a training crop's side, as a share of the picture's: drawn from scale_low .. scale_high;
    the default is the published 224 of 246 pixels"""
    scale_high: float = 1 / 1.1
    resize: Literal["area", "linear"] = "area"
    """how a picture is made smaller: the mean of the pixels that a new one covers, or four of them
    (five times as fast; taken up to 1.5 times the wanted size, where no pixel is skipped)"""
    colour: float = 0.0
    """brightness, and each colour, are multiplied by 1 - colour .. 1 + colour in training"""
    gain_low: float = 0.5
    gain_high: float = 1.5
    other_class: float = 0.0
    """share of the mixes whose partner is drawn from the videos that share no label"""
    epoch_mixes: int = 0
    """mixes of an epoch; 0: one for each training video"""

    def __post_init__(self) -> None:
        if not 0 < self.scale_low <= self.scale_high <= 1:
            raise ConfigError(
                f"data.scale_low={self.scale_low}, data.scale_high={self.scale_high}: "
                "expected 0 < scale_low <= scale_high <= 1"
            )
        if not 0 <= self.colour < 1:
            raise ConfigError(f"data.colour={self.colour}: expected 0 <= colour < 1")


@dataclass(frozen=True, slots=True, kw_only=True)
class VisionConfig:
    """Backbone and visual segmentation network (tribert.md section 1)."""

    backbone: Literal["resnet50", "small"] = "resnet50"
    small_widths: tuple[int, ...] = (16, 32, 64, 96)
    """channels after each halving of the picture, for the backbone `small`"""
    feature_width: int = 1024
    """channels of V_e, and width of a token"""
    expansive: Literal["spatial", "class_softmax"] = "spatial"
    """normalisation of the expansive branch: over places (paper) or over classes (released)"""
    objects: int = 2
    """class maps pooled from each picture"""
    norm_tokens: bool = True
    sos: Literal["pictures", "features"] = "pictures"
    """what is averaged over the pictures: they themselves, or their feature maps (cheaper)"""
    dropout: float = 0.2


@dataclass(frozen=True, slots=True, kw_only=True)
class PoseConfig:
    """Tokens from stored ST-GCN embeddings (tribert.md section 2)."""

    channels: int = 256
    joints: int = 68
    persons: int = 2
    dropout: float = 0.1


@dataclass(frozen=True, slots=True, kw_only=True)
class AudioConfig:
    """Input of both audio networks, and the VGG-like one (tribert.md section 3)."""

    log: Literal["ln", "log1p"] = "log1p"
    input_norm: bool = True
    widths: tuple[int, ...] = (64, 128, 256, 256, 512, 512, 512)
    dropout: float = 0.1


@dataclass(frozen=True, slots=True, kw_only=True)
class EncoderConfig:
    """The three transformer streams (tribert.md section 4)."""

    layers: int = 6
    vision_width: int = 1024
    pose_width: int = 1024
    audio_width: int = 512
    vision_ffn: int = 1024
    pose_ffn: int = 1024
    audio_ffn: int = 1024
    heads: int = 8
    co_width: int = 512
    co_heads: int = 8
    keys: Literal["sequence", "feature"] = "sequence"
    """how a stream's two partners are joined: more keys (paper) or wider keys (released)"""
    dropout: float = 0.1
    token_mask: float = 0.15
    """share of the vision and pose tokens chosen in training; 9 of 10 of these are set to zero"""


@dataclass(frozen=True, slots=True, kw_only=True)
class HeadConfig:
    """Classification of each stream (tribert.md section 4, WSDDN and audio head)."""

    regions: Literal["tokens", "slots"] = "tokens"
    """tokens: WSDDN on the features of all real tokens (paper); slots: on logits of two slots"""
    audio: Literal["sigmoid", "softmax"] = "sigmoid"


@dataclass(frozen=True, slots=True, kw_only=True)
class SeparationConfig:
    """Attention U-Net and the way that it is conditioned (tribert.md section 5)."""

    unet: Literal["strided", "double"] = "strided"
    """strided: 4x4 stride-2 convolutions (paper); double: pairs of 3x3 and pooling (released)"""
    widths: tuple[int, ...] = (64, 128, 256, 512, 512, 512, 512)
    """channels of each level; for `double` the last one is the bottleneck"""
    fusion: Literal["keys", "channel_softmax"] = "keys"
    """keys: one key for each stream and slot (paper); channel_softmax: one vector (released)"""
    mask_channels: int = 1
    """1: the U-Net's output is the mask; K > 1: K maps, summed with weights that the SOS features
    give (as in Sound-of-Pixels), which conditions the output directly and learns much faster"""


@dataclass(frozen=True, slots=True, kw_only=True)
class LossConfig:
    """Weights of the terms of the loss; a class term is averaged over mixes and classes."""

    mask: float = 1.0
    vision: float = 1.0
    pose: float = 1.0
    audio: float = 1.0
    maps: float = 0.0
    """BCE on the class scores of the attention maps"""
    over_videos: Literal["mean", "sum"] = "mean"
    """how a class term joins the videos of a mix"""


@dataclass(frozen=True, slots=True, kw_only=True)
class OptimConfig:
    """AdamW with one learning rate a group, linear warm-up, then decay to zero."""

    batch_size: int = 12
    max_steps: int = 420_000
    val_every_steps: int = 2_000
    lr_backbone: float = 1e-5
    lr_encoder: float = 5e-5
    """tokens, transformer and heads"""
    lr_unet: float = 1e-4
    """U-Net and fusion"""
    weight_decay: float = 0.01
    warmup: float = 0.1
    """share of the steps"""
    decay: Literal["linear", "cosine"] = "linear"
    clip_norm: float = 1.0
    precision: Literal["32-true", "bf16-mixed"] = "32-true"
    """bf16-mixed: products and convolutions in bfloat16 (autocast), weights and losses float32"""
    accumulate: int = 1
    """parts that a step's batch is computed in, one after the other; a divisor of batch_size"""
    checkpoint_activations: bool = False
    """keep the inputs of large blocks only and compute the rest again: less memory, more time"""


@dataclass(frozen=True, slots=True, kw_only=True)
class InitialConfig:
    """Fine-tuning: what a training starts from (TriBERT section 4.1; tribert.md section 9)."""

    model: str = ""
    """name of a published TriBERT of the same network; empty: random weights"""
    maps: Literal["keep", "swap"] = "keep"
    """keep: the attention maps stay those of the model's own classes; swap: new ones for the new
    classes, so that which maps are pooled is learned from nothing"""
    overlap: Literal["refuse", "allow"] = "refuse"
    """allow: the model, and the ST-GCN of its poses, may have seen test videos, as in the paper;
    those of the model are counted in the new one's record and evaluations"""


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


def _tiny() -> Config:
    return Config(
        data=DataConfig(
            picture_px=64,
            spec_frames=64,
            spec_rows=64,
            mask="dominant",
            scale_low=0.6,
            scale_high=1.0,
            colour=0.4,
            other_class=0.5,
        ),
        vision=VisionConfig(backbone="small", feature_width=128, sos="features"),
        pose=PoseConfig(channels=64),
        audio=AudioConfig(widths=(16, 32, 64, 64)),
        encoder=EncoderConfig(
            layers=2,
            vision_width=128,
            pose_width=128,
            audio_width=64,
            vision_ffn=128,
            pose_ffn=128,
            audio_ffn=128,
            heads=4,
            co_width=64,
            co_heads=4,
        ),
        separation=SeparationConfig(widths=(16, 32, 64, 128, 128), mask_channels=16),
        loss=LossConfig(maps=0.5),
        optim=OptimConfig(
            batch_size=16,
            max_steps=240,
            val_every_steps=60,
            lr_backbone=1e-3,
            lr_encoder=1e-3,
            lr_unet=2e-3,
            decay="cosine",
        ),
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


presets: dict[str, Config] = {"tiny": _tiny(), "paper": _paper(), "released": _released()}


def steps_override(max_steps: int) -> dict[str, Any]:
    """Return the settings that end a training after `max_steps` steps."""
    quarter, rest = divmod(max_steps, 4)
    val_every_steps = quarter if quarter and not rest else max_steps
    return {"optim": {"max_steps": max_steps, "val_every_steps": val_every_steps}}


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
