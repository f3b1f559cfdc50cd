"""Clips to ground: features of both modalities, and which seconds belong together.

In: the items of a snapshot and the stages vggish and resnet152; labels are not read. Out: clips
with computed ground truth, an anchor second for each time a clip is seen, and batches. Rows, their
averages over each second and what makes an item unusable are as for parsing (`model.avvp.data`).

Legend: B clips, T seconds, A anchors, E size of a feature.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from model.avg.config import Config, stages_needed
from model.avg.truth import video_groups
from model.avvp.data import clip_rows, usable
from model.avvp.shelf import Shelf
from model.train.parts import Key
from storage.records import DatasetItem
from storage.store import FeatureStore


@dataclass(frozen=True, slots=True, kw_only=True)
class GroundedClip:
    """One clip: a row a second, float32, and the number of each second's group, int64."""

    item_id: str
    audio_TE: Tensor
    picture_TE: Tensor
    group_T: Tensor

    def __len__(self) -> int:
        return len(self.audio_TE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """Clips padded with zeros to one length; `absent_BT` is True there, None without padding.

    `anchor_BA` has one second of each clip.
    """

    audio_BTE: Tensor
    picture_BTE: Tensor
    group_BT: Tensor
    anchor_BA: Tensor
    absent_BT: Tensor | None

    def to(self, *args: Any, **kwargs: Any) -> Batch:
        """Return the batch moved as `torch.Tensor.to` moves (Lightning calls this)."""
        absent_BT = self.absent_BT
        return Batch(
            audio_BTE=self.audio_BTE.to(*args, **kwargs),
            picture_BTE=self.picture_BTE.to(*args, **kwargs),
            group_BT=self.group_BT.to(*args, **kwargs),
            anchor_BA=self.anchor_BA.to(*args, **kwargs),
            absent_BT=None if absent_BT is None else absent_BT.to(*args, **kwargs),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Anchored:
    """Clips by (epoch, index), each with an anchor second drawn from (seed, epoch, index)."""

    clips: Sequence[GroundedClip]
    seed: int

    def __len__(self) -> int:
        return len(self.clips)

    def __getitem__(self, key: Key) -> tuple[GroundedClip, int]:
        epoch, index = key
        clip = self.clips[index]
        anchor = np.random.default_rng([self.seed, epoch, index]).integers(len(clip))
        return clip, int(anchor)


def load_grounded(
    store: FeatureStore,
    stages: Mapping[str, str],
    items: Iterable[DatasetItem],
    config: Config,
    shelf: Shelf,
) -> tuple[list[GroundedClip], dict[str, str]]:
    """Return the usable clips in the items' order, and item id -> why of the others.

    Raises `model.avvp.data.BadItem` for rows that cannot be what they are said to be.
    """
    return usable(items, lambda item: _load(store, stages, item.item_id, config, shelf.keep))


def _load(
    store: FeatureStore,
    stages: Mapping[str, str],
    item_id: str,
    config: Config,
    keep: Callable[[np.ndarray], Tensor],
) -> GroundedClip:
    rows = clip_rows(store, stages, item_id, stages_needed)
    audio_TE, picture_TE = rows["vggish"], rows["resnet152"]
    group_T = video_groups(picture_TE, audio_TE, config)
    return GroundedClip(
        item_id=item_id,
        audio_TE=keep(audio_TE),
        picture_TE=keep(picture_TE),
        group_T=torch.from_numpy(group_T.astype(np.int64)),
    )


def collate(samples: Sequence[tuple[GroundedClip, int]]) -> Batch:
    """Return clips and their anchors as one batch."""
    clips = [clip for clip, _ in samples]
    lengths = torch.tensor([len(clip) for clip in clips])
    absent_BT = torch.arange(int(lengths.max()))[None] >= lengths[:, None]
    return Batch(
        audio_BTE=pad_sequence([clip.audio_TE for clip in clips], batch_first=True),
        picture_BTE=pad_sequence([clip.picture_TE for clip in clips], batch_first=True),
        group_BT=pad_sequence([clip.group_T for clip in clips], batch_first=True),
        anchor_BA=torch.tensor([[anchor] for _, anchor in samples]),
        absent_BT=absent_BT if bool(absent_BT.any()) else None,
    )


def matching_share(clips: Iterable[GroundedClip]) -> float:
    """Return the share of pairs of different seconds of a clip that belong together; 0 for none."""
    matching = pairs = 0
    for clip in clips:
        sizes = torch.bincount(clip.group_T)
        matching += int((sizes * (sizes - 1)).sum())
        pairs += len(clip) * (len(clip) - 1)
    return matching / pairs if pairs else 0.0
