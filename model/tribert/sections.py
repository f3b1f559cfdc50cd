"""The sections of a TriBERT's settings, one for each of its parts. Loads no torch.

In: nothing. Out: frozen dataclasses whose defaults are the preset `paper`; `model.tribert.config`
joins them and gives them out.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from model.settings import ConfigError

SPECTROGRAM_STAGES = {
    "stored": ("frames", "stft", "pose_embed"),
    "computed": ("frames", "audio_11025", "pose_embed"),
}
"""What samples are made of, by `DataConfig.spectrogram`."""
stages_needed = SPECTROGRAM_STAGES["stored"]

TIME_HEADS = 4
"""Of the attention over time inside the U-Net."""


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
    flip: float = 0.0
    """share of the training clips that are mirrored: pictures, boxes and poses together; needs
    embeddings of mirrored poses"""
    colour: float = 0.0
    """brightness, and each colour, are multiplied by 1 - colour .. 1 + colour in training"""
    gain_low: float = 0.5
    gain_high: float = 1.5
    other_class: float = 0.0
    """share of the mixes whose partner is drawn from the videos that share no label"""
    epoch_mixes: int = 0
    """mixes of an epoch; 0: one for each training video"""
    joint_frames: int = 0
    """rows of raw joints around the middle picture; 0: joints are not read"""
    sound_patches: int = 0
    """log-mel patches of the mixture, for audio.encoder = 'vggish': 6 are one a second; 0: none"""

    def __post_init__(self) -> None:
        if self.joint_frames < 0:
            raise ConfigError(f"data.joint_frames={self.joint_frames}: expected 0 or more rows")
        if self.sound_patches < 0:
            raise ConfigError(f"data.sound_patches={self.sound_patches}: expected 0 or more")
        if not 0 < self.scale_low <= self.scale_high <= 1:
            raise ConfigError(
                f"data.scale_low={self.scale_low}, data.scale_high={self.scale_high}: "
                "expected 0 < scale_low <= scale_high <= 1"
            )
        if not 0 <= self.colour < 1:
            raise ConfigError(f"data.colour={self.colour}: expected 0 <= colour < 1")
        if not 0 <= self.flip <= 1:
            raise ConfigError(f"data.flip={self.flip}: expected a share, 0 to 1")


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
    """Input of both audio networks, and the one that makes tokens (tribert.md section 3)."""

    encoder: Literal["vgg", "vggish"] = "vgg"
    """vgg: a VGG-like network, trained with the rest, one token a mix; vggish: the network of the
    `vggish` stage, frozen, one token for each of data.sound_patches"""
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
    fusion: Literal["keys", "channel_softmax", "tokens", "none"] = "keys"
    """what the bottleneck is conditioned by. keys: one key for each stream and slot of the SOS step
    (paper); tokens: one for each token of each stream; channel_softmax: one vector (released);
    none: nothing, so that the U-Net runs once for all sources of a mix (needs mask_channels > 1)"""
    mask_channels: int = 1
    """1: the U-Net's output is the mask; K > 1: K maps, summed with weights that the SOS features
    give (as in Sound-of-Pixels), which conditions the output directly and learns much faster"""
    time_attention: int = 0
    """frames attend to each other after so many halvings of the spectrogram; 0: nowhere"""


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
    cuda_graphs: bool = True
    """on one GPU, with `accumulate` 1: a step is recorded once and replayed, the same numbers
    several times as fast"""


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
