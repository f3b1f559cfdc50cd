"""Audio tokens from the published VGGish: a frozen network, one token a patch of the mixture.

In: log-mel patches of mixtures (`model.tribert.sound_patches`). Out: tokens, and the weights that
the `vggish` stage ran with. The network is part of the model that is published, so that whoever
applies it needs no weights file; which weights they are stands in the record of the `vggish` stage,
whose fingerprint is in the model's (Hershey et al. 2017; tribert.md section 3).

Legend: B mixes, R patches, S = R + 1 tokens with SOS first, T frames, M mel bands, D width.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import nn
from torch.nn import functional

from model.tribert.attention import LAYER_NORM_EPS
from model.tribert.clips import stage_record
from model.tribert.config import AudioConfig
from model.tribert.errors import SeparationError
from pipeline.networks import loading
from pipeline.networks.vggish import EMBEDDING_SIZE, Vggish
from pipeline.weights import random_seed, resolve_weights
from storage.store import FeatureStore


class VggishTokens(nn.Module):
    """Frozen VGGish, ReLU (as the published features), then Linear, layer norm and dropout.

    The SOS token is made of the mean of the patches' features. The network never learns: its
    weights come from `frozen_vggish`, or with those of a published model.
    """

    def __init__(self, config: AudioConfig, width: int) -> None:
        super().__init__()
        self.network = Vggish().requires_grad_(False)
        self.dense = nn.Linear(EMBEDDING_SIZE, width)
        self.norm = nn.LayerNorm(width, eps=LAYER_NORM_EPS)
        self.dropout = nn.Dropout(config.dropout)

    def forward(self, patches_BRTM: torch.Tensor) -> torch.Tensor:
        """Return tokens (B, S, 1, D): a stream of one slot a step."""
        with torch.no_grad():
            features = functional.relu(self.network(patches_BRTM.flatten(0, 1)[:, None]))
        features_BRD = features.unflatten(0, patches_BRTM.shape[:2])
        steps_BSD = torch.cat((features_BRD.mean(1, keepdim=True), features_BRD), dim=1)
        return self.dropout(self.norm(self.dense(steps_BSD)))[:, :, None]


def frozen_vggish(
    store: FeatureStore, stages: Mapping[str, str], weights_dir: Path | str | None
) -> dict[str, torch.Tensor]:
    """Return the weights that the job's `vggish` stage was computed with.

    Parameters
    ----------
    stages
        With `vggish`.
    weights_dir
        Where weight files lie; not needed where they were drawn from a seed.

    Raises
    ------
    SeparationError
        The record names no weights: the rows were imported.
    pipeline.failures.WeightsMissing
        The file is not in `weights_dir`.
    """
    stage = stages["vggish"]
    named = stage_record(store, stage).weights.get("weights")
    if named is None:
        raise SeparationError(
            f"{stage}: its record names no weights (imported rows?), so no mixture can be heard "
            "with that network; compute the vggish stage, or set audio.encoder to 'vgg'"
        )
    _, path = resolve_weights(named, weights_dir)
    if path is None:
        return loading.from_seed("vggish", random_seed(named) or 0).state_dict()
    return loading.from_file("vggish", path).state_dict()
