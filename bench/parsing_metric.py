"""The parsing metric over LLP's test part, ours against one that goes from video to video.

The plain one is what the definition says, written down as loops: over videos, classes, and runs of
seconds, on small arrays, as the benchmark's first code did. Both give the same figures.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np

from model.avvp.metrics import FIGURES, LEVELS, parsing_scores

VIDEOS, CLASSES, SECONDS = 1200, 25, 10
REPEATS = 5

Run = tuple[int, int]


def measure(videos: int = VIDEOS) -> dict[str, Any]:
    """Return the seconds of both metrics, and how far apart their figures are.

    Each time is of both levels, the least of five for ours and of one for the plain one.
    """
    compared = made_events(videos)
    ours, ours_s = _timed(
        lambda: {lv: parsing_scores(*compared, level=lv).as_json() for lv in LEVELS}, REPEATS
    )
    plain, plain_s = _timed(lambda: {lv: plain_scores(*compared, level=lv) for lv in LEVELS}, 1)
    apart = max(abs(ours[lv][name] - plain[lv][name]) for lv in LEVELS for name in FIGURES)
    return {
        "metric_s": ours_s,
        "metric_original_s": plain_s,
        "metric_speedup": plain_s / ours_s,
        "metric_difference": apart,
        "metric_videos": videos,
    }


def made_events(videos: int, seed: int = 0) -> tuple[np.ndarray, ...]:
    """Return predicted and true events as crowded as LLP's: heard, seen, heard, seen.

    Predictions are the truth with a tenth of the classes dropped, moved ends, and some events more.
    """
    rng = np.random.default_rng(seed)
    heard, seen = (
        [np.zeros((videos, CLASSES, SECONDS), np.uint8) for _ in range(2)] for _ in range(2)
    )
    for video in range(videos):
        for cls in rng.choice(CLASSES, rng.integers(1, 4), replace=False):
            for predicted, true in (heard, seen):
                if rng.random() < 0.15:
                    continue
                start = rng.integers(0, 6)
                stop = rng.integers(start + 1, SECONDS + 1)
                true[video, cls, start:stop] = 1
                if rng.random() > 0.1:
                    moved = max(0, start + rng.integers(-1, 2))
                    predicted[video, cls, moved : stop + rng.integers(-1, 2)] = 1
            if rng.random() < 0.3:
                heard[0][video, rng.integers(CLASSES), rng.integers(SECONDS) :] = 1
    return heard[0], seen[0], heard[1], seen[1]


def plain_scores(
    pred_audio: np.ndarray,
    pred_visual: np.ndarray,
    true_audio: np.ndarray,
    true_visual: np.ndarray,
    *,
    level: str,
) -> dict[str, float]:
    """Return the five figures in percent, video by video."""
    count = _count_seconds if level == "segment" else _count_runs
    rows = []
    for pa, pv, ta, tv in zip(pred_audio, pred_visual, true_audio, true_visual, strict=True):
        audio = [count(p, t) for p, t in zip(pa, ta, strict=True)]
        visual = [count(p, t) for p, t in zip(pv, tv, strict=True)]
        both = [count(p, t) for p, t in zip(pa * pv, ta * tv, strict=True)]
        pooled = [
            [x + y for x, y in zip(*pair, strict=True)] for pair in zip(audio, visual, strict=True)
        ]
        rows.append([_mean_f(kind) for kind in (audio, visual, both, pooled)])
    a, v, av, events = (100 * float(figure) for figure in np.mean(rows, axis=0))
    return dict(zip(FIGURES, (a, v, av, (a + v + av) / 3, events), strict=True))


def _mean_f(counted: Iterable[Sequence[int]]) -> float:
    found = [2 * tp / (2 * tp + fp + fn) for tp, fp, fn in counted if tp + fp + fn]
    return float(np.mean(found)) if found else 1.0


def _count_seconds(p: np.ndarray, t: np.ndarray) -> tuple[int, int, int]:
    return int(np.sum(p * t)), int(np.sum(p * (1 - t))), int(np.sum((1 - p) * t))


def _count_runs(p: np.ndarray, t: np.ndarray) -> tuple[int, int, int]:
    predicted, true = _runs(p), _runs(t)
    hits = sum(any(_iou(a, b) >= 0.5 for b in true) for a in predicted)
    missed = sum(not any(_iou(a, b) >= 0.5 for a in predicted) for b in true)
    return hits, len(predicted) - hits, missed


def _runs(row: np.ndarray) -> list[Run]:
    found: list[Run] = []
    start = None
    for second, on in enumerate(row):
        if on and start is None:
            start = second
        if not on and start is not None:
            found.append((start, second))
            start = None
    return found if start is None else [*found, (start, len(row))]


def _iou(a: Run, b: Run) -> float:
    mine, other = set(range(*a)), set(range(*b))
    return len(mine & other) / len(mine | other)


def _timed(work: Callable[[], Any], repeats: int) -> tuple[Any, float]:
    """Return what `work` returns, and the seconds of its fastest run."""
    took = []
    for _ in range(repeats):
        began = time.perf_counter()
        result = work()
        took.append(time.perf_counter() - began)
    return result, min(took)
