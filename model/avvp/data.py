"""Features, tags and dense events of clips, resident in memory as long as they fit.

In: the items of a snapshot and the stages vggish, resnet152 and r2plus1d. Out: `Clip`s of one row
a second, batches of them, and arrays of the dense events.

A clip's seconds T: the length of its window (LLP's are exactly 10), else of its longest feature.
A feature that is up to a second short repeats its last row; one that is shorter makes the clip
unusable, with a reason, as does one that is not there. Rows of another shape, values that are not
numbers and labels that are no classes are errors: they come from a wrong import. Clips of a batch
are padded to the longest and the padding is masked.

Legend: B clips, T seconds, C classes, E size of a feature.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor

from model.avvp.han import AUDIO_SIZE, MOTION_SIZE, PICTURE_SIZE
from model.avvp.shelf import GIB, Shelf
from model.avvp.targets import ClipTargets, Targets
from model.train.errors import RecipeError
from model.train.parts import Key
from pipeline.datasets.classes import LLP
from pipeline.datasets.events import MODALITIES as MODALITIES
from pipeline.datasets.events import event_array as event_array
from storage.errors import ItemNotFound
from storage.records import DatasetItem, ItemId
from storage.store import FeatureStore

log = logging.getLogger("model.avvp.data")

SIZES = {"vggish": AUDIO_SIZE, "resnet152": PICTURE_SIZE, "r2plus1d": MOTION_SIZE}


T = TypeVar("T")


class UnusableClip(Exception):
    """A clip whose features cannot be put together; the message says why."""


class BadItem(RecipeError):
    """An item whose features or labels cannot be what they are said to be."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Clip:
    """One clip: a row of each feature for every second, float32, and its tags.

    `picture_TE` is averaged over the frames of the second. `targets` are what training aims at
    where that is not the tags alone.
    """

    item_id: str
    audio_TE: Tensor
    picture_TE: Tensor
    motion_TE: Tensor
    tags_C: Tensor
    targets: ClipTargets | None = None

    def __len__(self) -> int:
        return len(self.audio_TE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """Clips padded with zeros to one length; `absent_BT` is True there, None without padding.

    `targets` is None where the clips have none: then the tags are what is aimed at.
    """

    audio_BTE: Tensor
    picture_BTE: Tensor
    motion_BTE: Tensor
    tags_BC: Tensor
    absent_BT: Tensor | None
    targets: Targets | None = None

    def to(self, *args: Any, **kwargs: Any) -> Batch:
        """Return the batch moved as `torch.Tensor.to` moves (Lightning calls this)."""
        absent_BT, targets = self.absent_BT, self.targets
        return Batch(
            audio_BTE=self.audio_BTE.to(*args, **kwargs),
            picture_BTE=self.picture_BTE.to(*args, **kwargs),
            motion_BTE=self.motion_BTE.to(*args, **kwargs),
            tags_BC=self.tags_BC.to(*args, **kwargs),
            absent_BT=None if absent_BT is None else absent_BT.to(*args, **kwargs),
            targets=None if targets is None else targets.to(*args, **kwargs),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class ClipDataset:
    """Clips by (epoch, index); nothing is drawn, so the epoch does not matter."""

    clips: Sequence[Clip]

    def __len__(self) -> int:
        return len(self.clips)

    def __getitem__(self, key: Key) -> Clip:
        return self.clips[key[1]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Scale:
    """Mean and deviation of every feature value over the training seconds; (E,) each."""

    mean: Mapping[str, Tensor]
    deviation: Mapping[str, Tensor]

    @classmethod
    def of(cls, clips: Sequence[Any], stages: Iterable[str] = tuple(SIZES)) -> Scale:
        """Return the scale that gives the seconds of `clips` zero mean and unit variance.

        `clips` are `Clip`s, or have those fields of theirs that hold the rows of `stages`.
        """
        mean, deviation = {}, {}
        for stage in stages:
            rows_TE = torch.cat([getattr(clip, _FIELDS[stage]) for clip in clips]).double()
            mean[stage] = rows_TE.mean(0).float()
            deviation[stage] = rows_TE.std(0, correction=0).clamp(min=1e-6).float()
        return cls(mean=mean, deviation=deviation)

    @classmethod
    def neutral(cls, stages: Iterable[str] = tuple(SIZES)) -> Scale:
        """Return the scale that changes nothing: the place of one that is loaded."""
        sizes = {stage: SIZES[stage] for stage in stages}
        return cls(
            mean={stage: torch.zeros(size) for stage, size in sizes.items()},
            deviation={stage: torch.ones(size) for stage, size in sizes.items()},
        )


_FIELDS = {"vggish": "audio_TE", "resnet152": "picture_TE", "r2plus1d": "motion_TE"}


def class_list(items: Iterable[DatasetItem]) -> tuple[str, ...]:
    """Return every label of the items: LLP's in their official order, then others by name."""
    labels = {label for item in items for label in item.labels}
    labels |= {event.label for item in items for event in item.events or ()}
    return tuple(name for name in LLP if name in labels) + tuple(sorted(labels - set(LLP)))


def load_clips(
    store: FeatureStore,
    stages: Mapping[str, str],
    items: Iterable[DatasetItem],
    classes: Sequence[str],
    shelf: Shelf | None = None,
) -> tuple[list[Clip], dict[str, str]]:
    """Return the usable clips in the items' order, and item id -> why of the others.

    Parameters
    ----------
    store : FeatureStore
    stages
        'vggish', 'resnet152' and 'r2plus1d' -> `<stage>-<fingerprint>`.
    items, classes
        What to load; the order of the tags.
    shelf
        Where the features are kept; by default all in memory.

    Raises
    ------
    BadItem
        A feature has rows of another shape or values that are not finite, or an item has a label
        that is none of `classes`. The message names the item.
    """
    keep = torch.from_numpy if shelf is None else shelf.keep
    return usable(items, lambda item: _load(store, stages, item, classes, keep))


def usable(
    items: Iterable[DatasetItem], load: Callable[[DatasetItem], T]
) -> tuple[list[T], dict[str, str]]:
    """Return what `load` makes of the items, in their order, and item id -> why of the others."""
    clips, missing = [], {}
    for item in items:
        try:
            clips.append(load(item))
        except (ItemNotFound, UnusableClip) as error:
            missing[item.item_id] = str(error)
    return clips, missing


def check_loaded(
    name: str, train: Sequence[object], missing: Mapping[str, str], shelf: Shelf
) -> None:
    """Tell which clips the training `name` goes without, and how much is mapped from disk.

    Raises
    ------
    RecipeError
        There is no training clip.
    """
    if shelf.mapped_bytes:
        mapped, limit = shelf.mapped_bytes / GIB, shelf.limit_bytes / GIB
        log.info("%.1f GiB of features are mapped from disk, %g GiB stay in memory", mapped, limit)
    if missing:
        item, reason = next(iter(missing.items()))
        log.warning("%d clips are left out, such as %s: %s", len(missing), item, reason)
    if not train:
        said = next((f": {item} {why}" for item, why in missing.items()), "; the split is empty")
        raise RecipeError(f"{name}: no training clip can be used{said}")


def _load(
    store: FeatureStore,
    stages: Mapping[str, str],
    item: DatasetItem,
    classes: Sequence[str],
    keep: Callable[[np.ndarray], Tensor],
) -> Clip:
    if unknown := sorted(set(item.labels) - set(classes)):
        raise BadItem(
            f"{item.item_id}: its labels name {', '.join(unknown)}; expected some of "
            f"{', '.join(classes)}: correct its list, or use the classes of the list it is from"
        )
    rows = clip_rows(store, stages, item.item_id, SIZES)
    return Clip(
        item_id=item.item_id,
        tags_C=torch.tensor([float(name in item.labels) for name in classes]),
        audio_TE=keep(rows["vggish"]),
        picture_TE=keep(rows["resnet152"]),
        motion_TE=keep(rows["r2plus1d"]),
    )


def clip_rows(
    store: FeatureStore, stages: Mapping[str, str], item_id: str, wanted: Iterable[str]
) -> dict[str, np.ndarray]:
    """Return a row a second of each of the wanted stages, float32 (T, E), all equally long.

    Raises
    ------
    ItemNotFound
        The item has no rows of a stage.
    UnusableClip
        A stage lacks more than a second.
    BadItem
        Rows of another shape, or values that are not finite.
    """
    found = {stage: _per_second(store, stages[stage], item_id, stage) for stage in wanted}
    window = ItemId.parse(item_id).window_s
    seconds = round(window[1] - window[0]) if window else max(len(r) for r in found.values())
    return {stage: _fitted(rows, max(seconds, 1), stage) for stage, rows in found.items()}


def _per_second(store: FeatureStore, stage_fp: str, item_id: str, stage: str) -> np.ndarray:
    """Return the stage's rows averaged over each second, float32 (T, E)."""
    rows = np.asarray(store.rows(stage_fp, item_id), dtype=np.float32)
    if rows.ndim != 2 or rows.shape[1] != SIZES[stage]:
        raise BadItem(
            f"{item_id}: {stage_fp} has shape {rows.shape}; expected (rows, {SIZES[stage]}): one "
            "pooled vector a row, not the map of a convolution or several features joined; extract "
            "or import the stage again"
        )
    if not np.isfinite(rows).all():
        row = int(np.flatnonzero(~np.isfinite(rows).all(1))[0])
        raise BadItem(
            f"{item_id}: {stage_fp} is NaN or infinite in row {row} of {len(rows)}; expected "
            "finite numbers: extract or import it again, or take the item from the list"
        )
    a_second = max(1, round(1 / store.time_base(stage_fp, item_id).hop_s))
    if a_second == 1:
        return rows
    starts = np.arange(0, len(rows), a_second)
    counts = np.diff(np.append(starts, len(rows)))
    return np.add.reduceat(rows, starts, axis=0) / counts[:, None].astype(np.float32)


def _fitted(rows_TE: np.ndarray, seconds: int, stage: str) -> np.ndarray:
    if len(rows_TE) < max(1, seconds - 1):
        raise UnusableClip(f"{stage} has {len(rows_TE)} seconds, expected {seconds}")
    short = max(0, seconds - len(rows_TE))
    return np.concatenate([rows_TE[:seconds], np.repeat(rows_TE[-1:], short, axis=0)])


def collate(clips: Sequence[Clip]) -> Batch:
    """Return the clips as one batch."""
    lengths = torch.tensor([len(clip) for clip in clips])
    longest = int(lengths.max())
    absent_BT = torch.arange(longest)[None] >= lengths[:, None]

    def padded(name: str) -> Tensor:
        return torch.nn.utils.rnn.pad_sequence([getattr(c, name) for c in clips], batch_first=True)

    targets = [clip.targets for clip in clips if clip.targets is not None]
    return Batch(
        audio_BTE=padded("audio_TE"),
        picture_BTE=padded("picture_TE"),
        motion_BTE=padded("motion_TE"),
        tags_BC=torch.stack([clip.tags_C for clip in clips]),
        absent_BT=absent_BT if bool(absent_BT.any()) else None,
        targets=Targets.stacked(targets) if targets else None,
    )


def permuted_tags(clips: Sequence[Clip], seed: int) -> list[Clip]:
    """Return the clips with their tags dealt out anew among them, as `seed` decides."""
    order = np.random.default_rng([seed, len(clips)]).permutation(len(clips))
    return [replace(clip, tags_C=clips[j].tags_C) for clip, j in zip(clips, order, strict=True)]
