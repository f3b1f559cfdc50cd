"""F-scores of audio-visual video parsing, as the LLP benchmark defines them.

In: binary predictions and truths of every video, class and second, for audio and vision. Out: the
five figures of the benchmark, in percent, at segment or at event level, and what is behind them:
F of every video and class. This module needs numpy alone.

Conventions
-----------
Arrays are (videos, classes, seconds) of 0 and 1 (or bool); LLP's have 25 classes and 10 seconds.
Audio and visual are independent; an audio-visual event is the element-wise product of the two,
taken separately of the predictions and of the truths. An event from onset to offset covers the
seconds [onset, offset): one from 2 to 5 is 0 0 1 1 1 0 0 0 0 0.

*Segment level* compares seconds. *Event level* compares runs of consecutive seconds: a predicted
run counts as right if any true run of its class overlaps it with an intersection over union of at
least 0.5, a true run as missed if no predicted run does.

A class occurs in a video if its prediction or its truth has a second there; F of it is
2 TP / (2 TP + FP + FN). A video's score is the mean F over the classes that occur in it, and 1.0
if none does; the benchmark's figure is the mean over the videos. It is neither the micro nor the
macro F over the data set, though papers call it so. One second of a class that is not there takes
an empty video from 1.0 to 0, and a video with n classes from f to f n / (n + 1).

Figures
-------
- `audio`, `visual`, `audio_visual`: the three kinds of events, each by itself;
- `type_at_av`: the mean of these three figures;
- `event_at_av`: hits and errors of audio and visual (not audio-visual) added up before F is taken,
  class by class.

Gates
-----
A network gives a probability for each second and a pooled one for the clip. A second counts where
both reach 0.5; published figures differ in which pooled one is asked, and are comparable only under
the same gate: `gate_by_video` asks the clip's (HAN and most), `gate_by_modality` the modality's own
(MA, JoMoLD and what follows them).

Reference: Y. Tian, D. Li, C. Xu, "Unified multisensory perception: weakly-supervised
audio-visual video parsing", ECCV 2020.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

MIN_IOU = 0.5
THRESHOLD = 0.5
LEVELS = ("segment", "event")
KINDS = ("audio", "visual", "audio_visual", "event_at_av")
"""What F is taken of; `type_at_av` is a mean of the first three."""
FIGURES = ("audio", "visual", "audio_visual", "type_at_av", "event_at_av")

Counts = tuple[np.ndarray, np.ndarray, np.ndarray]
"""True positives, false positives, false negatives: (videos, classes) each."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ParsingScores:
    """The five figures, in percent; behind them F of every video and class.

    `f` maps each of `KINDS` to float64 (videos, classes), in percent, NaN where the class does not
    occur in the video.
    """

    audio: float
    visual: float
    audio_visual: float
    type_at_av: float
    event_at_av: float
    f: Mapping[str, np.ndarray] = field(repr=False, compare=False)

    @property
    def per_video(self) -> dict[str, np.ndarray]:
        """The videos' scores by figure, in percent, (videos,); their means are the figures."""
        found = {kind: _mean_or(f, axis=1, empty=100.0) for kind, f in self.f.items()}
        found["type_at_av"] = np.mean([found[kind] for kind in KINDS[:3]], axis=0)
        return {name: found[name] for name in FIGURES}

    @property
    def per_class(self) -> dict[str, np.ndarray]:
        """Each class's mean F over the videos in which it occurs, in percent, (classes,).

        NaN for a class that occurs in no video; `type_at_av` is NaN where one of its three is.
        """
        found = {kind: _mean_or(f, axis=0, empty=np.nan) for kind, f in self.f.items()}
        found["type_at_av"] = np.mean([found[kind] for kind in KINDS[:3]], axis=0)
        return {name: found[name] for name in FIGURES}

    def as_json(self) -> dict[str, float]:
        """Return the five figures by name."""
        return {name: getattr(self, name) for name in FIGURES}


def validate(**named: np.ndarray) -> None:
    """Check arrays that belong together, each under the name that messages call it by.

    Raises
    ------
    ValueError
        The arrays do not share one shape (videos, classes, seconds), or it has a 0; a value is NaN
        or neither 0 nor 1. The message names the array and the place.
    """
    shapes = {name: np.shape(array) for name, array in named.items()}
    first = next(iter(shapes.values()))
    if len(set(shapes.values())) != 1 or len(first) != 3 or 0 in first:
        said = ", ".join(f"{name} {shape}" for name, shape in shapes.items())
        raise ValueError(
            "predictions and truths: expected arrays of one shape (videos, classes, seconds), none "
            f"of them 0, got {said}"
        )
    for name, array in named.items():
        wrong = (array != 0) & (array != 1)
        if np.any(wrong):
            video, cls, second = (int(i) for i in np.argwhere(wrong)[0])
            raise ValueError(
                f"{name}: expected 0 or 1, got {np.asarray(array)[video, cls, second]} at video "
                f"{video}, class {cls}, second {second} ({int(wrong.sum())} such values); "
                "probabilities become events by gate_by_video or gate_by_modality"
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
        1 where the event is there, else 0; any dtype.
    level : 'segment' or 'event'

    Raises
    ------
    ValueError
        Shapes that differ, values other than 0 and 1, or another level.
    """
    counted = _checked_counts(pred_audio, pred_visual, true_audio, true_visual, level)
    f = {kind: 100 * f_of(c) for kind, c in counted.items()}
    a, v, av, events = (float(100 * video_f(counted[kind]).mean()) for kind in KINDS)
    return ParsingScores(
        audio=a, visual=v, audio_visual=av, type_at_av=(a + v + av) / 3, event_at_av=events, f=f
    )


def category_f(
    pred_audio: np.ndarray,
    pred_visual: np.ndarray,
    true_audio: np.ndarray,
    true_visual: np.ndarray,
    *,
    level: str = "segment",
) -> dict[str, np.ndarray]:
    """Return each class's F over all videos, in percent, for each of `KINDS`; (classes,) each.

    Hits and errors are added up over the videos before F is taken. No figure of the benchmark: it
    says where a model is good. `audio` and `visual` are the two sides of Figure 4 of Lamba et al.,
    "Cross-modal learning for audio-visual video parsing", Interspeech 2021, which does not say how
    its bars are averaged. NaN for a class that occurs neither in predictions nor in truths.

    Raises ValueError as `parsing_scores` does.
    """
    counted = _checked_counts(pred_audio, pred_visual, true_audio, true_visual, level)
    return {kind: 100 * f_of(_summed(c)) for kind, c in counted.items()}


def class_f(
    pred_audio: np.ndarray,
    pred_visual: np.ndarray,
    true_audio: np.ndarray,
    true_visual: np.ndarray,
) -> np.ndarray:
    """Return each class's segment-level F over all videos and both modalities, in percent.

    The row `event_at_av` of `category_f`; shape (classes,).
    """
    return category_f(pred_audio, pred_visual, true_audio, true_visual)["event_at_av"]


def gate_by_video(
    audio: np.ndarray, visual: np.ndarray, video: np.ndarray, *, threshold: float = THRESHOLD
) -> tuple[np.ndarray, np.ndarray]:
    """Return which events are heard and seen: bool (videos, classes, seconds) each.

    Parameters
    ----------
    audio, visual : np.ndarray [shape=(videos, classes, seconds)]
        Probabilities of each second.
    video : np.ndarray [shape=(videos, classes)]
        Pooled probabilities of the whole clip; the network's may exceed 1.
    threshold
        What a second and its clip have to reach, inclusively.

    Raises
    ------
    ValueError
        Shapes that do not fit, or NaN.
    """
    return gate_by_modality(audio, visual, video, video, threshold=threshold)


def gate_by_modality(
    audio: np.ndarray,
    visual: np.ndarray,
    pooled_audio: np.ndarray,
    pooled_visual: np.ndarray,
    *,
    threshold: float = THRESHOLD,
) -> tuple[np.ndarray, np.ndarray]:
    """Return which events are heard and seen, each modality by its own pooled probabilities.

    As `gate_by_video`, with a pooled probability (videos, classes) of each modality.
    """
    named = {"audio": (audio, pooled_audio), "visual": (visual, pooled_visual)}
    for name, (second, pooled) in named.items():
        if np.ndim(second) != 3 or np.shape(second)[:2] != np.shape(pooled):
            raise ValueError(
                f"{name}: expected probabilities (videos, classes, seconds) and pooled ones "
                f"(videos, classes), got {np.shape(second)} and {np.shape(pooled)}"
            )
        for what, values in ((name, second), (f"pooled {name}", pooled)):
            if np.isnan(values).any():
                place = tuple(int(i) for i in np.argwhere(np.isnan(values))[0])
                raise ValueError(f"{what}: the probability at {place} is NaN")
    heard, seen = (
        (second >= threshold) & (pooled >= threshold)[..., None]
        for second, pooled in named.values()
    )
    return heard, seen


def f_of(counted: Counts) -> np.ndarray:
    """Return F = 2 TP / (2 TP + FP + FN), NaN where all three are 0; the counts' shape."""
    tp, fp, fn = counted
    total = 2 * tp + fp + fn
    return np.where(total > 0, 2 * tp / np.maximum(total, 1), np.nan)


def video_f(counted: Counts) -> np.ndarray:
    """Return each video's mean F over its classes, 1.0 where there are none; shape (videos,)."""
    return _mean_or(f_of(counted), axis=1, empty=1.0)


def _mean_or(f: np.ndarray, *, axis: int, empty: float) -> np.ndarray:
    """Return the mean of what is not NaN along an axis, `empty` where all is NaN."""
    there = ~np.isnan(f)
    number = there.sum(axis)
    total = np.where(there, f, 0.0).sum(axis)
    return np.where(number > 0, total / np.maximum(number, 1), empty)


def _checked_counts(
    pred_audio: np.ndarray,
    pred_visual: np.ndarray,
    true_audio: np.ndarray,
    true_visual: np.ndarray,
    level: str,
) -> dict[str, Counts]:
    """Return the counts of each of `KINDS`; the arrays are validated."""
    validate(
        pred_audio=pred_audio,
        pred_visual=pred_visual,
        true_audio=true_audio,
        true_visual=true_visual,
    )
    audio = counts(pred_audio, true_audio, level=level)
    visual = counts(pred_visual, true_visual, level=level)
    both = counts(
        np.logical_and(pred_audio, pred_visual),
        np.logical_and(true_audio, true_visual),
        level=level,
    )
    pooled = (audio[0] + visual[0], audio[1] + visual[1], audio[2] + visual[2])
    return dict(zip(KINDS, (audio, visual, both, pooled), strict=True))


def _summed(counted: Counts) -> Counts:
    """Return the counts of all videos together, (classes,) each."""
    tp, fp, fn = counted
    return tp.sum(0), fp.sum(0), fn.sum(0)


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
