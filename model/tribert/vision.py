"""Vision tokens: a backbone, class attention maps, and the features that the two best maps pool.

In: pictures. Out: tokens with the SOS step first, the class scores of every picture and the maps
that were used (TriBERT section 3.2, visual representations, Eq 1 and 2; tribert.md section 1).

Legend: B videos, T pictures, S = T + 1 steps with SOS first, Z = B x S, H W picture,
Y X places of the feature map, D feature width, C classes, O objects kept.
"""

from __future__ import annotations

from itertools import pairwise
from typing import NamedTuple

import torch
from torch import nn
from torch.nn import functional
from torchvision.models import resnet50

from model.tribert.config import VisionConfig

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
RESNET50_WIDTH = 2048


class VisionOutput(NamedTuple):
    """What the visual stream starts from.

    `scores_BSC` is the average of each attention map, `chosen_BSO` the classes kept (best first)
    and `maps_BSOYX` their maps.
    """

    tokens_BSOD: torch.Tensor
    scores_BSC: torch.Tensor
    chosen_BSO: torch.Tensor
    maps_BSOYX: torch.Tensor


class ResidualBlock(nn.Module):
    """Two 3x3 convolutions, the first with stride 2, and a 1x1 shortcut; batch norm."""

    def __init__(self, before: int, after: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(before, after, 3, stride=2, padding=1, bias=False),
            nn.BatchNorm2d(after),
            nn.ReLU(inplace=True),
            nn.Conv2d(after, after, 3, padding=1, bias=False),
            nn.BatchNorm2d(after),
        )
        self.shortcut = nn.Sequential(
            nn.Conv2d(before, after, 1, stride=2, bias=False), nn.BatchNorm2d(after)
        )

    def forward(self, x_ZCHW: torch.Tensor) -> torch.Tensor:
        """Return half the height and width."""
        return functional.relu(self.body(x_ZCHW) + self.shortcut(x_ZCHW))


def build_backbone(config: VisionConfig) -> tuple[nn.Module, int]:
    """Return the convolutional trunk, (Z, 3, H, W) -> (Z, width, Y, X), and its width."""
    if config.backbone == "resnet50":
        trunk = resnet50(weights=None)
        return nn.Sequential(*list(trunk.children())[:-2]), RESNET50_WIDTH
    first, *_ = widths = config.small_widths
    stem = nn.Sequential(
        nn.Conv2d(3, first, 3, stride=2, padding=1, bias=False),
        nn.BatchNorm2d(first),
        nn.ReLU(inplace=True),
    )
    blocks = (ResidualBlock(before, after) for before, after in pairwise(widths))
    return nn.Sequential(stem, *blocks), widths[-1]


class SegmentationTokens(nn.Module):
    """3x3 convolution, expansive and discriminative branches, pooling by the best class maps."""

    def __init__(self, config: VisionConfig, trunk_width: int, classes: int) -> None:
        super().__init__()
        width = config.feature_width
        self.objects = config.objects
        self.expansive = config.expansive
        self.features = nn.Conv2d(trunk_width, width, 3, padding=1)
        self.expand = nn.Sequential(
            nn.Dropout(config.dropout), nn.Conv2d(width, classes, 1), nn.Dropout(config.dropout)
        )
        self.expand_more = (
            nn.Conv2d(classes, classes, 1) if config.expansive == "class_softmax" else nn.Identity()
        )
        self.discriminate = nn.Conv2d(width, classes, 1)
        self.norm = nn.LayerNorm(width) if config.norm_tokens else nn.Identity()

    def forward(self, trunk_ZKYX: torch.Tensor) -> VisionOutput:
        """Return tokens (Z, O, D), scores (Z, C), classes (Z, O) and maps (Z, O, Y, X)."""
        features_ZDYX = self.features(trunk_ZKYX)
        attention_ZCYX = self._expansive(features_ZDYX) * self.discriminate(features_ZDYX)
        scores_ZC = attention_ZCYX.mean((2, 3))
        chosen_ZO = scores_ZC.topk(self.objects, dim=1).indices
        index = chosen_ZO[:, :, None, None].expand(-1, -1, *attention_ZCYX.shape[2:])
        maps_ZOYX = attention_ZCYX.gather(1, index)
        places = maps_ZOYX.shape[2] * maps_ZOYX.shape[3]
        tokens_ZOD = maps_ZOYX.flatten(2) @ features_ZDYX.flatten(2).transpose(1, 2) / places
        return VisionOutput(self.norm(tokens_ZOD), scores_ZC, chosen_ZO, maps_ZOYX)

    def _expansive(self, features_ZDYX: torch.Tensor) -> torch.Tensor:
        """Return S_E.

        `spatial` is Eq 1 and 2 with F = softplus (never all zero), times the number of places, so
        that the average of A_m is a mean of S_D weighted by S_E whatever the size of the map.
        """
        raw_ZCYX = self.expand(features_ZDYX)
        if self.expansive == "spatial":
            positive = functional.softplus(raw_ZCYX)
            return positive / positive.mean((2, 3), keepdim=True)
        return functional.relu(self.expand_more(functional.relu(raw_ZCYX))).softmax(dim=1)


class VisionTokens(nn.Module):
    """Pictures to tokens, with the SOS step in front."""

    mean_C: torch.Tensor
    std_C: torch.Tensor

    def __init__(self, config: VisionConfig, classes: int) -> None:
        super().__init__()
        self.sos = config.sos
        self.trunk, trunk_width = build_backbone(config)
        self.segmentation = SegmentationTokens(config, trunk_width, classes)
        self.register_buffer("mean_C", torch.tensor(IMAGENET_MEAN), persistent=False)
        self.register_buffer("std_C", torch.tensor(IMAGENET_STD), persistent=False)

    def forward(self, frames_BTHWC: torch.Tensor) -> VisionOutput:
        """Return tokens, scores and maps of all steps from uint8 (0..255) or float (0..1)."""
        pictures_BTCHW = self._normalised(frames_BTHWC)
        if self.sos == "pictures":
            sos = pictures_BTCHW.mean(1, keepdim=True)
            pictures_BTCHW = torch.cat((sos, pictures_BTCHW), dim=1)
        steps = pictures_BTCHW.shape[:2]
        trunk_ZKYX = self.trunk(pictures_BTCHW.flatten(0, 1))
        if self.sos == "features":
            features = trunk_ZKYX.unflatten(0, steps)
            features = torch.cat((features.mean(1, keepdim=True), features), dim=1)
            trunk_ZKYX, steps = features.flatten(0, 1), features.shape[:2]
        flat = self.segmentation(trunk_ZKYX)
        return VisionOutput(*(tensor.unflatten(0, steps) for tensor in flat))

    def _normalised(self, frames_BTHWC: torch.Tensor) -> torch.Tensor:
        """Return (B, T, C, H, W) with ImageNet's mean and deviation taken out."""
        scale = 1.0 if frames_BTHWC.is_floating_point() else 255.0
        scaled = frames_BTHWC.float() / scale
        return ((scaled - self.mean_C) / self.std_C).permute(0, 1, 4, 2, 3)
