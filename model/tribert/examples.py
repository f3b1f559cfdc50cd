"""What the report shows and plays of a few mixes.

In: a mix, its masks and its separated sources. Out: WAV files (int16, peak-normalised together) and
one npz with spectrogram, masks, pictures and poses; and the JSON that names them.

Legend: N sources, T pictures, P persons, V joints, Q rows, F frames.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from scipy.io import wavfile

from model.tribert.clips import Clip
from model.tribert.config import DataConfig
from model.tribert.crops import picture_rows
from model.tribert.pictures import decode
from model.tribert.separation import Mix, joined_windows
from storage.store import FeatureStore

THUMBNAIL_PX = 160
"""Height of a picture in the report."""
PEAK = 0.9


def save_example(
    folder: Path,
    number: int,
    *,
    mix: Mix,
    masks_NQT: torch.Tensor,
    estimates_NS: np.ndarray,
    rate_hz: int,
    pictures: Mapping[str, Any],
) -> dict[str, Any]:
    """Write `ex<number>_*.wav` and `ex<number>.npz` into `folder`; return what the results say.

    The npz holds `mixture` (Q, T), log(1 + magnitude); `predicted` and `true` (N, Q, T), masks;
    and `pictures`. Rows are on the logarithmic frequency scale, the lowest first.

    Parameters
    ----------
    masks_NQT
        Predicted masks of the whole stretch.
    pictures
        `frames` and `poses` as `thumbnails` gives them, and whatever else is to be shown.
    """
    names = [
        f"ex{number}_{kind}{n}.wav" for kind in ("pred", "true") for n in range(len(mix.clips))
    ]
    waves = np.concatenate([mix.mixture_S[None], estimates_NS, mix.references_NS])
    scale = PEAK * 32767 / max(float(np.abs(waves).max()), 1e-9)
    for name, wave_S in zip([f"ex{number}_mix.wav", *names], waves, strict=True):
        wavfile.write(folder / name, rate_hz, np.rint(wave_S * scale).astype(np.int16))
    np.savez_compressed(
        folder / f"ex{number}.npz",
        mixture=joined_windows(mix.batch.mix_B1QF)[0].log1p().numpy(),
        predicted=masks_NQT.numpy(),
        true=joined_windows(mix.batch.masks_BNQF).numpy(),
        **pictures,
    )
    return {
        "pair": [clip.item_id for clip in mix.clips],
        "labels": [list(clip.labels) for clip in mix.clips],
        "audio": {
            "mixture": f"ex{number}_mix.wav",
            "prediction": names[: len(mix.clips)],
            "truth": names[len(mix.clips) :],
        },
        "arrays": f"ex{number}.npz",
    }


def thumbnails(
    store: FeatureStore,
    stages: Mapping[str, str],
    mix: Mix,
    data: DataConfig,
) -> dict[str, np.ndarray]:
    """Return pictures and poses of the middle window.

    `frames` uint8 (N, T, H, W, 3) RGB, whole pictures of one height, padded with black on the right
    to one width; `poses` float32 (N, T, P, V, 3): x and y in pixels of these pictures, confidence
    (0 for persons that are absent).
    """
    return pictures_of(
        store,
        stages,
        [
            (clip, picture_rows(at[len(at) // 2], data.steps, data.picture_stride))
            for clip, at in zip(mix.clips, mix.centres, strict=True)
        ],
    )


def pictures_of(
    store: FeatureStore,
    stages: Mapping[str, str],
    wanted: Sequence[tuple[Clip, Sequence[int]]],
) -> dict[str, np.ndarray]:
    """Return pictures and poses of some rows of the frames stage of each clip, as `thumbnails`.

    Parameters
    ----------
    wanted
        Clips, with as many rows each.
    """
    shown = [_shown(store, stages, clip, rows) for clip, rows in wanted]
    width = max(frames_THWC.shape[2] for frames_THWC, _ in shown)
    padded = [
        np.pad(frames, ((0, 0), (0, 0), (0, width - frames.shape[2]), (0, 0)))
        for frames, _ in shown
    ]
    return {"frames": np.stack(padded), "poses": np.stack([poses for _, poses in shown])}


def _shown(
    store: FeatureStore, stages: Mapping[str, str], clip: Clip, rows: Sequence[int]
) -> tuple[np.ndarray, np.ndarray]:
    """Return the pictures of `rows`, (T, H, W, 3) RGB, and their poses in pixels, (T, P, V, 3)."""
    frames, poses = [], []
    persons = clip.tracks["pose"].nearest([clip.time_s(row) for row in rows])
    for row, person in zip(rows, persons, strict=True):
        (jpeg,) = store.rows(stages["frames"], clip.item_id, "jpeg", row, row + 1)
        picture = decode(jpeg)
        width = round(picture.shape[1] * THUMBNAIL_PX / picture.shape[0])
        small = cv2.resize(picture, (width, THUMBNAIL_PX), interpolation=cv2.INTER_AREA)
        frames.append(cv2.cvtColor(small, cv2.COLOR_BGR2RGB))
        (keypoints_PVC,), (size,), (present_P,) = (
            store.rows(stages["pose"], clip.item_id, name, person, person + 1)
            for name in ("keypoints", "frame_size", "present")
        )
        scale = np.array([width / size[0], THUMBNAIL_PX / size[1], 1.0])
        poses.append(np.where(np.asarray(present_P)[:, None, None] > 0, keypoints_PVC * scale, 0.0))
    return np.stack(frames), np.stack(poses).astype(np.float32)
