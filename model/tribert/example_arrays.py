"""What the pictures of a mix are made of: what the network saw, where it looked, what it separated.

In: a mix, the masks that a model predicted for it, the model. Out: an example's files, and the
arrays in its npz (`model.tribert.examples`).

Legend: N sources, T pictures, S = T + 1 steps with SOS first, O attention maps of a picture, Y X
their places, Q warped rows, F spectrogram frames of the whole stretch.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from model.separation.systems import System
from model.tribert.described import class_names_of
from model.tribert.examples import save_example, thumbnails
from model.tribert.masks import applied_mask
from model.tribert.network import TriBERT
from model.tribert.separation import Mix, MixReader, joined_windows
from model.tribert.spectrogram import warp


def write_example(
    folder: Path,
    number: int,
    *,
    system: System,
    reader: MixReader,
    mix: Mix,
    masks_NQF: torch.Tensor,
    estimates_NS: np.ndarray,
    application: str,
    device: torch.device,
) -> dict[str, Any]:
    """Write what a model made of one mix, and return the JSON that names it.

    Parameters
    ----------
    masks_NQF, estimates_NS
        Predicted masks of the whole stretch, and the waveforms that they leave of the mixture.
    application
        As `masks.applied_mask` has it.
    """
    names = class_names_of(system.published)[1]
    return save_example(
        folder,
        number,
        mix=mix,
        masks_NQT=masks_NQF,
        estimates_NS=estimates_NS,
        rate_hz=reader.sizes.rate_hz,
        pictures=thumbnails(reader.store, reader.stages, mix, reader.data)
        | spectra(mix, masks_NQF, application)
        | attention(system.network, names, mix, device),
    )


def spectra(mix: Mix, masks_NQF: torch.Tensor, application: str) -> dict[str, np.ndarray]:
    """Return `sources` and `separated`, float16 (N, Q, F): log(1 + magnitude) on warped rows.

    Parameters
    ----------
    masks_NQF
        Predicted masks of the whole stretch.
    application
        As `masks.applied_mask` has it.
    """
    mixture_1QF = joined_windows(mix.batch.mix_B1QF)
    sources_NQF = warp(mix.sources_NLT.abs(), mixture_1QF.shape[1])
    separated_NQF = mixture_1QF * applied_mask(masks_NQF, application)
    return {
        "sources": sources_NQF.log1p().numpy().astype(np.float16),
        "separated": separated_NQF.log1p().numpy().astype(np.float16),
    }


@torch.inference_mode()
def attention(
    network: nn.Module, map_classes: Sequence[str], mix: Mix, device: torch.device
) -> dict[str, np.ndarray]:
    """Return the attention maps of the middle window; nothing for a network that has none.

    Parameters
    ----------
    map_classes
        Names of the classes that the maps are of.

    Returns
    -------
    dict
        `seen`, uint8 (N, T, H, W, 3) RGB, the pictures as the network gets them; `maps`, float32
        (N, T, O, Y, X), those that pooled the tokens, the best first; `map_classes`, str (N, T, O).
    """
    if not isinstance(network, TriBERT):
        return {}
    window = len(mix.batch) // 2
    batch = mix.batch.apply(lambda tensor: tensor[window : window + 1]).to(device)
    outputs = network(batch)
    chosen_NTO = outputs.chosen_BNSO[0, :, 1:].cpu().numpy()
    return {
        "seen": batch.frames_BNTHWC[0].cpu().numpy(),
        "maps": outputs.maps_BNSOYX[0, :, 1:].float().cpu().numpy(),
        "map_classes": np.array(map_classes)[chosen_NTO],
    }
