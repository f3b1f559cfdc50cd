"""Separation without training or video: factorised spectra, their components grouped by timbre.

In: the complex spectrum of a mixture. Out: soft masks on its linear bins that add up to one. The
sources have no names, so the masks are in no order that means anything.

Sources: Spiertz and Gnann 2009 (grouping by MFCC); Lee and Seung 2001 (the updates);
separation_baselines.md section 3, whose settings are the defaults.

Legend: L linear bins, T frames, R components, M mel bands, N sources.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass

import numpy as np
from scipy import fft
from scipy.cluster.vq import ClusterError, kmeans2, vq
from torchaudio.functional import melscale_fbanks

from model.tribert.spectrogram import SpectrogramConfig

logger = logging.getLogger(__name__)

COMPONENTS = 25
UPDATES = 200
MEL_BANDS = 20
COEFFICIENTS = slice(1, 13)
"""The first one is loudness and is left out."""
STARTS = 10
FLOOR_DB = 80.0
_TINY = 1e-10

NMF_ROW = "NMF with MFCC clustering"
NMF_ORACLE_ROW = "NMF, oracle components"


@dataclass(frozen=True, slots=True, kw_only=True)
class Factors:
    """Spectra (columns that add up to one) and activations of the components of a mixture."""

    spectra_LR: np.ndarray
    activations_RT: np.ndarray

    def masks(self, group_R: np.ndarray, sources: int) -> np.ndarray:
        """Return each group's share of every cell: float32 (N, L, T), adding up to one.

        A grouping that leaves a source without a component gives each source an equal share.
        """
        if len(np.unique(group_R)) < sources:
            logger.info("a source is left without a component: the mixture is shared out equally")
            shape = (sources, len(self.spectra_LR), self.activations_RT.shape[1])
            return np.full(shape, 1 / sources, dtype=np.float32)
        parts_NLT = np.stack(
            [
                self.spectra_LR[:, group_R == n] @ self.activations_RT[group_R == n]
                for n in range(sources)
            ]
        )
        parts_NLT += _TINY
        return (parts_NLT / parts_NLT.sum(axis=0)).astype(np.float32)


def factorise(magnitude_LT: np.ndarray, *, seed: int, components: int = COMPONENTS) -> Factors:
    """Return a factorisation that descends the Kullback-Leibler divergence.

    Parameters
    ----------
    magnitude_LT
        Magnitudes >= 0, any float type; silence is allowed.
    seed
        Of the random start.
    """
    observed_LT = np.asarray(magnitude_LT, dtype=np.float32) + np.float32(_TINY)
    rng = np.random.default_rng(seed)
    level = np.sqrt(observed_LT.mean() / components)
    bins, frames = observed_LT.shape
    spectra_LR = level * rng.uniform(0.5, 1.5, (bins, components)).astype(np.float32)
    activations_RT = level * rng.uniform(0.5, 1.5, (components, frames)).astype(np.float32)
    tiny = np.float32(_TINY) ** 2
    for _ in range(UPDATES):
        ratio_LT = observed_LT / (spectra_LR @ activations_RT + tiny)
        activations_RT *= (spectra_LR.T @ ratio_LT) / (spectra_LR.sum(0)[:, None] + tiny)
        ratio_LT = observed_LT / (spectra_LR @ activations_RT + tiny)
        spectra_LR *= (ratio_LT @ activations_RT.T) / (activations_RT.sum(1) + tiny)
    scale_R = spectra_LR.sum(axis=0) + tiny
    return Factors(
        spectra_LR=spectra_LR / scale_R, activations_RT=activations_RT * scale_R[:, None]
    )


def timbre(spectra_LR: np.ndarray, rate_hz: int) -> np.ndarray:
    """Return what describes each component: its MFCC 1..12, each z-scored: float64 (R, 12)."""
    bank_LM = melscale_fbanks(
        len(spectra_LR),
        0.0,
        rate_hz / 2,
        MEL_BANDS,
        rate_hz,
        norm="slaney",
        mel_scale="slaney",
    ).numpy()
    power_LR = (spectra_LR / max(float(spectra_LR.max()), _TINY)) ** 2
    level_MR = 10 * np.log10(np.maximum(bank_LM.T.astype(np.float64) @ power_LR, _TINY))
    level_MR = np.maximum(level_MR, level_MR.max() - FLOOR_DB)
    features_RK = fft.dct(level_MR, type=2, norm="ortho", axis=0)[COEFFICIENTS].T
    spread_K = features_RK.std(axis=0)
    return (features_RK - features_RK.mean(axis=0)) / np.where(spread_K > 0, spread_K, 1.0)


def grouped(features_RK: np.ndarray, groups: int, *, seed: int) -> np.ndarray:
    """Return the group of each component by k-means: int (R,), the best of some random starts.

    All are in group 0 where no start keeps every group alive.
    """
    rng = np.random.default_rng(seed)
    best, least = np.zeros(len(features_RK), dtype=np.int64), np.inf
    for _ in range(STARTS):
        start = features_RK[rng.choice(len(features_RK), groups, replace=False)]
        try:
            centres, _ = kmeans2(features_RK, start, iter=50, minit="matrix", missing="raise")
        except ClusterError:
            continue
        found, distance_R = vq(features_RK, centres)
        if (distance_R**2).sum() < least:
            best, least = found.astype(np.int64), float((distance_R**2).sum())
    return best


def nmf_masks(
    mixture_LT: np.ndarray, sources: int, sizes: SpectrogramConfig, *, seed: int
) -> tuple[np.ndarray, Factors]:
    """Return soft masks (N, L, T) of the groups of components, and the components.

    Parameters
    ----------
    mixture_LT
        complex64 spectrum, or its magnitude.
    sources
        N, how many groups there are.
    """
    factors = factorise(np.abs(mixture_LT), seed=seed)
    group_R = grouped(timbre(factors.spectra_LR, sizes.rate_hz), sources, seed=seed)
    return factors.masks(group_R, sources), factors


def oracle_groups(factors: Factors, sources_NLT: np.ndarray) -> np.ndarray:
    """Return for each component the source that has most energy in its cells: int (R,).

    What grouping could reach at best, nearly: factorisation is judged alone.
    """
    whole_LT = factors.spectra_LR @ factors.activations_RT + _TINY
    power_NLT = np.abs(sources_NLT) ** 2 / whole_LT
    shares_NR = np.einsum("lr,nlr->nr", factors.spectra_LR, power_NLT @ factors.activations_RT.T)
    return shares_NR.argmax(axis=0)
