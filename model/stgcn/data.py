"""Samples of ST-GCN: windows of normalised poses, a pure function of their keys.

In: a feature store, clips that have poses, a seed. Out: `Window`s; the same (seed, epoch, index)
gives the same values in any process. A sample that cannot be read raises.

Legend: N clips, C channels (x, y, confidence), T rows, V joints, M persons, L classes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch.utils.data import Dataset

from model.stgcn.config import Config
from pipeline.pose.normalise import mirror_poses, normalise_poses
from storage.records import DatasetItem
from storage.store import FeatureStore

VALIDATION_WINDOWS = 4
"""A validation sample is this many training windows long, where the clip is."""


class Window(NamedTuple):
    """One stretch of poses; in a batch the first axis is N, and shorter ones are padded."""

    x_CTVM: torch.Tensor
    present_TM: torch.Tensor
    label_L: torch.Tensor


@dataclass(frozen=True, slots=True)
class Clip:
    """A clip with poses: the rows in which anybody is."""

    item_id: str
    labels: tuple[str, ...]
    n_rows: int
    rows_with_anyone: np.ndarray


def find_clips(
    store: FeatureStore, pose: str, items: Sequence[DatasetItem], *, min_present_rows: int
) -> tuple[list[Clip], dict[str, str]]:
    """Return the items that can be used, in their order, and why the others cannot.

    Parameters
    ----------
    pose
        `pose-<fingerprint>`.
    """
    outcomes = store.outcomes(pose)
    clips: list[Clip] = []
    left_out: dict[str, str] = {}
    for item in items:
        outcome = outcomes.get(item.item_id)
        if outcome is None or not outcome.ok:
            why = "not computed yet" if outcome is None else f"{outcome.reason} {outcome.detail}"
            left_out[item.item_id] = f"pose: {why}".rstrip()
        elif not item.labels:
            left_out[item.item_id] = "no label"
        else:
            clip = _clip(store, pose, item)
            if len(clip.rows_with_anyone) >= min_present_rows:
                clips.append(clip)
            else:
                left_out[item.item_id] = (
                    f"a person in {len(clip.rows_with_anyone)} of {clip.n_rows} rows, "
                    f"at least {min_present_rows} are needed"
                )
    return clips, left_out


def _clip(store: FeatureStore, pose: str, item: DatasetItem) -> Clip:
    present_TM = np.asarray(store.rows(pose, item.item_id, "present"))
    anyone = np.flatnonzero(present_TM.any(axis=1)).astype(np.int32)
    return Clip(item.item_id, item.labels, len(present_TM), anyone)


class PoseWindows(Dataset[Window]):
    """One window of each clip an epoch.

    Parameters
    ----------
    pose
        `pose-<fingerprint>`.
    classes
        Names in the order of the label vector; other labels of a clip are not classified.
    augment
        True: another window, size, place and side in every epoch. False (validation): the same
        longer stretch around the middle of where somebody is.
    """

    def __init__(
        self,
        *,
        store: FeatureStore,
        pose: str,
        clips: Sequence[Clip],
        classes: Sequence[str],
        config: Config,
        seed: int,
        augment: bool,
    ) -> None:
        self.store = store
        self.pose = pose
        self.clips = tuple(clips)
        self.config = config
        self.seed = seed
        self.augment = augment
        self._index: Mapping[str, int] = {name: k for k, name in enumerate(classes)}

    def __len__(self) -> int:
        return len(self.clips)

    def __getitem__(self, key: tuple[int, int]) -> Window:
        """Return the window for (epoch, index)."""
        epoch, index = key
        clip = self.clips[index]
        rng = np.random.default_rng([self.seed, epoch, index])
        start, stop = self._stretch(clip, rng)
        x_CTVM, present_TM = self._read(clip, start, stop)
        if self.augment:
            x_CTVM = self._vary(x_CTVM, rng)
        label_L = torch.zeros(len(self._index))
        label_L[[self._index[name] for name in clip.labels if name in self._index]] = 1.0
        return Window(torch.from_numpy(x_CTVM), torch.from_numpy(present_TM), label_L)

    def _stretch(self, clip: Clip, rng: np.random.Generator) -> tuple[int, int]:
        """First and last row + 1; somebody is always there."""
        if self.augment:
            rows = self.config.window_rows
            first = int(rng.choice(clip.rows_with_anyone)) - int(rng.integers(rows))
        else:
            rows = VALIDATION_WINDOWS * self.config.window_rows
            first = int(clip.rows_with_anyone[len(clip.rows_with_anyone) // 2]) - rows // 2
        start = min(max(first, 0), max(clip.n_rows - rows, 0))
        return start, min(start + rows, clip.n_rows)

    def _read(self, clip: Clip, start: int, stop: int) -> tuple[np.ndarray, np.ndarray]:
        keypoints, present, frame_size = (
            np.asarray(self.store.rows(self.pose, clip.item_id, name, start, stop))
            for name in ("keypoints", "present", "frame_size")
        )
        return normalise_poses(keypoints, frame_size, present), present.astype(np.float32)

    def _vary(self, x_CTVM: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Scaled, moved and perhaps mirrored; joints that are zero stay zero."""
        config = self.config
        scale = 1.0 + rng.uniform(-config.scale, config.scale)
        shift_2 = rng.uniform(-config.shift, config.shift, 2)
        seen_TVM = x_CTVM[2] > 0
        moved_2TVM = x_CTVM[:2] * scale + shift_2[:, None, None, None]
        varied = np.concatenate([moved_2TVM * seen_TVM, x_CTVM[2:]]).astype(np.float32)
        return mirror_poses(varied) if rng.random() < config.flip else varied


def collate(windows: Sequence[Window]) -> Window:
    """Return a batch, every window padded at its end with rows in which nobody is."""
    rows = max(window.x_CTVM.shape[1] for window in windows)
    first = windows[0].x_CTVM
    x_NCTVM = first.new_zeros((len(windows), first.shape[0], rows, *first.shape[2:]))
    present_NTM = first.new_zeros((len(windows), rows, first.shape[3]))
    for k, window in enumerate(windows):
        length = window.x_CTVM.shape[1]
        x_NCTVM[k, :, :length] = window.x_CTVM
        present_NTM[k, :length] = window.present_TM
    return Window(x_NCTVM, present_NTM, torch.stack([window.label_L for window in windows]))
