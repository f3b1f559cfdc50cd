"""A trained network asked about clips whose sound, or pictures, are another clip's (MA).

In: a network, clips, partners. Out: pooled probabilities of each modality.

Legend: N clips, M modalities (0 audio, 1 visual), C classes, K partners.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from model.avvp.data import Clip, collate
from model.avvp.keep import Arrays
from model.avvp.parse import Parser
from model.avvp.removal import one_kept, partners, swap_flags

ASKED_AT_ONCE = 64


def pooled(parser: Parser, clips: Sequence[Clip]) -> Tensor:
    """Return the pooled probability of each modality and class, float32 (N, M, C)."""
    found = []
    with torch.inference_mode():
        for first in range(0, len(clips), ASKED_AT_ONCE):
            parsing = parser(collate(clips[first : first + ASKED_AT_ONCE]))
            found.append(torch.stack([parsing.audio_BC, parsing.visual_BC], dim=1))
    return torch.cat(found).clone()


def swap_test(parser: Parser, clips: Sequence[Clip], partners_NK: Tensor) -> Arrays:
    """Return `own`, `foreign_audio` and `foreign_visual`: means over the partners, (N, M, C).

    A clip without partners has NaN under foreign tracks.
    """
    audio = torch.zeros(len(clips), 2, len(clips[0].tags_C))
    visual = torch.zeros_like(audio)
    for partner_N in partners_NK.T:
        others = [clips[max(int(j), 0)] for j in partner_N]
        alone = partner_N < 0
        heard = [replace(c, audio_TE=o.audio_TE) for c, o in _lengths(clips, others, alone)]
        seen = [
            replace(c, picture_TE=o.picture_TE, motion_TE=o.motion_TE)
            for c, o in _lengths(clips, others, alone)
        ]
        audio += pooled(parser, heard).masked_fill(alone[:, None, None], torch.nan)
        visual += pooled(parser, seen).masked_fill(alone[:, None, None], torch.nan)
    count = partners_NK.shape[1]
    return {
        "own": pooled(parser, clips).numpy(),
        "foreign_audio": (audio / count).numpy(),
        "foreign_visual": (visual / count).numpy(),
    }


def _lengths(
    clips: Sequence[Clip], others: Sequence[Clip], alone: Tensor
) -> list[tuple[Clip, Clip]]:
    """Return each clip with its partner, itself where it has none."""
    pairs = zip(clips, others, alone.tolist(), strict=True)
    return [(clip, clip if single else other) for clip, other, single in pairs]


def drawn_partners(clips: Sequence[Clip], count: int, *, seed: int) -> Tensor:
    """Return for each clip `count` of the others that share no tag with it, int64 (N, K)."""
    tags_NC = torch.stack([clip.tags_C for clip in clips])
    lengths_N = torch.tensor([len(clip) for clip in clips])
    return partners(tags_NC, lengths_N, count, torch.Generator().manual_seed(seed))


def flags_of(found: Arrays, tags_NC: Tensor, *, never_both: bool) -> Tensor:
    """Return MA's flags from what `swap_test` returned, bool (N, M, C).

    With `never_both` the modality that is surer under the other's foreign track keeps the label.
    """
    own, audio, visual = (
        torch.from_numpy(np.asarray(found[name]))
        for name in ("own", "foreign_audio", "foreign_visual")
    )
    flags_NMC = swap_flags(own, audio, visual, tags_NC)
    if not never_both:
        return flags_NMC
    return one_kept(flags_NMC, torch.stack([visual[:, 0], audio[:, 1]], dim=1))
