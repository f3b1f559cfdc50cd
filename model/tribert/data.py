"""Samples of TriBERT: mixes of videos drawn from the store, a pure function of their keys.

In: clips (`model.tribert.clips`), a configuration, a seed. Out: `Batch`es of one mix; the same
(seed, epoch, index) gives the same values in any process, whatever was read before.

A sample that cannot be read raises; labels are read, never written (tribert.md section 12, defects
1 and 10).

Legend: N videos, L linear bins, Q frequency rows, F frames, C classes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import cv2
import numpy as np
import torch
from torch.utils.data import Dataset

from model.tribert.batch import Batch
from model.tribert.clips import HEARD, Clip
from model.tribert.config import DataConfig
from model.tribert.errors import SeparationError
from model.tribert.masks import MASKS, loss_weight
from model.tribert.mixing import mean_mixture
from model.tribert.pictures import CENTRE, View, ViewReader, training_crop
from model.tribert.sound_patches import PatchReader
from model.tribert.spectrogram import SpectrogramConfig, warp
from model.tribert.spectrum import SpectrumReader
from pipeline.datasets.pairs import disjoint_partners
from storage.store import FeatureStore


class MixDataset(Dataset[Batch]):
    """Mixes of one clip with others.

    Parameters
    ----------
    stages
        As `clips.stages_read` gives them.
    clips
        What can be mixed; index i of an epoch mixes clip i (modulo their number) with others.
    classes
        Names in the order of the label vector.
    sizes
        Of the stored STFT and of the crop.
    augment
        True: crops, colours, gains and moments differ in every epoch. False (validation): clips as
        they are, and the epoch is ignored: every pass sees the same mixes.
    mixes
        Of an epoch; 0: one for each clip.

    Raises
    ------
    SeparationError
        Fewer clips than a mix needs, or all of one label where partners are to be of another.
    """

    def __init__(
        self,
        *,
        store: FeatureStore,
        stages: Mapping[str, str],
        clips: Sequence[Clip],
        classes: Sequence[str],
        data: DataConfig,
        sizes: SpectrogramConfig,
        seed: int,
        augment: bool,
        mixes: int = 0,
    ) -> None:
        self.store = store
        self.stages = dict(stages)
        self.clips = tuple(clips)
        self.classes = tuple(classes)
        self.data = data
        self.sizes = sizes
        self.seed = seed
        self.augment = augment
        self.mixes = mixes or len(self.clips)
        self.views = ViewReader(store, self.stages, data)
        self.spectra = SpectrumReader(store, self.stages, sizes)
        self.patches = patch_reader(store, self.stages, sizes, data)
        self._others = [np.delete(np.arange(len(clips)), own) for own in range(len(clips))]
        self._foreign = disjoint_partners([clip.labels for clip in clips])
        self._check()

    def _check(self) -> None:
        if len(self.clips) < self.data.videos:
            raise SeparationError(
                f"a mix needs {self.data.videos} videos, {len(self.clips)} can be read: "
                f"{[clip.item_id for clip in self.clips]}"
            )
        if self.data.other_class > 0 and not any(map(len, self._foreign)):
            raise SeparationError(
                f"no two of {len(self.clips)} clips are without a common label (the first has "
                f"{list(self.clips[0].labels)}): add another class, or set data.other_class to 0"
            )

    def __len__(self) -> int:
        return self.mixes

    def __getitem__(self, key: tuple[int, int]) -> Batch:
        """Return one mix, a batch of size 1, for (epoch, index)."""
        epoch, index = key
        rng = np.random.default_rng([self.seed, epoch if self.augment else 0, index])
        clips = [self.clips[i] for i in self._members(index % len(self.clips), rng)]
        centres = [int(rng.integers(c.centres.first, c.centres.last + 1)) for c in clips]
        gains = [self._gain(rng) for _ in clips]
        crops = [training_crop(self.data, rng) if self.augment else CENTRE for _ in clips]
        spectra_NFL = torch.stack(
            [
                gain * self.spectra.read(clip, centre).T
                for clip, centre, gain in zip(clips, centres, gains, strict=True)
            ]
        )  # in the order of the stored rows: transposing so many numbers takes long
        views = [
            self.views.read(clip, centre, crop)
            for clip, centre, crop in zip(clips, centres, crops, strict=True)
        ]
        return make_batch(
            *(each.mT for each in mean_mixture(spectra_NFL)),
            views=views,
            labels_NC=np.stack([multi_hot(clip.labels, self.classes) for clip in clips]),
            rows=self.sizes.rows,
            mask=self.data.mask,
            patches_RTM=self.patches.training(clips, centres, gains) if self.patches else None,
        )

    def _members(self, first: int, rng: np.random.Generator) -> list[int]:
        """Return the clips of a mix: `first`, then partners, of other classes or any other.

        A clip that shares a label with every other one (a duet among its soloists) takes any.
        """
        foreign = rng.random() < self.data.other_class and len(self._foreign[first]) > 0
        pool = self._foreign[first] if foreign else self._others[first]
        count = self.data.videos - 1
        partners = rng.choice(pool, count, replace=len(pool) < count)
        return [first, *(int(partner) for partner in partners)]

    def _gain(self, rng: np.random.Generator) -> float:
        if not self.augment:
            return 1.0
        return float(rng.uniform(self.data.gain_low, self.data.gain_high))


def patch_reader(
    store: FeatureStore, stages: Mapping[str, str], sizes: SpectrogramConfig, data: DataConfig
) -> PatchReader | None:
    """Return what reads `data.sound_patches`, or None where `stages` lack the sound for them."""
    wanted = data.sound_patches and HEARD in stages
    return PatchReader(store, stages, sizes, data.sound_patches) if wanted else None


def multi_hot(labels: Sequence[str], classes: Sequence[str]) -> np.ndarray:
    """Return float32 (C,): 1 for each of the labels."""
    return np.array([name in labels for name in classes], dtype=np.float32)


def make_batch(
    sources_NLF: torch.Tensor,
    mixture_LF: torch.Tensor,
    *,
    views: Sequence[View],
    labels_NC: np.ndarray,
    rows: int,
    mask: str,
    patches_RTM: torch.Tensor | None = None,
) -> Batch:
    """Return the batch of one mix.

    Parameters
    ----------
    sources_NLF, mixture_LF
        Complex spectra as `mean_mixture` gives them.
    rows
        Q of the warped spectrogram.
    mask
        Name of the target in `masks.MASKS`.
    patches_RTM
        As `PatchReader` gives them.
    """
    warped_ZQF = warp(_magnitudes(sources_NLF, mixture_LF), rows)
    sources_NQF, mixture_QF = warped_ZQF[:-1], warped_ZQF[-1]
    return Batch(
        frames_BNTHWC=_stacked([view.frames_THWC for view in views]),
        pose_BNTPKV=_stacked([view.pose_TPKV for view in views]),
        present_BNTP=_stacked([view.present_TP for view in views]),
        box_BNTP5=_stacked([view.box_TP5 for view in views]),
        mix_B1QF=mixture_QF[None, None],
        masks_BNQF=MASKS[mask](sources_NQF, mixture_QF)[None],
        weight_B1QF=loss_weight(mixture_QF)[None, None],
        labels_BNC=torch.from_numpy(labels_NC)[None],
        joints_BNRPVK=_joints(views),
        patches_BRTM=None if patches_RTM is None else patches_RTM[None],
    )


def _magnitudes(sources_NLF: torch.Tensor, mixture_LF: torch.Tensor) -> torch.Tensor:
    """Return float32 (N + 1, L, F), the mixture last; numpy's is ten times as fast as torch's."""
    whole_ZLF = np.empty((len(sources_NLF) + 1, *mixture_LF.shape), np.float32)
    for one_LF, spectrum_LF in zip(whole_ZLF, [*sources_NLF, mixture_LF], strict=True):
        if spectrum_LF.T.is_contiguous():
            cv2.transpose(np.abs(spectrum_LF.T.numpy()), dst=one_LF)
        else:
            np.abs(spectrum_LF.contiguous().numpy(), out=one_LF)
    return torch.from_numpy(whole_ZLF)


def _joints(views: Sequence[View]) -> torch.Tensor | None:
    read = [view.joints_RPVK for view in views if view.joints_RPVK is not None]
    return _stacked(read) if read else None


def _stacked(arrays: Sequence[np.ndarray]) -> torch.Tensor:
    return torch.from_numpy(np.stack(arrays))[None]
