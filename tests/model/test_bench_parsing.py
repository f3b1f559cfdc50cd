"""bench.parsing: the plain metric is the benchmark's, and ours gives the same figures, sooner."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from bench.parsing_metric import made_events, plain_scores
from model.avvp.metrics import LEVELS, parsing_scores


def test_the_plain_metric_is_the_original(shared_dir: Path) -> None:
    case = shared_dir / "golden" / "avvp_metrics" / "case5_corners"
    data = np.load(case.with_suffix(".npz"))
    figures = json.loads(case.with_suffix(".json").read_text())
    compared = [data[name] for name in ("pred_a", "pred_v", "gt_a", "gt_v")]
    for level in LEVELS:
        assert plain_scores(*compared, level=level) == pytest.approx(figures[level], abs=1e-9)


def test_made_events_are_neither_all_right_nor_all_wrong() -> None:
    for level in LEVELS:
        figures = parsing_scores(*made_events(200), level=level).as_json()
        assert all(20 < figure < 95 for figure in figures.values()), figures


def test_the_command_says_how_fast_and_that_figures_agree() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "bench.parsing", "--videos", "60", "--json"],
        capture_output=True,
        text=True,
        check=True,
    )
    found = json.loads(done.stdout)
    assert found["metric_videos"] == 60
    assert found["metric_difference"] < 1e-9
    assert 0 < found["metric_s"] < found["metric_original_s"]
