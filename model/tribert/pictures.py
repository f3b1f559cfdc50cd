"""What a clip looks like at one moment: pictures, pose embeddings, who is there and where.

In: a feature store, a clip, a picture row and a crop. Out: a `View`, the visual half of a sample.

The same square of the picture is used for all steps, and the persons' boxes follow it. A flip
mirrors all of them together: pictures, boxes, raw joints, and the embedding, of which a second one
is stored: that of mirrored poses is no rearrangement of the other, and pictures flipped alone would
contradict the poses (tribert.md section 12, defect 6).

Legend: T steps, H W picture rows and columns, P persons, K V channels and joints of an embedding
(of raw joints: x, y, confidence), R pose rows.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np

from model.tribert.clips import Clip, stage_record
from model.tribert.config import DataConfig
from model.tribert.crops import picture_rows
from model.tribert.errors import SeparationError
from pipeline.pose.config import MIRRORED_EMBEDDING
from pipeline.pose.normalise import mirror_poses, normalise_poses
from storage.store import FeatureStore

_REDUCED = (
    (8, cv2.IMREAD_REDUCED_COLOR_8),
    (4, cv2.IMREAD_REDUCED_COLOR_4),
    (2, cv2.IMREAD_REDUCED_COLOR_2),
)

LINEAR_UP_TO = 1.5
"""Beyond it, reading four pixels only would skip some."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PictureCrop:
    """A square of a picture, and the gain of each of its colours.

    `scale` is the square's side as a share of the short side, `x` and `y` are its place in the
    free room, 0..1; with `flip` the square is mirrored.
    """

    scale: float = 1.0
    x: float = 0.5
    y: float = 0.5
    gains_rgb: tuple[float, float, float] = (1.0, 1.0, 1.0)
    flip: bool = False

    def square(self, width: int, height: int) -> tuple[float, float, float]:
        """Return left, top and side in pixels of a picture of this size."""
        side = self.scale * min(width, height)
        return self.x * (width - side), self.y * (height - side), side


CENTRE = PictureCrop()
"""The whole short side in the middle: validation and evaluation."""


def training_crop(data: DataConfig, rng: np.random.Generator) -> PictureCrop:
    """Draw the crop and the colours that one clip's pictures share."""
    x, y = rng.random(2)
    scale = rng.uniform(data.scale_low, data.scale_high)
    low, high = 1 - data.colour, 1 + data.colour
    red, green, blue = rng.uniform(low, high, 3) * rng.uniform(low, high)
    return PictureCrop(
        scale=float(scale),
        x=float(x),
        y=float(y),
        gains_rgb=(float(red), float(green), float(blue)),
        flip=data.flip > 0 and bool(rng.random() < data.flip),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """Pictures (T, H, W, 3) uint8 RGB and what is known of the persons in them."""

    frames_THWC: np.ndarray
    pose_TPKV: np.ndarray
    present_TP: np.ndarray
    box_TP5: np.ndarray
    joints_RPVK: np.ndarray | None = None
    """Only where `data.joint_frames` asks for them."""


class ViewReader:
    """Reads views from one set of stages. Picklable: it may go to loader workers.

    Parameters
    ----------
    stages
        As `clips.stages_read` gives them.
    """

    def __init__(self, store: FeatureStore, stages: Mapping[str, str], data: DataConfig) -> None:
        self.store = store
        self.stages = dict(stages)
        self.data = data
        self.short_side_px = int(stage_record(store, stages["frames"]).parameters["short_side_px"])

    def read(self, clip: Clip, centre: int, crop: PictureCrop = CENTRE) -> View:
        """Return the pictures around row `centre` of the clip, with the poses of their times."""
        rows = picture_rows(centre, self.data.steps, self.data.picture_stride)
        times_s = [clip.time_s(row) for row in rows]
        frames_THWC, whole = self._pictures(self._rows("frames", clip, "jpeg", rows), crop)
        persons = clip.tracks["pose"].nearest(times_s)
        present_TP = np.stack(self._rows("pose", clip, "present", persons)).astype(bool)
        boxes_TP4 = np.stack(self._rows("pose", clip, "box", persons))
        size_T2 = np.stack(self._rows("pose", clip, "frame_size", persons))
        embedded = clip.tracks["pose_embed"].nearest(times_s)
        array = MIRRORED_EMBEDDING if crop.flip else "embedding"
        pose_TPKV = np.stack(self._rows("pose_embed", clip, array, embedded))
        pose_TPKV[~present_TP] = 0
        return View(
            frames_THWC=frames_THWC,
            pose_TPKV=pose_TPKV,
            present_TP=present_TP,
            box_TP5=cut_boxes(boxes_TP4 / np.tile(size_T2, 2)[:, None], present_TP, whole, crop),
            joints_RPVK=self._joints(clip, centre, crop.flip) if self.data.joint_frames else None,
        )

    def _joints(self, clip: Clip, centre: int, flip: bool) -> np.ndarray:
        """Return float32 (R, P, V, 3) as `Batch.joints_BNRPVK` has them."""
        rows, track = self.data.joint_frames, clip.tracks["pose"]
        (middle,) = track.nearest([clip.time_s(centre)])
        start = middle - rows // 2
        first, stop = max(start, 0), min(start + rows, track.rows)
        keypoints, size, present = (
            np.asarray(self.store.rows(self.stages["pose"], clip.item_id, name, first, stop))
            for name in ("keypoints", "frame_size", "present")
        )
        poses_KRVP = normalise_poses(keypoints, size, present)
        poses_RPVK = (mirror_poses(poses_KRVP) if flip else poses_KRVP).transpose(1, 3, 2, 0)
        beyond = (first - start, start + rows - stop)
        return np.pad(poses_RPVK, (beyond, (0, 0), (0, 0), (0, 0)))

    def _rows(self, stage: str, clip: Clip, array: str, rows: Sequence[int]) -> list[Any]:
        """Return the rows in the order asked for; near ones are read in one slice."""
        name, first, last = self.stages[stage], min(rows), max(rows)
        if last - first < 2 * len(rows):
            block = self.store.rows(name, clip.item_id, array, first, last + 1)
            return [block[row - first] for row in rows]
        return [self.store.rows(name, clip.item_id, array, row, row + 1)[0] for row in rows]

    def _pictures(
        self, jpegs: Sequence[bytes], crop: PictureCrop
    ) -> tuple[np.ndarray, tuple[int, int]]:
        side_px = self.data.picture_px
        flag = _decode_flag(self.short_side_px, side_px / crop.scale)
        pictures = [decode(jpeg, flag) for jpeg in jpegs]
        height, width = pictures[0].shape[:2]
        cut = [cut_picture(each, crop, side_px, self.data.resize) for each in pictures]
        return np.stack(cut), (width, height)


def decode(jpeg: bytes, flag: int = cv2.IMREAD_COLOR) -> np.ndarray:
    """Return BGR pixels, uint8 (H, W, 3); raises SeparationError for bytes that are no JPEG."""
    picture = cv2.imdecode(np.frombuffer(jpeg, np.uint8), flag)
    if picture is None:
        raise SeparationError(f"a stored picture of {len(jpeg)} bytes cannot be decoded as JPEG")
    return picture


def _decode_flag(stored_px: int, wanted_px: float) -> int:
    """Return how far a JPEG may be reduced while decoding: the short side keeps `wanted_px`."""
    for factor, flag in _REDUCED:
        if stored_px // factor >= wanted_px:
            return flag
    return cv2.IMREAD_COLOR


def cut_picture(
    picture_HWC: np.ndarray, crop: PictureCrop, side_px: int, resize: str = "area"
) -> np.ndarray:
    """Return the square of a BGR picture as RGB, (side_px, side_px, 3) uint8.

    `resize` 'linear' serves where the square is at most `LINEAR_UP_TO` times too large.
    """
    height, width = picture_HWC.shape[:2]
    left, top, side = (round(value) for value in crop.square(width, height))
    square = picture_HWC[top : top + side, left : left + side]
    linear = side <= side_px or (resize == "linear" and side <= LINEAR_UP_TO * side_px)
    how = cv2.INTER_LINEAR if linear else cv2.INTER_AREA
    small = cv2.resize(square, (side_px, side_px), interpolation=how)
    cut = cv2.cvtColor(cv2.flip(small, 1) if crop.flip else small, cv2.COLOR_BGR2RGB)
    if crop.gains_rgb == CENTRE.gains_rgb:
        return cut
    levels = np.arange(256)[:, None] * np.array(crop.gains_rgb)
    return cv2.LUT(cut, levels.clip(0, 255).astype(np.uint8)[None])


def cut_boxes(
    boxes_TP4: np.ndarray, present_TP: np.ndarray, whole: tuple[int, int], crop: PictureCrop
) -> np.ndarray:
    """Return x1, y1, x2, y2 and area as fractions of the square; absent persons are zero.

    Parameters
    ----------
    boxes_TP4
        x1, y1, x2, y2 as fractions of the whole picture.
    whole
        Width and height of the whole picture, in any unit.
    """
    left, top, side = crop.square(*whole)
    corner = np.array([left, top, left, top])
    cut_TP4 = ((boxes_TP4 * np.tile(whole, 2) - corner) / side).clip(0.0, 1.0)
    if crop.flip:
        cut_TP4[..., [0, 2]] = 1.0 - cut_TP4[..., [2, 0]]
    size_TP2 = cut_TP4[..., 2:] - cut_TP4[..., :2]
    area_TP1 = size_TP2.prod(axis=-1, keepdims=True)
    return np.concatenate([cut_TP4, area_TP1], axis=-1).astype(np.float32) * present_TP[..., None]
