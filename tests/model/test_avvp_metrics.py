"""The parsing metrics against the original code's figures and against hand-made cases."""

from __future__ import annotations

import json
from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from model.avvp.han import Parsing
from model.avvp.metrics import (
    category_f,
    class_f,
    counts,
    gate_by_modality,
    gate_by_video,
    parsing_scores,
    runs,
    video_f,
)
from model.avvp.parse import gated
from pipeline.datasets.classes import LLP

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


@pytest.mark.parametrize("level", ["segment", "event"])
@pytest.mark.parametrize("case", CASES)
def test_golden_figures_of_every_video(case: str, level: str) -> None:
    data, figures = load(case)
    arrays_ = data["pred_a"], data["pred_v"], data["gt_a"], data["gt_v"]
    scores = parsing_scores(*arrays_, level=level)
    for kind, expected in figures[f"{level}_per_video"].items():
        assert scores.per_video[kind] / 100 == pytest.approx(expected, abs=1e-12)
    for name, figure in scores.as_json().items():
        assert scores.per_video[name].mean() == pytest.approx(figure, abs=1e-9)


def test_figures_of_a_class_are_its_mean_over_the_videos_it_occurs_in() -> None:
    truth = np.zeros((3, 2, 10))
    truth[:2, 0, :4] = 1
    prediction = truth.copy()
    prediction[1, 0, :] = 1
    scores = parsing_scores(prediction, truth, truth, truth)
    f = 100 * 2 * 4 / (2 * 4 + 6)
    assert scores.per_class["audio"][0] == pytest.approx((100 + f) / 2)
    assert scores.per_class["visual"][0] == 100
    assert all(np.isnan(values[1]) for values in scores.per_class.values())
    assert np.isnan(scores.f["audio"][2]).all()


def test_category_f_keeps_the_modalities_apart() -> None:
    truth = np.zeros((2, 3, 10))
    truth[:, 0, :5] = 1
    prediction = truth.copy()
    prediction[1, 0] = 0
    f = category_f(prediction, truth, truth, truth)
    assert f["audio"][0] == pytest.approx(100 * 2 * 5 / (2 * 5 + 5))
    assert f["visual"][0] == 100
    assert f["event_at_av"][0] == class_f(prediction, truth, truth, truth)[0]
    events = category_f(prediction, truth, truth, truth, level="event")
    assert events["audio"][0] == pytest.approx(100 * 2 / 3)


@pytest.mark.parametrize("value", [np.nan, 0.5, 2, -1])
def test_values_that_are_not_binary_are_refused_with_their_place(value: float) -> None:
    good, bad = np.zeros((2, 3, 10)), np.zeros((2, 3, 10))
    bad[1, 2, 7] = value
    message = rf"pred_visual: expected 0 or 1, got {value}.* at video 1, class 2, second 7"
    with pytest.raises(ValueError, match=message):
        parsing_scores(good, bad, good, good)


def probabilities(seed: int) -> Parsing:
    """What a network would give for four clips of ten seconds and five classes."""
    rng = np.random.default_rng(seed)
    sizes = {"B": 4, "T": 10, "M": 2, "C": 5, "D": 3}
    shapes = {f.name: [sizes[d] for d in f.name.rpartition("_")[2]] for f in fields(Parsing)}
    return Parsing(**{name: torch.from_numpy(rng.random(shape)) for name, shape in shapes.items()})


def test_gates_of_arrays_are_those_of_the_network() -> None:
    found = probabilities(0)
    audio, visual = (found.second_BTMC[:, :, m].permute(0, 2, 1).numpy() for m in (0, 1))
    pooled = {
        "video": [found.video_BC.numpy()],
        "modality": [found.audio_BC.numpy(), found.visual_BC.numpy()],
    }
    gates = {"video": gate_by_video, "modality": gate_by_modality}
    for name, gate in gates.items():
        heard, seen = gate(audio, visual, *pooled[name])
        expected = gated(found, name).numpy()
        assert (heard == expected[:, 0]).all()
        assert (seen == expected[:, 1]).all()
    heard, seen = gate_by_video(audio, visual, np.zeros((4, 5)))
    assert not heard.any()
    assert not seen.any()


def test_gates_include_their_threshold_and_refuse_what_does_not_fit() -> None:
    half = np.full((1, 2, 3), 0.5)
    heard, seen = gate_by_video(half, half - 1e-9, np.full((1, 2), 0.5))
    assert heard.all()
    assert not seen.any()
    with pytest.raises(ValueError, match=r"audio: .*got \(1, 2, 3\) and \(1, 3\)"):
        gate_by_video(half, half, np.zeros((1, 3)))
    with pytest.raises(ValueError, match=r"pooled visual: the probability at \(0, 1\) is NaN"):
        gate_by_modality(half, half, np.zeros((1, 2)), np.array([[0, np.nan]]))


four = st.tuples(st.integers(1, 4), st.integers(1, 4)).flatmap(
    lambda size: st.tuples(*[arrays(bool, (*size, 6))] * 4)
)
level = st.sampled_from(["segment", "event"])


@settings(max_examples=60, deadline=None)
@given(four, level, st.randoms(use_true_random=False))
def test_the_order_of_videos_and_of_classes_does_not_matter(compared, level, random) -> None:
    videos, classes = (random.sample(range(n), n) for n in compared[0].shape[:2])
    dealt = [one[videos][:, classes] for one in compared]
    scores = parsing_scores(*compared, level=level)
    other = parsing_scores(*dealt, level=level)
    assert other.as_json() == pytest.approx(scores.as_json(), abs=1e-9)
    for name, per_video in scores.per_video.items():
        assert other.per_video[name] == pytest.approx(per_video[videos], abs=1e-9)
        per_class = scores.per_class[name][classes]
        assert other.per_class[name] == pytest.approx(per_class, abs=1e-9, nan_ok=True)


@settings(max_examples=60, deadline=None)
@given(four, level)
def test_a_perfect_prediction_scores_100_and_nothing_exceeds_it(compared, level) -> None:
    truth = compared[2:]
    assert set(parsing_scores(*truth, *truth, level=level).as_json().values()) == {100.0}
    scores = parsing_scores(*compared, level=level)
    assert all(0 <= figure <= 100 for figure in scores.as_json().values())
    better = parsing_scores(compared[2], compared[1], *truth, level=level)
    assert better.audio >= scores.audio
    assert better.visual == scores.visual


@settings(max_examples=60, deadline=None)
@given(four, level)
def test_the_audio_visual_row_follows_from_the_other_two(compared, level) -> None:
    pred_a, pred_v, true_a, true_v = compared
    scores = parsing_scores(*compared, level=level)
    product = pred_a * pred_v, true_a * true_v
    alone = parsing_scores(product[0], product[0], product[1], product[1], level=level)
    assert scores.audio_visual == alone.audio == alone.visual == alone.event_at_av
    mean = (scores.audio + scores.visual + scores.audio_visual) / 3
    assert scores.type_at_av == pytest.approx(mean, abs=1e-12)


def test_categories_are_in_the_official_order() -> None:
    if not GOLDEN.is_dir():
        pytest.skip(f"no golden files in {GOLDEN}")
    assert tuple(json.loads((GOLDEN / "categories.json").read_text())["categories"]) == LLP
