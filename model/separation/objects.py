"""Co-Separation and AV-Mix-and-Separate: a mask for every object that is seen in a video.

In: a `Batch`; of a video its middle picture, the persons' boxes in it and its labels. Out: one mask
and class scores an object; the mask of a video is the sum of its objects' (AV-Mix-and-Separate:
its only one).

Source: separation_baselines.md section 4 (Gao & Grauman 2019 as released). Ours: persons' boxes
instead of detected instruments, a video's labels instead of detected classes, no additional scene
picture, and ratios |S_n| / sum |S_m|, which a sigmoid can reach.

Legend: B mixes, N videos, P persons, Z objects of all videos, H W picture rows and columns, D width
of a picture's vector, E of the bottleneck, C classes, Q F spectrogram.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from typing import Literal

import torch
from torch import nn
from torchvision.ops import roi_align

from model.separation.config import Config, NetworkConfig
from model.separation.pixels import RESNET18_WIDTH, PictureNorm, resnet18_trunk
from model.separation.unet import LOG_FLOOR, SLOPE, normal_init
from model.tribert.batch import Batch
from model.tribert.config import VisionConfig
from model.tribert.unet import Encoded
from model.tribert.vision import build_backbone

LEAST_AREA = 0.01
"""A box that covers less of the picture is no object."""
SQUEEZED = 4
"""So many times fewer channels are left of a picture before its places are joined."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ObjectOutputs:
    """What is said of every object of a batch.

    `masks_ZQF` in 0..1, `scores_ZC` logits of its separated spectrogram, `videos_Z` int64: b N + n
    of its video, in order; `shape` B, N.
    """

    masks_ZQF: torch.Tensor
    scores_ZC: torch.Tensor
    videos_Z: torch.Tensor
    shape: tuple[int, int]

    @property
    def summed_BNQF(self) -> torch.Tensor:
        """Return the sum of the masks of every video's objects; may exceed 1."""
        count = self.shape[0] * self.shape[1]
        zeros = self.masks_ZQF.new_zeros((count, *self.masks_ZQF.shape[1:]))
        return zeros.index_add(0, self.videos_Z, self.masks_ZQF).unflatten(0, self.shape)

    @property
    def masks_BNQF(self) -> torch.Tensor:
        """Return the masks of the videos, 0..1, float32."""
        return self.summed_BNQF.float().clamp(0.0, 1.0)


def object_boxes(
    batch: Batch, crop: Literal["box", "frame"], most: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return x1, y1, x2, y2 of every object as fractions of the picture, (Z, 4), and its video.

    With `box`, the `most` largest boxes of the persons in the middle picture; the whole picture
    where there is none, and with `frame`.
    """
    middle = batch.box_BNTP5.shape[2] // 2
    box_VP5 = batch.box_BNTP5[:, :, middle].flatten(0, 1).float()
    present_VP = batch.present_BNTP[:, :, middle].flatten(0, 1)
    area_VP = torch.where(present_VP, box_VP5[..., 4], 0.0)
    largest_VP = area_VP.argsort(dim=1, descending=True, stable=True).argsort(1) < most
    taken_VP = (area_VP >= LEAST_AREA) & largest_VP & (crop == "box")
    nobody_V1 = ~taken_VP.any(1, keepdim=True)
    whole_V14 = box_VP5.new_tensor([0.0, 0.0, 1.0, 1.0]).expand(len(box_VP5), 1, 4)
    boxes_VO4 = torch.cat((box_VP5[..., :4], whole_V14), dim=1)
    videos_Z, slots_Z = torch.cat((taken_VP, nobody_V1), dim=1).nonzero(as_tuple=True)
    return boxes_VO4[videos_Z, slots_Z], videos_Z


class ObjectPictures(nn.Module):
    """Crops of one size to vectors: trunk, 1x1 convolution, all places joined."""

    def __init__(self, config: NetworkConfig, side_px: int, width: int) -> None:
        super().__init__()
        self.side_px = side_px
        self.normalised = PictureNorm()
        self.trunk, trunk_width, halvings = _trunk(config)
        side = -(-side_px // 2**halvings)
        inner = trunk_width // SQUEEZED
        self.squeeze = nn.Sequential(
            nn.Conv2d(trunk_width, inner, 1), nn.BatchNorm2d(inner), nn.ReLU()
        )
        self.join = nn.Linear(inner * side * side, width)

    def crops(
        self, pictures_VHWC: torch.Tensor, boxes_Z4: torch.Tensor, videos_Z: torch.Tensor
    ) -> torch.Tensor:
        """Return what is inside the boxes, normalised: (Z, 3, side, side)."""
        normalised_VCHW = self.normalised(pictures_VHWC[:, None])[:, 0]
        height, width = normalised_VCHW.shape[2:]
        size_4 = boxes_Z4.new_tensor([width, height, width, height])
        rois_Z5 = torch.cat((videos_Z[:, None].to(boxes_Z4.dtype), boxes_Z4 * size_4), dim=1)
        return roi_align(normalised_VCHW, rois_Z5, self.side_px, aligned=True)

    def forward(self, crops_ZCHW: torch.Tensor) -> torch.Tensor:
        """Return (Z, D)."""
        return self.join(self.squeeze(self.trunk(crops_ZCHW)).flatten(1))


class ObjectUNet(nn.Module):
    """4x4 stride-2 convolutions down and de-convolutions up; a vector joins the bottleneck.

    Batch norm after every layer but the last; weights start small, from N(0, 0.02).
    """

    def __init__(self, widths: Sequence[int], vector: int) -> None:
        super().__init__()
        self.down = nn.ModuleList(
            nn.Sequential(
                nn.Conv2d(before, after, 4, stride=2, padding=1),
                nn.BatchNorm2d(after),
                nn.LeakyReLU(SLOPE),
            )
            for before, after in pairwise((1, *widths))
        )
        finer = widths[-2::-1]
        coarser = (widths[-1] + vector, *(2 * width for width in finer))
        self.up = nn.ModuleList(
            nn.Sequential(
                nn.ConvTranspose2d(before, after, 4, stride=2, padding=1),
                nn.BatchNorm2d(after),
                nn.ReLU(),
            )
            for before, after in zip(coarser, finer, strict=False)
        )
        self.out = nn.ConvTranspose2d(coarser[-1], 1, 4, stride=2, padding=1)
        self.apply(partial(normal_init, deviation=0.02))

    def encode(self, log_B1QF: torch.Tensor) -> Encoded:
        """Return the skips and the bottleneck, 2^n times smaller than the input."""
        features = []
        x = log_B1QF
        for down in self.down:
            x = down(x)
            features.append(x)
        return Encoded(tuple(features[:-1]), x)

    def decode(self, encoded: Encoded, vector_ZD: torch.Tensor) -> torch.Tensor:
        """Return mask logits (Z, Q, F); the vector stands before the bottleneck, at every place."""
        bottleneck = encoded.bottleneck_BEQF
        tiled = vector_ZD[:, :, None, None].expand(-1, -1, *bottleneck.shape[2:])
        x = torch.cat((tiled, bottleneck), dim=1)
        for up, skip in zip(self.up, reversed(encoded.skips), strict=True):
            x = torch.cat((up(x), skip), dim=1)
        return self.out(x)[:, 0]


class SoundClassifier(nn.Module):
    """Log spectrograms to class scores: a picture's backbone for one channel, maximum, linear."""

    def __init__(self, config: NetworkConfig, classes: int) -> None:
        super().__init__()
        self.trunk, width, _ = _trunk(config, channels=1)
        self.out = nn.Linear(width, classes)

    def forward(self, log_Z1QF: torch.Tensor) -> torch.Tensor:
        """Return logits (Z, C)."""
        return self.out(self.trunk(log_Z1QF).amax((2, 3)))


class ObjectSeparation(nn.Module):
    """The whole of either system; they differ in what is an object, and in their losses."""

    def __init__(self, config: Config, classes: int) -> None:
        super().__init__()
        widths = config.network.widths
        self.crop = config.crop
        self.alone = config.system == "av_mix_separate"
        self.sound = ObjectUNet(widths, widths[-1])
        self.pictures = ObjectPictures(config.network, config.data.picture_px, widths[-1])
        self.classifier = SoundClassifier(config.network, classes)

    def forward(self, batch: Batch) -> ObjectOutputs:
        """Return the mask and the class of every object."""
        mixes, videos, steps, persons = batch.present_BNTP.shape
        boxes_Z4, videos_Z = object_boxes(batch, self.crop, 1 if self.alone else persons)
        pictures_VHWC = batch.frames_BNTHWC[:, :, steps // 2].flatten(0, 1)
        vector_ZD = self.pictures(self.pictures.crops(pictures_VHWC, boxes_Z4, videos_Z))
        encoded = self.sound.encode(torch.log(batch.mix_B1QF.float() + LOG_FLOOR))
        mixes_Z = videos_Z // videos
        own = Encoded(
            tuple(skip[mixes_Z] for skip in encoded.skips), encoded.bottleneck_BEQF[mixes_Z]
        )
        masks_ZQF = self.sound.decode(own, vector_ZD).float().sigmoid()
        separated_ZQF = batch.mix_B1QF[mixes_Z, 0] * masks_ZQF
        return ObjectOutputs(
            masks_ZQF=masks_ZQF,
            scores_ZC=self.classifier(torch.log(separated_ZQF[:, None] + LOG_FLOOR)),
            videos_Z=videos_Z,
            shape=(mixes, videos),
        )


def _trunk(config: NetworkConfig, channels: int = 3) -> tuple[nn.Module, int, int]:
    """Return a backbone for `channels` (1 to 3), its width, and how often it halves its input."""
    trunk: nn.Module
    if config.backbone == "resnet18":
        trunk, width, halvings = resnet18_trunk(), RESNET18_WIDTH, 5
    else:
        small = VisionConfig(backbone="small", small_widths=config.small_widths)
        trunk, width = build_backbone(small)
        halvings = len(config.small_widths)
    first = next(module for module in trunk.modules() if isinstance(module, nn.Conv2d))
    first.in_channels = channels
    first.weight = nn.Parameter(first.weight[:, :channels].detach().clone())
    return trunk, width, halvings
