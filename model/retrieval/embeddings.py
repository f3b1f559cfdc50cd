"""Embeddings of whole clips: what goes into a trained TriBERT's streams, and what comes out.

In: a published TriBERT, clips of the store. Out: one vector a clip and stream. Every clip is read
at its middle, as it is: its own sound, not mixed with another, the middle square of its pictures.

Legend: N clips, B clips of a batch, S steps (SOS first), P slots, L = S x P tokens, D width of a
stream, E = L x D.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from model.tribert.attention import Streams
from model.tribert.batch import Batch, collate
from model.tribert.clips import Clip, spectrogram_config
from model.tribert.config import DataConfig
from model.tribert.data import make_batch, patch_reader
from model.tribert.mixing import mean_mixture
from model.tribert.network import TriBERT, all_valid
from model.tribert.pictures import ViewReader
from model.tribert.pose_tokens import with_sos
from model.tribert.spectrum import SpectrumReader
from storage.store import FeatureStore

BATCH_CLIPS = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class Embeddings:
    """Embeddings of N clips, in their order.

    Attributes
    ----------
    item_ids
        Of the clips.
    vectors
        Stream ('vision', 'pose', 'audio') -> float32 (N, E) on the CPU.
    tokens
        L, how many tokens a vector is made of.
    """

    item_ids: tuple[str, ...]
    vectors: Mapping[str, torch.Tensor]
    tokens: int

    def __len__(self) -> int:
        return len(self.item_ids)

    def sizes(self) -> dict[str, int]:
        """Return E of each stream."""
        return {name: vectors.shape[1] for name, vectors in self.vectors.items()}


class ClipReader:
    """Reads single clips at their middle, as mixes of one video.

    Parameters
    ----------
    stages
        As `model.tribert.clips.stages_read` gives them.
    """

    def __init__(self, store: FeatureStore, stages: Mapping[str, str], data: DataConfig) -> None:
        self.sizes = spectrogram_config(store, stages, data)
        self.views = ViewReader(store, stages, data)
        self.spectra = SpectrumReader(store, stages, self.sizes)
        self.patches = patch_reader(store, stages, self.sizes, data)

    def read(self, clip: Clip) -> Batch:
        """Return a batch of one mix of one video; it has no labels."""
        centre = clip.centres.middle
        return make_batch(
            *mean_mixture(self.spectra.read(clip, centre)[None]),
            views=[self.views.read(clip, centre)],
            labels_NC=np.zeros((1, 0), np.float32),
            rows=self.sizes.rows,
            mask="half",
            patches_RTM=self.patches.training([clip], [centre], [1.0]) if self.patches else None,
        )


def embed(
    network: TriBERT,
    reader: ClipReader,
    clips: Sequence[Clip],
    *,
    embedding: str,
    protocol: str,
    device: torch.device,
) -> Embeddings:
    """Return the embeddings of `clips`.

    Parameters
    ----------
    network
        In evaluation mode.
    embedding, protocol
        As `config.Config` has them.
    """
    network = network.to(device).eval()
    parts: list[Streams] = []
    for first in range(0, len(clips), BATCH_CLIPS):
        batch = collate([reader.read(clip) for clip in clips[first : first + BATCH_CLIPS]])
        with torch.no_grad():
            tokens, valid = input_tokens(network, batch.to(device))
            if embedding == "transformer":
                refine = refined_together if protocol == "joint" else refined_alone
                tokens = refine(network, tokens, valid)
        parts.append(Streams(*(x_BLD.float().cpu() for x_BLD in tokens)))
    joined = [torch.cat(each) for each in zip(*parts, strict=True)]
    return Embeddings(
        item_ids=tuple(clip.item_id for clip in clips),
        vectors={n: x.flatten(1) for n, x in zip(Streams._fields, joined, strict=True)},
        tokens=joined[0].shape[1],
    )


def input_tokens(network: TriBERT, batch: Batch) -> tuple[Streams, Streams]:
    """Return what enters the three streams: tokens (B, L, D), and which are valid (B, L).

    The same tokens as in `TriBERT.forward` in evaluation mode; `batch` has one video a mix.
    """
    vision_BSPD = network.vision(batch.frames_BNTHWC[:, 0]).tokens_BSOD
    pose, box, valid_BSP = with_sos(
        batch.pose_BNTPKV[:, 0].float(), batch.box_BNTP5[:, 0].float(), batch.present_BNTP[:, 0]
    )
    log_B1QF = network.spectrogram(batch.mix_B1QF)
    audio_BSPD = network.audio_tokens(batch, log_B1QF, valid_BSP.shape[1:])
    return (
        Streams(*(x.flatten(1, 2) for x in (vision_BSPD, network.pose(pose, box), audio_BSPD))),
        Streams(
            *(v.flatten(1) for v in (all_valid(vision_BSPD), valid_BSP, all_valid(audio_BSPD)))
        ),
    )


def refined_together(network: TriBERT, tokens: Streams, valid: Streams) -> Streams:
    """Return the streams' outputs from one pass: each has attended to the two others."""
    return network.encoder(tokens, valid)


def refined_alone(network: TriBERT, tokens: Streams, valid: Streams) -> Streams:
    """Return each stream's output with the tokens of the two others set to zero.

    Also which of the others' tokens are valid is hidden: whether there is a person in the picture
    must not be told to what is seen or heard.
    """
    outputs = []
    for own in range(len(tokens)):
        shown = Streams(*(x if n == own else torch.zeros_like(x) for n, x in enumerate(tokens)))
        known = Streams(*(v if n == own else torch.ones_like(v) for n, v in enumerate(valid)))
        outputs.append(network.encoder(shown, known)[own])
    return Streams(*outputs)
