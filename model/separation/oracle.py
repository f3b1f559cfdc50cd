"""Oracle masks: what a network of a kind could reach at best on a mix.

In: complex spectra of the sources and the mixture. Out: waveforms that the true masks leave of the
mixture. The masks are made on the warped rows and carried back, as a network's are, so that the
warp's loss is part of the bound (separation_baselines.md section 0).

Legend: N sources, L linear bins, T frames of the stretch, S samples.
"""

from __future__ import annotations

import numpy as np
import torch

from model.tribert.masks import MASKS
from model.tribert.separation import separate
from model.tribert.spectrogram import SpectrogramConfig, warp

APPLICATIONS = {"dominant": "threshold", "half": "threshold", "ratio": "soft"}
"""Target mask -> how it is applied: binary ones at 0.5 after the way back, ratios as they are."""


def oracle_row(target: str) -> str:
    """Return the name of the row of one target."""
    return f"oracle mask ({target})"


def oracle_waves(
    sources_NLT: torch.Tensor, mixture_LT: torch.Tensor, target: str, sizes: SpectrogramConfig
) -> np.ndarray:
    """Return what the true masks leave of the mixture: float32 (N, S).

    Parameters
    ----------
    sources_NLT, mixture_LT
        complex64, the mixture being the sum of the sources.
    target
        Name of the masks in `model.tribert.masks.MASKS`.

    Raises
    ------
    KeyError
        Another `target`.
    """
    application = APPLICATIONS[target]
    warped_NQT = warp(sources_NLT.abs(), sizes.rows)
    masks_NQT = MASKS[target](warped_NQT, warp(mixture_LT.abs(), sizes.rows))
    return separate(mixture_LT, masks_NQT, application, sizes)
