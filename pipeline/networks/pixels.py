"""Stored pictures flow in, the input of a picture network flows out.

Shapes: N pictures or clips, F frames of a clip, H height, W width, 3 colours (RGB).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import torch
from torch.nn import functional

from pipeline.failures import ItemFailure

SHORT_SIDE_PX = 256


@dataclass(frozen=True, slots=True, kw_only=True)
class Normalisation:
    """The square size that a network takes, and the colour statistics that it was trained with."""

    size_px: int
    mean: tuple[float, float, float]
    std: tuple[float, float, float]


RESNET = Normalisation(size_px=224, mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))
R2PLUS1D = Normalisation(
    size_px=112, mean=(0.43216, 0.394666, 0.37645), std=(0.22803, 0.22145, 0.216989)
)


def decode(jpegs: Sequence[bytes]) -> np.ndarray:
    """Return the pictures of JPEG files of one size, (N, H, W, 3) uint8, RGB.

    Raises
    ------
    ItemFailure
        One of them is not a JPEG ('corrupt').
    """
    pictures = []
    for number, jpeg in enumerate(jpegs):
        picture = cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR)
        if picture is None:
            raise ItemFailure("corrupt", f"frame {number} of a block: not a JPEG that OpenCV reads")
        pictures.append(cv2.cvtColor(picture, cv2.COLOR_BGR2RGB))
    return np.stack(pictures)


def centre_crop(pictures_NHW3: np.ndarray, size_px: int) -> np.ndarray:
    """Return the middle square, short side brought to 256 first where it is not, uint8."""
    height, width = pictures_NHW3.shape[1:3]
    short = min(height, width)
    if short != SHORT_SIDE_PX:
        scaled = (round(height * SHORT_SIDE_PX / short), round(width * SHORT_SIDE_PX / short))
        pictures_NHW3 = resize(pictures_NHW3, scaled)
        height, width = scaled
    top, left = (height - size_px) // 2, (width - size_px) // 2
    return pictures_NHW3[:, top : top + size_px, left : left + size_px]


def resize(pictures_NHW3: np.ndarray, size_px: tuple[int, int]) -> np.ndarray:
    """Return pictures scaled to (height, width), bilinear with antialiasing as Pillow does."""
    pictures_N3HW = torch.from_numpy(pictures_NHW3).permute(0, 3, 1, 2)
    scaled_N3HW = functional.interpolate(
        pictures_N3HW, size_px, mode="bilinear", align_corners=False, antialias=True
    )
    return scaled_N3HW.permute(0, 2, 3, 1).numpy()


def normalised(
    pictures: np.ndarray, normalisation: Normalisation, device: torch.device | str = "cpu"
) -> torch.Tensor:
    """Return network input of the same values: colours moved in front, centred and scaled.

    Values travel to the device as they are: bytes are a quarter of floats.

    Parameters
    ----------
    pictures
        (N, H, W, 3) or clips (N, F, H, W, 3); uint8, or float in [0, 1].

    Returns
    -------
    Tensor (N, 3, H, W) or (N, 3, F, H, W), float32.
    """
    values = torch.from_numpy(np.ascontiguousarray(pictures)).to(device)
    values = values.float().div_(255) if values.dtype == torch.uint8 else values.float()
    mean = torch.tensor(normalisation.mean, device=device)
    return ((values - mean) / torch.tensor(normalisation.std, device=device)).movedim(-1, 1)
