"""Scores of many rows at once: mir_eval's figures, both ways to count silence, intervals, CSV."""

from __future__ import annotations

import csv
import json
import warnings

import numpy as np
import pytest
from mir_eval.separation import bss_eval_sources

from model.separation.bss import Projector
from model.separation.output import PAIRS_FILE, differences, pair_json, summary, write_pairs
from model.separation.published import PUBLISHED_ROWS
from model.separation.scoring import Estimate, judge, judges
from model.separation.statistics import bootstrap_interval, paired_interval
from model.separation.table import main as print_table


def mix(seed: int, samples: int = 2500) -> tuple[np.ndarray, np.ndarray]:
    """Two sources of coloured noise, float32 (2, S), and their sum."""
    noise = np.random.default_rng(seed).normal(0, 0.1, (2, samples + 8))
    smooth = [np.convolve(wave, taps, "valid") for wave, taps in zip(noise, COLOURS, strict=True)]
    sources = np.stack([wave[:samples] for wave in smooth]).astype(np.float32)
    return sources, sources.sum(axis=0)


COLOURS = (np.ones(9) / 9, np.array([1.0, -1.0, 0.5]))


def rows_of(sources: np.ndarray, mixture: np.ndarray) -> dict[str, Estimate]:
    """A good row, a row in the wrong order, one with an empty prediction, and the mixture."""
    good = sources + 0.1 * mixture
    return {
        "good": Estimate(waves_NS=good),
        "blind": Estimate(waves_NS=good[::-1], permutation="best"),
        "empty": Estimate(waves_NS=np.stack([0 * good[0], good[1]])),
        "mixture": Estimate(waves_NS=np.broadcast_to(mixture, sources.shape)),
    }


def reference_figures(sources: np.ndarray, estimates: np.ndarray, *, permute: bool):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        return bss_eval_sources(
            sources.astype(np.float64), estimates.astype(np.float64), compute_permutation=permute
        )


def judged_mixes(seeds=range(4)):
    judged = []
    for seed in seeds:
        sources, mixture = mix(seed)
        judged.append(judge((f"a{seed}", f"b{seed}"), sources, mixture, rows_of(sources, mixture)))
    return judged


def test_figures_are_those_of_mir_eval() -> None:
    for seed, count in ((0, 2), (1, 3)):
        generator = np.random.default_rng(seed)
        sources = generator.normal(0, 0.1, (count, 1800))
        mixing = np.eye(count) + 0.4 * generator.random((2, count, count))
        estimates = mixing @ sources + generator.normal(0, 0.02, (2, count, 1800))
        figures = Projector(sources).figures(estimates)
        for row, waves in enumerate(estimates):
            expected = reference_figures(sources, waves, permute=False)[:3]
            got = (figures.sdr_RNN[row], figures.sir_RNN[row], figures.sar_RNN[row])
            for values, target in zip(got, expected, strict=True):
                np.testing.assert_allclose(np.diagonal(values), target, atol=1e-6)


def test_best_order_is_that_of_mir_eval() -> None:
    sources, mixture = mix(3)
    estimates = rows_of(sources, mixture)["blind"].waves_NS
    sdr, _, _, order = reference_figures(sources, estimates, permute=True)
    row = judge(("a", "b"), sources, mixture, rows_of(sources, mixture)).rows["blind"]
    assert row.order == tuple(order) == (1, 0)
    np.testing.assert_allclose(row.scores.sdr, sdr, atol=1e-6)
    named = judge(("a", "b"), sources, mixture, {"x": Estimate(waves_NS=estimates)}).rows["x"]
    assert named.order == (0, 1)
    assert max(named.scores.sdr) < min(row.scores.sdr) - 10


def test_processes_give_what_one_process_gives() -> None:
    alone = judged_mixes()
    with judges(2) as pool:
        for seed in range(4):
            sources, mixture = mix(seed)
            names = (f"a{seed}", f"b{seed}")
            pool.submit(names, sources, mixture, rows_of(sources, mixture))
        spread = pool.results()
    for one, other in zip(alone, spread, strict=True):
        assert one.pair == other.pair
        for row in one.rows:
            assert one.rows[row].order == other.rows[row].order
            np.testing.assert_allclose(
                one.rows[row].scores.sdr, other.rows[row].scores.sdr, atol=1e-6
            )


def test_an_error_in_a_process_comes_back() -> None:
    sources, mixture = mix(0)
    short = {"short": Estimate(waves_NS=sources[:, :-1])}
    with judges(1) as pool:
        pool.submit(("a", "b"), sources, mixture, short)
        with pytest.raises(ValueError, match="broadcast"):
            pool.results()


def test_a_silent_prediction_counts_as_the_mixture_and_is_told() -> None:
    sources, mixture = mix(0)
    row = judge(("a", "b"), sources, mixture, rows_of(sources, mixture)).rows["empty"]
    estimates = np.stack([mixture, sources[1] + 0.1 * mixture])
    assert row.silent == (True, False)
    np.testing.assert_allclose(
        row.scores.sdr, reference_figures(sources, estimates, permute=False)[0], atol=1e-6
    )


def test_summary_has_both_ways_to_count_silence() -> None:
    judged = judged_mixes()
    sources, mixture = mix(9)
    rows = rows_of(sources, mixture)
    rows["empty"] = rows["good"]
    judged.append(judge(("a9", "b9"), sources, mixture, rows))
    found = summary(judged, seed=0)["empty"]
    assert (found["pairs"], found["silent"], found["official"]["pairs"]) == (5, 4, 1)
    assert found["official"]["sdr"] == pytest.approx(np.mean(judged[-1].rows["good"].scores.sdr))
    each = [np.mean(one.rows["empty"].scores.sdr) for one in judged]
    assert found["sdr"] == pytest.approx(np.mean(each))
    assert found["sdr"] < found["official"]["sdr"] - 3, "skipping flatters"
    assert summary(judged[:1], seed=0)["empty"]["official"] == {
        "sdr": None,
        "sir": None,
        "sar": None,
        "pairs": 0,
    }


def test_intervals_are_seeded_and_paired() -> None:
    judged = judged_mixes()
    found = summary(judged, seed=5)
    assert found == summary(judged, seed=5)
    low, high = found["good"]["interval_95"]["sdr"]
    assert low <= found["good"]["sdr"] <= high
    better = differences(judged, "good", seed=5)
    assert better["mixture"]["interval_95"][0] > 0
    assert better["blind"]["sdr"] == pytest.approx(0, abs=1e-6)
    assert "good" not in better


def test_bootstrap_covers_the_mean_of_a_known_spread() -> None:
    values = np.random.default_rng(0).normal(3.0, 2.0, 400)
    low, high = bootstrap_interval(values.tolist(), seed=1)
    assert high - low == pytest.approx(2 * 1.96 * 2.0 / 20, rel=0.15)
    assert low < values.mean() < high
    assert (low, high) == bootstrap_interval(values.tolist(), seed=1)
    assert (low, high) != bootstrap_interval(values.tolist(), seed=2)
    assert bootstrap_interval([4.0], seed=0) == (4.0, 4.0)
    shifted = paired_interval((values + 1).tolist(), values.tolist(), seed=1)
    assert shifted == pytest.approx((1.0, 1.0))


@pytest.mark.parametrize("values", [[], [1.0, float("inf")]])
def test_bootstrap_refuses_what_has_no_mean(values) -> None:
    with pytest.raises(ValueError, match="at least one value and finite"):
        bootstrap_interval(values, seed=0)


def test_paired_rows_have_the_same_pairs() -> None:
    with pytest.raises(ValueError, match="2 and 1 pairs"):
        paired_interval([1.0, 2.0], [1.0], seed=0)


def test_pairs_file_says_what_the_results_say(tmp_path) -> None:
    judged = judged_mixes()
    with write_pairs(tmp_path, judged).open(newline="") as file:
        lines = list(csv.DictReader(file))
    assert (tmp_path / PAIRS_FILE).is_file()
    assert len(lines) == 4 * len(judged[0].rows)
    for line in lines:
        scores = judged[int(line["pair"])].rows[line["row"]]
        assert (line["a"], line["b"]) == judged[int(line["pair"])].pair
        assert float(line["sir_b"]) == scores.scores.sir[1]
        assert float(line["sar"]) == np.mean(scores.scores.sar)
        assert line["official"] == ("0" if line["row"] == "empty" else "1")
        assert line["permutation"] == ("best" if line["row"] == "blind" else "named")


def test_a_pair_tells_orders_and_silence() -> None:
    found = pair_json(judged_mixes([0])[0], "good")
    assert found["silent"] == [False, False]
    assert found["silent_rows"] == {"empty": [True, False]}
    assert found["orders"] == {"blind": [1, 0]}


def test_estimates_of_another_shape_are_refused() -> None:
    sources, _ = mix(0)
    with pytest.raises(ValueError, match=r"shape \(1, 2, 2499\), expected \(rows, \*\(2, 2500\)\)"):
        Projector(sources).figures(sources[None, :, 1:])
    with pytest.raises(ValueError, match="an estimate is all zero"):
        Projector(sources).figures(0 * sources[None])


def test_printed_numbers_are_marked() -> None:
    assert all(row.as_json()["measured"] is False for row in PUBLISHED_ROWS)
    (told,) = [row for row in PUBLISHED_ROWS if row.sar is None]
    assert (told.system, told.sdr, told.sir) == ("Music Gesture (its authors)", 10.12, 15.81)
    best = [row for row in PUBLISHED_ROWS if row.source == "TriBERT, Table 2"][-1]
    assert (best.system, best.sdr, best.sir, best.sar) == (
        "TriBERT, fine-tuned",
        12.34,
        18.76,
        14.37,
    )


def test_the_table_has_every_row_and_marks_printed_ones(tmp_path, capsys) -> None:
    judged = judged_mixes()
    results = {
        "kind": "separation",
        "model": "tribert-0123",
        "pairs": [pair_json(each, "good") for each in judged],
        "summary": summary(judged, seed=0),
        "skipped": {"a + b": "a source is silent in its middle"},
    }
    path = tmp_path / "results.json"
    path.write_text(json.dumps(results))
    assert print_table([str(path)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "tribert-0123: 4 pairs, 1 left out"
    found = {line.split("  ")[0]: line for line in lines}
    row = results["summary"]["empty"]
    assert f"{row['sdr']:.2f}" in found["empty"]
    assert "- (0)" in found["empty"], "the official way has no pair left"
    assert found["blind"].endswith("best")
    assert lines.index("printed numbers, not measured here:") > lines.index(found["mixture"])
    assert found["TriBERT, fine-tuned"].split()[2:5] == ["12.34", "18.76", "14.37"]


def test_results_of_another_kind_are_refused(tmp_path, capsys) -> None:
    path = tmp_path / "results.json"
    path.write_text(json.dumps({"kind": "parsing"}))
    assert print_table([str(path)]) == 1
    assert "expected 'separation'" in capsys.readouterr().err
    assert print_table([str(tmp_path / "none.json")]) == 1
