"""Sound-of-Pixels: pictures weigh the maps that an audio U-Net makes of the mixture.

In: a `Batch` of mixes, as TriBERT gets it (poses and targets are not read). Out: one mask a video.

Source: separation_baselines.md section 1 (Zhao et al. 2018 as released); golden/sound_of_pixels.

Legend: B mixes, N videos, Z = any number of videos, T pictures, H W picture, Y X places of the
feature map, K maps, Q F spectrogram.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import nn
from torchvision.models import resnet18

from model.separation.config import NetworkConfig
from model.separation.unet import SoundUNet
from model.tribert.batch import Batch
from model.tribert.config import VisionConfig
from model.tribert.vision import IMAGENET_MEAN, IMAGENET_STD, build_backbone

RESNET18_WIDTH = 512


@dataclass(frozen=True, slots=True, kw_only=True)
class MaskOutputs:
    """What a baseline says of a batch: masks before the sigmoid, (B, N, Q, F)."""

    mask_logits_BNQF: torch.Tensor

    @property
    def masks_BNQF(self) -> torch.Tensor:
        """Return the masks, 0..1, float32."""
        return self.mask_logits_BNQF.float().sigmoid()


def resnet18_trunk() -> nn.Sequential:
    """Return ResNet-18 without its pooling and classes, stride 32, with random weights."""
    return nn.Sequential(*list(resnet18(weights=None).children())[:-2])


def dilated_resnet18() -> nn.Sequential:
    """Return ResNet-18's trunk with stride 16: its last stage is dilated instead of strided.

    The strided 3x3 convolution of that stage loses its stride and stays undilated, as released.
    """
    trunk = resnet18_trunk()
    for module in trunk[-1].modules():
        if isinstance(module, nn.Conv2d):
            if module.stride == (2, 2):
                module.stride = (1, 1)
            elif module.kernel_size == (3, 3):
                module.dilation = module.padding = (2, 2)
    return trunk


class PictureNorm(nn.Module):
    """Pictures as they are stored to what networks for ImageNet read."""

    mean_C: torch.Tensor
    std_C: torch.Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("mean_C", torch.tensor(IMAGENET_MEAN), persistent=False)
        self.register_buffer("std_C", torch.tensor(IMAGENET_STD), persistent=False)

    def forward(self, frames_ZTHWC: torch.Tensor) -> torch.Tensor:
        """Return (Z, T, 3, H, W) from uint8 (0..255) or float (0..1) pictures."""
        scale = 1.0 if frames_ZTHWC.is_floating_point() else 255.0
        return ((frames_ZTHWC.float() / scale - self.mean_C) / self.std_C).movedim(-1, 2)


class PictureNet(nn.Module):
    """Pictures of one video to K numbers, or to K numbers for every place of every picture."""

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        self.pool = config.pool
        self.trunk: nn.Module
        if config.backbone == "resnet18":
            self.trunk, width = dilated_resnet18(), RESNET18_WIDTH
        else:
            small = VisionConfig(backbone="small", small_widths=config.small_widths)
            self.trunk, width = build_backbone(small)
        self.fc = nn.Conv2d(width, config.maps, 3, padding=1)
        self.normalised = PictureNorm()

    def places(self, pictures_ZTCHW: torch.Tensor) -> torch.Tensor:
        """Return the map of every normalised picture, before any activation: (Z, T, K, Y, X)."""
        maps = self.fc(self.trunk(pictures_ZTCHW.flatten(0, 1)))
        return maps.unflatten(0, pictures_ZTCHW.shape[:2])

    def forward(self, frames_ZTHWC: torch.Tensor) -> torch.Tensor:
        """Return the pooled vector of each video, 0..1: (Z, K)."""
        maps_ZTKYX = self.places(self.normalised(frames_ZTHWC))
        return pooled(maps_ZTKYX, self.pool).sigmoid()


def pooled(maps_ZTKYX: torch.Tensor, how: Literal["max", "mean"]) -> torch.Tensor:
    """Return (Z, K): pooled over pictures and places jointly."""
    return maps_ZTKYX.amax((1, 3, 4)) if how == "max" else maps_ZTKYX.mean((1, 3, 4))


class Synthesizer(nn.Module):
    """Weighs sound maps by picture vectors and adds them up."""

    scale_K: torch.Tensor

    def __init__(self, maps: int, kind: Literal["linear", "bias"]) -> None:
        super().__init__()
        if kind == "linear":
            self.scale_K = nn.Parameter(torch.ones(maps))
        else:
            self.register_buffer("scale_K", torch.ones(maps), persistent=False)
        self.bias = nn.Parameter(torch.zeros(1))

    def forward(self, pictures_BNK: torch.Tensor, sound_BKQF: torch.Tensor) -> torch.Tensor:
        """Return mask logits (B, N, Q, F): each mix's maps serve all of its videos."""
        weights_BNK = pictures_BNK * self.scale_K
        return torch.einsum("bnk,bkqf->bnqf", weights_BNK, sound_BKQF) + self.bias

    def parts(self, pictures_BNK: torch.Tensor, sound_BKQF: torch.Tensor) -> torch.Tensor:
        """Return every map's share before the sum, (B, N, K, Q, F), each with the bias added."""
        weights_BNK = pictures_BNK * self.scale_K
        return weights_BNK[..., None, None] * sound_BKQF[:, None] + self.bias

    def at_places(self, places_BKYX: torch.Tensor, sound_BKQF: torch.Tensor) -> torch.Tensor:
        """Return the mask logits of every place of a picture: (B, Y, X, Q, F).

        Y X spectrograms are large: hand over a few rows of places at a time.
        """
        weights_BKYX = places_BKYX * self.scale_K[:, None, None]
        return torch.einsum("bkyx,bkqf->byxqf", weights_BKYX, sound_BKQF) + self.bias


class SoundOfPixels(nn.Module):
    """The whole system; the U-Net runs once a mix."""

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        self.sound = SoundUNet(config.widths, config.maps, config.init)
        self.pictures = PictureNet(config)
        self.synthesizer = Synthesizer(config.maps, config.synthesizer)

    def forward(self, batch: Batch) -> MaskOutputs:
        """Return a mask for each video."""
        shape = batch.frames_BNTHWC.shape[:2]
        vectors_BNK = self.pictures(batch.frames_BNTHWC.flatten(0, 1)).unflatten(0, shape)
        logits = self.synthesizer(vectors_BNK, self.sound(batch.mix_B1QF))
        return MaskOutputs(mask_logits_BNQF=logits)
