"""How long stages compute: a stated table, where a store has measured nothing yet.

A resolved stage and its size for an item flow in; seconds of one core or of one GPU flow out.
"""

from __future__ import annotations

from dataclasses import dataclass

from pipeline.estimate.sizes import StageSize

CPU_SOURCE = (
    "one core of an AMD EPYC with AVX-512, this software's stages on two clips of ten seconds "
    "(540x360 and 480x360 at 25 to 30 pictures a second), torch 2.14 with one thread"
)
GPU_GMAC_PER_S = 5000.0
GPU_SOURCE = (
    "multiply-accumulates of the networks at an assumed 5 TMAC/s, a small part of what present "
    "GPUs can do; reading and decoding may well take longer"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """Seconds of one core: for each item, second of media and row; and a network's work a row.

    `row_float32_s` is for a network in float32, `row_s` in bfloat16 or without a network.
    """

    item_s: float = 0.0
    media_s: float = 0.0
    row_s: float = 0.0
    row_float32_s: float | None = None
    row_gmac: float = 0.0


COSTS = {
    "probe": Cost(item_s=0.33),
    "frames": Cost(media_s=0.045),
    "audio_11025": Cost(media_s=0.009),
    "audio_16000": Cost(media_s=0.009),
    "stft": Cost(media_s=0.001),
    "vggish": Cost(row_s=0.010, row_float32_s=0.019, row_gmac=0.86),
    "resnet152": Cost(row_s=0.115, row_float32_s=0.236, row_gmac=11.5),
    "r2plus1d": Cost(row_s=0.20, row_float32_s=0.56, row_gmac=20.3),
    "pose": Cost(row_s=0.045),
    "pose_embed": Cost(row_s=0.017, row_gmac=0.65),
}
"""As measured (`CPU_SOURCE`); multiply-accumulates counted with torch's own counter."""

POSE_FROM_FILES = Cost(media_s=0.01)
"""Ready pose results are read and tracked, nothing is detected."""


UNKNOWN = Cost(media_s=0.05)
"""A guess, until a run has measured the stage."""


def stated_cost(stage: str, backend: str = "") -> Cost:
    """Return the table's line for a stage; `UNKNOWN` for one that a package brought along."""
    return POSE_FROM_FILES if backend == "alphapose-json" else COSTS.get(stage, UNKNOWN)


def core_seconds(cost: Cost, size: StageSize, duration_s: float, *, float32: bool) -> float:
    """Return the seconds that one core computes an item of `duration_s` seconds."""
    row_s = cost.row_s
    if float32 and cost.row_float32_s is not None:
        row_s = cost.row_float32_s
    return cost.item_s + cost.media_s * duration_s + row_s * size.rows


def gpu_seconds(cost: Cost, size: StageSize) -> float:
    """Return the seconds that one GPU computes an item; 0 for a stage without a network."""
    return cost.row_gmac * size.rows / GPU_GMAC_PER_S
