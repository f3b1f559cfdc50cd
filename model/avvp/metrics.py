"""F-scores of audio-visual video parsing, as the LLP benchmark defines them.

In: binary predictions and truths of every video, class and second, for audio and vision. Out:
the five figures of the benchmark, in percent, at segment or at event level.

Conventions
-----------
Arrays are (videos, classes, seconds); any non-zero value means that the event is there. Audio
and visual are independent; an audio-visual event is the element-wise product of the two, taken
separately of the predictions and of the truths.

*Segment level* compares seconds. *Event level* compares runs of consecutive seconds: a predicted
run counts as right if any true run of its class overlaps it with an intersection over union of at
least 0.5, a true run as missed if no predicted run does.

A video's score is the mean F over the classes that occur in its prediction or its truth, and 1.0
if none does; the benchmark's figure is the mean over the videos. It is neither the micro nor the
macro F over the data set.

Figures
-------
- `audio`, `visual`, `audio_visual`: the three kinds of events, each by itself;
- `type_at_av`: the mean of these three figures;
- `event_at_av`: hits and errors of audio and visual added up before F is taken, class by class.

Reference: Y. Tian, D. Li, C. Xu, "Unified multisensory perception: weakly-supervised
audio-visual video parsing", ECCV 2020.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass

import numpy as np

MIN_IOU = 0.5
LEVELS = ("segment", "event")

Counts = tuple[np.ndarray, np.ndarray, np.ndarray]
"""True positives, false positives, false negatives: (videos, classes) each."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ParsingScores:
    """The five figures, in percent."""

    audio: float
    visual: float
    audio_visual: float
    type_at_av: float
    event_at_av: float

    def as_json(self) -> dict[str, float]:
        """Return the figures by name."""
        return asdict(self)


def validate(*arrays: np.ndarray) -> None:
    """Raise ValueError unless all arrays share one shape (videos, classes, seconds), none empty."""
    shapes = {array.shape for array in arrays}
    if len(shapes) != 1 or arrays[0].ndim != 3 or 0 in arrays[0].shape:
        raise ValueError(
            f"predictions and truths: expected one shape (videos, classes, seconds), got "
            f"{', '.join(map(str, sorted(shapes)))}"
        )


def parsing_scores(
    pred_audio: np.ndarray,
    pred_visual: np.ndarray,
    true_audio: np.ndarray,
    true_visual: np.ndarray,
    *,
    level: str = "segment",
) -> ParsingScores:
    """Return the benchmark's figures for all videos.

    Parameters
    ----------
    pred_audio, pred_visual, true_audio, true_visual : np.ndarray [shape=(videos, classes, seconds)]
        Non-zero where the event is there.
    level : 'segment' or 'event'

    Raises
    ------
    ValueError
        Shapes that differ, or another level.
    """
    validate(pred_audio, pred_visual, true_audio, true_visual)
    audio = counts(pred_audio, true_audio, level=level)
    visual = counts(pred_visual, true_visual, level=level)
    both = counts(
        np.logical_and(pred_audio, pred_visual),
        np.logical_and(true_audio, true_visual),
        level=level,
    )
    pooled = (audio[0] + visual[0], audio[1] + visual[1], audio[2] + visual[2])
    a, v, av, events = (100 * float(video_f(c).mean()) for c in (audio, visual, both, pooled))
    return ParsingScores(
        audio=a, visual=v, audio_visual=av, type_at_av=(a + v + av) / 3, event_at_av=events
    )


def class_f(
    pred_audio: np.ndarray,
    pred_visual: np.ndarray,
    true_audio: np.ndarray,
    true_visual: np.ndarray,
) -> np.ndarray:
    """Return each class's segment-level F over all videos and both modalities, in percent.

    Not a figure of the benchmark: it says where a model is good. NaN for a class that occurs
    neither in the predictions nor in the truths; shape (classes,).
    """
    validate(pred_audio, pred_visual, true_audio, true_visual)
    audio, visual = counts(pred_audio, true_audio), counts(pred_visual, true_visual)
    tp, fp, fn = (a.sum(0) + v.sum(0) for a, v in zip(audio, visual, strict=True))
    total = 2 * tp + fp + fn
    return np.where(total > 0, 200 * tp / np.maximum(total, 1), np.nan)


def video_f(counted: Counts) -> np.ndarray:
    """Return each video's mean F over its classes, 1.0 where there are none; shape (videos,)."""
    tp, fp, fn = counted
    total = 2 * tp + fp + fn
    occurs = total > 0
    f = np.where(occurs, 2 * tp / np.maximum(total, 1), 0.0)
    classes = occurs.sum(axis=1)
    return np.where(classes > 0, f.sum(axis=1) / np.maximum(classes, 1), 1.0)


def counts(pred: np.ndarray, true: np.ndarray, *, level: str = "segment") -> Counts:
    """Return true positives, false positives and false negatives of each video and class."""
    if level not in LEVELS:
        raise ValueError(f"level={level!r}: expected one of {', '.join(LEVELS)}")
    p, t = np.asarray(pred) != 0, np.asarray(true) != 0
    return _segment_counts(p, t) if level == "segment" else _event_counts(p, t)


def _segment_counts(p: np.ndarray, t: np.ndarray) -> Counts:
    return (p & t).sum(-1), (p & ~t).sum(-1), (~p & t).sum(-1)


def _event_counts(p: np.ndarray, t: np.ndarray) -> Counts:
    """Compare every predicted run with every true run of the same video and class.

    A run is the stretch between its first and last second: two of one row cannot both reach an
    IoU of 0.5 with the same run, so no one-to-one assignment is needed.
    """
    shape = p.shape[:2]
    p_row, p_start, p_stop = runs(p.reshape(-1, p.shape[-1]))
    t_row, t_start, t_stop = runs(t.reshape(-1, t.shape[-1]))
    i, j = _same_row(p_row, t_row)
    overlap = np.minimum(p_stop[i], t_stop[j]) - np.maximum(p_start[i], t_start[j])
    union = (p_stop[i] - p_start[i]) + (t_stop[j] - t_start[j]) - np.maximum(overlap, 0)
    match = overlap >= MIN_IOU * union
    hit, found = np.zeros(len(p_row), bool), np.zeros(len(t_row), bool)
    hit[i[match]] = True
    found[j[match]] = True
    size = shape[0] * shape[1]
    return tuple(  # type: ignore[return-value]
        np.bincount(rows, minlength=size).reshape(shape)
        for rows in (p_row[hit], p_row[~hit], t_row[~found])
    )


def runs(rows: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return (row, start, stop) of every maximal run of True, in row order; stop is exclusive.

    Parameters
    ----------
    rows : np.ndarray [shape=(rows, seconds)], bool
    """
    edges = np.diff(np.pad(rows, ((0, 0), (1, 1))).astype(np.int8), axis=1)
    row, start = np.nonzero(edges == 1)
    _, stop = np.nonzero(edges == -1)
    return row, start, stop


def _same_row(left: np.ndarray, right: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the index pairs (i, j) with left[i] == right[j]; both arrays are sorted."""
    first = np.searchsorted(right, left, side="left")
    number = np.searchsorted(right, left, side="right") - first
    i = np.repeat(np.arange(len(left)), number)
    offset = np.arange(number.sum()) - np.repeat(np.cumsum(number) - number, number)
    return i, np.repeat(first, number) + offset
