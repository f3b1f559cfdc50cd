"""The parsing metrics against the original code's figures and against hand-made cases."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from model.avvp.metrics import class_f, counts, parsing_scores, runs, video_f

SHARED = Path(__file__).parents[2].parent / "shared"
GOLDEN = SHARED / "golden" / "avvp_metrics"
CASES = [
    "case1_random",
    "case3_empty_predictions",
    "case4_all_ones_predictions",
    "case5_corners",
    "llp_test_perfect",
    "llp_test_weak_label_oracle",
]


def load(case: str) -> tuple[dict, dict]:
    """The four arrays of a golden case (and the earlier audio truth), and its figures."""
    if not (GOLDEN / f"{case}.npz").exists():
        pytest.skip(f"golden case {case} is not in {GOLDEN}")
    packed = np.load(GOLDEN / f"{case}.npz")
    figures = json.loads((GOLDEN / f"{case}.json").read_text())
    data = {}
    for name in ("pred_a", "pred_v", "gt_a", "gt_v", "gt_a_pre2024"):
        if name not in packed.files:
            continue
        array = packed[name]
        if array.ndim == 1:
            shape = packed["shape"]
            array = np.unpackbits(array)[: np.prod(shape)].reshape(shape)
        data[name] = array
    return data, figures


@pytest.mark.parametrize("level", ["segment", "event"])
@pytest.mark.parametrize("case", CASES)
def test_golden_figures(case: str, level: str) -> None:
    data, figures = load(case)
    prediction = data["pred_a"], data["pred_v"]
    scores = parsing_scores(*prediction, data["gt_a"], data["gt_v"], level=level).as_json()
    assert scores == pytest.approx(figures[level], abs=1e-9)
    if "gt_a_pre2024" in data:
        scores = parsing_scores(*prediction, data["gt_a_pre2024"], data["gt_v"], level=level)
        expected = figures["with_pre2024_audio_annotation"][level]
        assert scores.as_json() == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize("level", ["segment", "event"])
def test_golden_figures_of_each_video(level: str) -> None:
    data, figures = load("case5_corners")
    per_video = video_f(counts(data["pred_a"], data["gt_a"], level=level))
    assert per_video == pytest.approx(figures[f"{level}_per_video"]["audio"], abs=1e-12)


def test_an_empty_video_with_an_empty_prediction_scores_one() -> None:
    empty = np.zeros((3, 4, 10))
    for level in ("segment", "event"):
        scores = parsing_scores(empty, empty, empty, empty, level=level)
        assert set(scores.as_json().values()) == {100.0}


def test_one_second_too_many_takes_an_empty_video_from_one_to_zero() -> None:
    truth = np.zeros((1, 4, 10))
    prediction = truth.copy()
    prediction[0, 2, 5] = 1
    scores = parsing_scores(prediction, truth, truth, truth)
    assert (scores.audio, scores.visual, scores.event_at_av) == (0.0, 100.0, 0.0)


def test_an_overlap_of_exactly_half_counts_as_found() -> None:
    truth, half, less = (np.zeros((1, 1, 10)) for _ in range(3))
    truth[0, 0, 0:4] = 1
    half[0, 0, 0:2] = 1
    less[0, 0, 0:1] = 1
    empty = np.zeros_like(truth)
    assert parsing_scores(half, empty, truth, empty, level="event").audio == 100.0
    assert parsing_scores(less, empty, truth, empty, level="event").audio == 0.0


def test_class_f_is_over_all_videos_and_both_modalities() -> None:
    truth = np.zeros((2, 3, 10))
    truth[:, 0, :5] = 1
    prediction = truth.copy()
    prediction[1, 0] = 0
    f = class_f(prediction, truth, truth, truth)
    assert f[0] == pytest.approx(100 * 2 * 15 / (2 * 15 + 5))
    assert np.isnan(f[1:]).all()


def test_shapes_that_differ_are_refused_with_the_shapes() -> None:
    with pytest.raises(ValueError, match=r"\(1, 2, 10\).*\(1, 2, 9\)|\(1, 2, 9\).*\(1, 2, 10\)"):
        parsing_scores(*[np.zeros((1, 2, 10))] * 3, np.zeros((1, 2, 9)))
    with pytest.raises(ValueError, match="level='clip'"):
        parsing_scores(*[np.zeros((1, 2, 10))] * 4, level="clip")


def brute_event_counts(p: np.ndarray, t: np.ndarray) -> tuple[int, int, int]:
    """Hits and errors of one row by sets of seconds."""

    def events(row: np.ndarray) -> list[set[int]]:
        found: list[set[int]] = []
        for second in np.flatnonzero(row):
            if found and second - 1 in found[-1]:
                found[-1].add(int(second))
            else:
                found.append({int(second)})
        return found

    predicted, true = events(p), events(t)

    def hit(a: set[int], others: list[set[int]]) -> bool:
        return any(2 * len(a & b) >= len(a | b) for b in others)

    tp = sum(hit(a, true) for a in predicted)
    return tp, len(predicted) - tp, sum(not hit(b, predicted) for b in true)


binary = arrays(bool, st.tuples(st.integers(1, 3), st.integers(1, 3), st.just(8)))


@settings(max_examples=60, deadline=None)
@given(binary, st.randoms(use_true_random=False))
def test_event_counts_equal_a_direct_count(p: np.ndarray, random) -> None:
    t = np.array([random.random() < 0.5 for _ in range(p.size)]).reshape(p.shape)
    tp, fp, fn = counts(p, t, level="event")
    for video in range(p.shape[0]):
        for cls in range(p.shape[1]):
            got = (tp[video, cls], fp[video, cls], fn[video, cls])
            assert got == brute_event_counts(p[video, cls], t[video, cls])


def test_runs_have_exclusive_ends() -> None:
    rows = np.array([[1, 1, 0, 1], [0, 0, 0, 0], [0, 1, 1, 1]], bool)
    row, start, stop = runs(rows)
    assert list(zip(row, start, stop, strict=True)) == [(0, 0, 2), (0, 3, 4), (2, 1, 4)]
