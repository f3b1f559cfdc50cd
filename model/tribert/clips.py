"""What of a snapshot's items can be mixed: lengths and times of their rows, none of their values.

In: a feature store, the stages of a job, items. Out: `Clip`s, and for every other item the reason
why it is left out. Nothing here replaces what is missing.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from model.tribert.config import SPECTROGRAM_STAGES, DataConfig
from model.tribert.crops import CentreRange, centre_range
from model.tribert.errors import SeparationError
from model.tribert.spectrogram import SpectrogramConfig
from storage.errors import StageNotFound
from storage.fingerprint import StageRecord
from storage.records import DatasetItem, ItemId, Outcome, TimeBase
from storage.store import FeatureStore

SOUND = "audio_11025"
HEARD = "audio_16000"
"""The sound that VGGish hears; read only where samples hold its patches."""


def sampled(stages: Mapping[str, str]) -> tuple[str, ...]:
    """Return the stages that a training sample is made of; evaluation reads the sound, too."""
    names = ("frames", "stft" if "stft" in stages else SOUND, "pose", "pose_embed")
    return (*names, HEARD) if HEARD in stages else names


@dataclass(frozen=True, slots=True, kw_only=True)
class Track:
    """The rows that one stage has for one clip."""

    rows: int
    base: TimeBase

    def nearest(self, times_s: Sequence[float] | np.ndarray) -> list[int]:
        """Return for each time the row nearest to it, the first or last one beyond the ends."""
        position = (np.asarray(times_s) - self.base.t0_s) / self.base.hop_s
        return [int(row) for row in np.clip(np.rint(position), 0, self.rows - 1)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Clip:
    """One video that can be mixed."""

    item_id: str
    labels: tuple[str, ...]
    centres: CentreRange
    """Rows of the frames stage that a sample may be centred on."""
    tracks: Mapping[str, Track]
    """By the stage's plain name; `stft` also where spectra are computed from the sound."""

    def time_s(self, picture: int) -> float:
        """Return when picture row `picture` was taken."""
        base = self.tracks["frames"].base
        return base.t0_s + picture * base.hop_s


@dataclass(frozen=True, slots=True, kw_only=True)
class ClipSet:
    """The clips of some items, in their order, and why the others are left out."""

    clips: tuple[Clip, ...]
    left_out: Mapping[str, str] = field(default_factory=dict)


def stages_read(
    store: FeatureStore,
    stages: Mapping[str, str],
    spectrogram: str = "stored",
    *,
    sound_patches: int = 0,
) -> dict[str, str]:
    """Return name -> `name-<fingerprint>` of the stages that samples are made of.

    `pose` and `audio_11025` need not be named where the embeddings and the STFT were computed from
    one of them, which their records tell. `stft` is among them only if `spectrogram` is 'stored',
    `vggish` and the `audio_16000` that it heard only if samples have `sound_patches`.

    Raises
    ------
    SeparationError
        The job misses a stage of `config.SPECTROGRAM_STAGES`, or names another `pose` than was
        embedded.
    """
    needed = SPECTROGRAM_STAGES[spectrogram] + (("vggish",) if sound_patches else ())
    if missing := sorted(set(needed) - set(stages)):
        raise SeparationError(
            f"stages: the job names {sorted(stages)}, TriBERT with data.spectrogram = "
            f"{spectrogram!r} also reads {missing}; see model.tribert.config.SPECTROGRAM_STAGES"
        )
    found = {name: stages[name] for name in needed}
    for name, reader in (("pose", "pose_embed"), (SOUND, "stft"), (HEARD, "vggish")):
        if reader not in found:
            continue
        found[name] = f"{name}-{stage_record(store, stages[reader]).upstream[name]}"
        if stages.get(name, found[name]) != found[name]:
            raise SeparationError(
                f"stages: {stages[reader]} was computed from {found[name]}, but the job names "
                f"{stages[name]}; name the same, or compute {reader} again"
            )
    return found


def stage_record(store: FeatureStore, stage: str) -> StageRecord:
    """Return the whole record behind `<stage>-<fingerprint>`: its settings and upstream.

    Raises
    ------
    StageNotFound
        Nothing of it is in the store.
    """
    path = store.layout.stage_meta(stage)
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError as error:
        raise StageNotFound(f"{stage}: not in {store.layout.root}; run the stage first") from error
    return StageRecord.from_json(json.loads(text))


def videos_of(item_ids: Iterable[str]) -> set[str]:
    """Return `source/video_id` of the items: another window of a video is the same video."""
    parsed = [ItemId.parse(item_id) for item_id in item_ids]
    return {f"{item.source}/{item.video_id}" for item in parsed}


def picture_reach(data: DataConfig) -> tuple[int, int]:
    """Return how many picture rows a sample needs before and after its centre."""
    before = data.picture_stride * (data.steps // 2)
    return before, data.picture_stride * (data.steps - 1) - before


def spectrogram_config(
    store: FeatureStore, stages: Mapping[str, str], data: DataConfig
) -> SpectrogramConfig:
    """Return the sizes of the STFT, with the crop that the configuration wants.

    The window and the hop are those of the stored STFT, or the published ones where it is computed
    from the sound.

    Raises
    ------
    SeparationError
        The stage has no rows at all.
    """
    stage = stages.get("stft", stages[SOUND])
    ready = store.items(stage)
    if not ready:
        raise SeparationError(f"{stage}: no item has rows; run the stage first")
    hop_s = store.time_base(stage, ready[0]).hop_s
    if "stft" not in stages:
        return SpectrogramConfig(
            rate_hz=round(1 / hop_s), rows=data.spec_rows, frames=data.spec_frames
        )
    settings = stage_record(store, stage).parameters
    return SpectrogramConfig(
        rate_hz=round(settings["hop_samples"] / hop_s),
        n_fft=settings["n_fft"],
        hop_samples=settings["hop_samples"],
        rows=data.spec_rows,
        frames=data.spec_frames,
    )


def find_clips(
    store: FeatureStore,
    stages: Mapping[str, str],
    items: Sequence[DatasetItem],
    data: DataConfig,
) -> ClipSet:
    """Return the items that have a label, rows in every stage, and room for one sample.

    Parameters
    ----------
    stages
        As `stages_read` gives them.
    """
    sizes = spectrogram_config(store, stages, data)
    outcomes = {name: store.outcomes(stages[name]) for name in sampled(stages)}
    clips: list[Clip] = []
    left_out: dict[str, str] = {}
    for item in items:
        if reason := _absence(item, outcomes):
            left_out[item.item_id] = reason
            continue
        clip = _clip(store, stages, item, data, sizes)
        if len(clip.centres):
            clips.append(clip)
        else:
            left_out[item.item_id] = _too_short(clip, data, sizes)
    return ClipSet(clips=tuple(clips), left_out=left_out)


def _absence(item: DatasetItem, outcomes: Mapping[str, Mapping[str, Outcome]]) -> str | None:
    if not item.labels:
        return "no label"
    for name, known in outcomes.items():
        outcome = known.get(item.item_id)
        if outcome is None:
            return f"{name}: not computed yet"
        if not outcome.ok:
            return f"{name}: {outcome.reason} {outcome.detail}".rstrip()
    return None


def _clip(
    store: FeatureStore,
    stages: Mapping[str, str],
    item: DatasetItem,
    data: DataConfig,
    sizes: SpectrogramConfig,
) -> Clip:
    tracks = {
        name: Track(
            rows=store.length(stages[name], item.item_id),
            base=store.time_base(stages[name], item.item_id),
        )
        for name in sampled(stages)
    }
    if "stft" not in tracks:
        rows = 1 + tracks[SOUND].rows // sizes.hop_samples
        tracks["stft"] = Track(rows=rows, base=TimeBase(0.0, sizes.hop_s))
    centres = centre_range(
        pictures=tracks["frames"].rows,
        picture_base=tracks["frames"].base,
        stft_rows=tracks["stft"].rows,
        reach=picture_reach(data),
        config=sizes,
    )
    return Clip(item_id=item.item_id, labels=item.labels, centres=centres, tracks=tracks)


def _too_short(clip: Clip, data: DataConfig, sizes: SpectrogramConfig) -> str:
    pictures, sound = clip.tracks["frames"], clip.tracks["stft"]
    span = sum(picture_reach(data)) + 1
    return (
        f"too short: a sample needs {sizes.crop_s:.2f} s of sound and {span} pictures in a row "
        f"({span * pictures.base.hop_s:.2f} s), the clip has {sound.rows * sizes.hop_s:.2f} s "
        f"and {pictures.rows}"
    )
