"""Which seconds of a video belong together: Algorithm 1 of Lamba et al. (2021, arXiv v1, appendix).

In: one video's features, a row a second. Out: the number of each second's group. Two seconds are
alike where the cosines of their rows reach thresholds; groups are the connected components of that
graph. Seconds of one group belong together, whatever the modality: all else follows from the
numbers.

The paper says "similar" without a measure or thresholds; cosine, 0.96 and 0.99 are those of the
released code, which also asks for both modalities ('consensus'), for more than the threshold
(`strict`), and that the earlier second be not silent.

Legend: T seconds, E size of a feature.
"""

from __future__ import annotations

import numpy as np
from scipy.sparse.csgraph import connected_components

from model.avg.config import Config


def cosines(rows_TE: np.ndarray, others_SE: np.ndarray | None = None) -> np.ndarray:
    """Return the cosines of all rows with all others (by default themselves), float64 (T, S).

    A row of zeros has cosine 0 with everything.
    """

    def unit(rows: np.ndarray) -> np.ndarray:
        rows = rows.astype(np.float64)
        lengths = np.linalg.norm(rows, axis=1, keepdims=True)
        return np.divide(rows, lengths, out=np.zeros_like(rows), where=lengths > 0)

    return unit(rows_TE) @ unit(rows_TE if others_SE is None else others_SE).T


def silent_seconds(
    audio_TE: np.ndarray, silence_E: np.ndarray, threshold: float = 0.99
) -> np.ndarray:
    """Return which seconds sound like silence, bool (T,): cosine with it above `threshold`.

    Parameters
    ----------
    audio_TE : np.ndarray [shape=(T, 128)]
        VGGish rows.
    silence_E : np.ndarray [shape=(128,)]
        VGGish row of silence.
    threshold : float
    """
    return cosines(audio_TE, silence_E[None])[:, 0] > threshold


def groups(
    picture_TT: np.ndarray,
    audio_TT: np.ndarray,
    *,
    picture_threshold: float,
    audio_threshold: float,
    agreement: str = "union",
    strict: bool = False,
    silent_T: np.ndarray | None = None,
) -> np.ndarray:
    """Return the number of each second's group, int32 (T,), counted from 0.

    Parameters
    ----------
    picture_TT, audio_TT : np.ndarray [shape=(T, T)], symmetric
        How alike two seconds look, and sound.
    picture_threshold, audio_threshold : float
        From where on they are alike.
    agreement : {'union', 'consensus'}
        Whether one modality is enough, or both are needed.
    strict : bool
        A value that equals its threshold is not enough.
    silent_T : np.ndarray [shape=(T,)], bool
        A silent second is joined to none after it.
    """
    compare = np.greater if strict else np.greater_equal
    looks, sounds = compare(picture_TT, picture_threshold), compare(audio_TT, audio_threshold)
    edges_TT = np.triu(looks | sounds if agreement == "union" else looks & sounds, k=1)
    if silent_T is not None:
        edges_TT[silent_T] = False
    _, numbers_T = connected_components(edges_TT, directed=False)
    return numbers_T


def video_groups(picture_TE: np.ndarray, audio_TE: np.ndarray, config: Config) -> np.ndarray:
    """Return `groups` of one video as a configuration asks, int32 (T,).

    `picture_TE` (T, 2048) is averaged over the frames of each second; `audio_TE` (T, 128).
    """
    silent_T = None
    if config.silence:
        silence_E = np.array(config.silence)
        silent_T = silent_seconds(audio_TE, silence_E, config.silence_threshold)
    return groups(
        cosines(picture_TE),
        cosines(audio_TE),
        picture_threshold=config.picture_threshold,
        audio_threshold=config.audio_threshold,
        agreement=config.agreement,
        strict=config.strict,
        silent_T=silent_T,
    )
