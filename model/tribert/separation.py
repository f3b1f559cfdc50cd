"""One mix of whole stretches of sound: cut into windows, predicted window by window, put together.

In: clips, the sound and the pictures of the store, a network. Out: waveforms of the sources.

A stretch has W windows of F spectrogram frames each. Its STFT is taken once, so that windows have
no seams; with W = 1 this is the papers' evaluation of the middle 5.94 s (tribert.md section 7).

Legend: N sources, W windows, T = W x F frames of the stretch, L linear bins, Q warped rows,
S samples.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import nn

from model.tribert.batch import Batch, collate
from model.tribert.clips import Clip, picture_reach
from model.tribert.config import DataConfig
from model.tribert.crops import published_crop
from model.tribert.data import make_batch, multi_hot, patch_reader
from model.tribert.masks import applied_mask
from model.tribert.mixing import mean_mixture
from model.tribert.pictures import ViewReader
from model.tribert.spectrogram import SpectrogramConfig, istft, stft, unwarp
from storage.store import FeatureStore

INT16_SCALE = 32768.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Mix:
    """Two or more clips mixed, with what is needed to separate and to judge them."""

    clips: tuple[Clip, ...]
    centres: tuple[tuple[int, ...], ...]
    """For each clip the picture row of each window."""
    references_NS: np.ndarray
    """Sources as they are in the mixture, cut to what the inverse STFT gives back."""
    mixture_S: np.ndarray
    mixture_LT: torch.Tensor
    """Complex spectrum of the mixture."""
    sources_NLT: torch.Tensor
    """Complex spectra of the sources; they add up to the mixture's."""
    batch: Batch
    """One mix a window: W of them."""


class MixReader:
    """Reads whole stretches around the middle of clips, mixed.

    Parameters
    ----------
    stages
        As `clips.stages_read` gives them.
    span_frames
        STFT frames of a stretch; at least one window is read, even if that is longer.
    """

    def __init__(
        self,
        *,
        store: FeatureStore,
        stages: Mapping[str, str],
        classes: Sequence[str],
        data: DataConfig,
        sizes: SpectrogramConfig,
        span_frames: int,
    ) -> None:
        self.store = store
        self.stages = dict(stages)
        self.classes = tuple(classes)
        self.data = data
        self.sizes = sizes
        self.span_frames = span_frames
        self.views = ViewReader(store, stages, data)
        self.patches = patch_reader(store, stages, sizes, data)

    def read(self, clips: Sequence[Clip]) -> Mix:
        """Return the mix of `clips`, as many windows long as the span and every clip allow."""
        windows = self._windows(clips)
        span = replace(self.sizes, frames=windows * self.sizes.frames)
        waves = [self._wave(clip) for clip in clips]
        middles_s = [len(wave) / 2 / span.rate_hz for wave in waves]
        crops_NS = np.stack(
            [
                published_crop(wave, centre_s=at, rate_hz=span.rate_hz, samples=span.crop_samples)
                for wave, at in zip(waves, middles_s, strict=True)
            ]
        )
        sources_NS, mixture_S = mean_mixture(torch.from_numpy(crops_NS))
        sources_NLT, mixture_LT = stft(sources_NS, span), stft(mixture_S, span)
        kept = (span.frames - 1) * span.hop_samples
        centres = tuple(
            tuple(self._centre(clip, middle_s, span, window) for window in range(windows))
            for clip, middle_s in zip(clips, middles_s, strict=True)
        )
        return Mix(
            clips=tuple(clips),
            centres=centres,
            references_NS=sources_NS[:, :kept].numpy(),
            mixture_S=mixture_S[:kept].numpy(),
            mixture_LT=mixture_LT,
            sources_NLT=sources_NLT,
            batch=self._batch(clips, centres, sources_NLT, mixture_LT),
        )

    def _windows(self, clips: Sequence[Clip]) -> int:
        shortest = min(clip.tracks["stft"].rows for clip in clips)
        return max(1, min(self.span_frames, shortest) // self.sizes.frames)

    def _wave(self, clip: Clip) -> np.ndarray:
        pcm = self.store.rows(self.stages["audio_11025"], clip.item_id, "pcm")
        return np.asarray(pcm, dtype=np.float32) / np.float32(INT16_SCALE)

    def _centre(self, clip: Clip, middle_s: float, span: SpectrogramConfig, window: int) -> int:
        """Return the picture row nearest to the middle of a window whose pictures all exist."""
        first_s = middle_s - span.crop_s / 2
        centre_s = first_s + window * self.sizes.frames * span.hop_s + self.sizes.crop_s / 2
        before, after = picture_reach(self.data)
        pictures = clip.tracks["frames"]
        (row,) = pictures.nearest([centre_s])
        return min(max(row, before), pictures.rows - 1 - after)

    def _batch(
        self,
        clips: Sequence[Clip],
        centres: Sequence[Sequence[int]],
        sources_NLT: torch.Tensor,
        mixture_LT: torch.Tensor,
    ) -> Batch:
        labels_NC = np.stack([multi_hot(clip.labels, self.classes) for clip in clips])
        frames, windows = self.sizes.frames, len(centres[0])
        heard = self.patches.stretch(clips, windows) if self.patches else [None] * windows
        return collate(
            [
                make_batch(
                    sources_NLF,
                    mixture_LF,
                    views=[self.views.read(c, at[i]) for c, at in zip(clips, centres, strict=True)],
                    labels_NC=labels_NC,
                    rows=self.sizes.rows,
                    mask=self.data.mask,
                    patches_RTM=heard[i],
                )
                for i, (sources_NLF, mixture_LF) in enumerate(
                    zip(sources_NLT.split(frames, -1), mixture_LT.split(frames, -1), strict=True)
                )
            ]
        )


def joined_windows(masks_WNQF: torch.Tensor) -> torch.Tensor:
    """Return masks (N, Q, W x F): the windows side by side."""
    return masks_WNQF.permute(1, 2, 0, 3).flatten(2)


@torch.inference_mode()
def predict_masks(network: nn.Module, batch: Batch, device: torch.device) -> torch.Tensor:
    """Return the network's masks of every window: (W, N, Q, F) in 0..1, on the CPU."""
    return network(batch.to(device)).masks_BNQF.cpu()


def separate(
    mixture_LT: torch.Tensor, masks_NQT: torch.Tensor, application: str, sizes: SpectrogramConfig
) -> np.ndarray:
    """Return the waveforms that the masks leave of the mixture: float32 (N, S).

    The mask goes to the linear bins before it is thresholded; the mixture keeps its own
    magnitude, un-warped, and its phase.
    """
    masks_NLT = applied_mask(unwarp(masks_NQT, sizes.bins), application)
    return istft(mixture_LT * masks_NLT, sizes).numpy()
