"""bench.parsing: the plain metric is the benchmark's, and ours gives the same figures, sooner."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.utils.data import default_collate

from bench.parsing_epoch import (
    CLASSES,
    PRECISIONS,
    PlainHAN,
    clip_of,
    loading,
    original,
    ours,
    write_npy,
)
from bench.parsing_metric import made_events, plain_scores
from model.avvp.config import presets
from model.avvp.data import collate
from model.avvp.han import HAN
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
        [sys.executable, "-m", "bench.parsing", "--videos", "60", "--clips", "0", "--json"],
        capture_output=True,
        text=True,
        check=True,
    )
    found = json.loads(done.stdout)
    assert found["metric_videos"] == 60
    assert found["metric_difference"] < 1e-9
    assert 0 < found["metric_s"] < found["metric_original_s"]


def test_the_plain_network_is_han(tmp_path: Path) -> None:
    folder = write_npy(tmp_path, 3)
    torch.manual_seed(0)
    plain = PlainHAN(width=16, classes=CLASSES, dropout=0.1).eval()
    ours = HAN(width=16, classes=CLASSES, dropout=0.1, together=True).eval()
    ours.load_state_dict(plain.state_dict())
    batch = collate([clip_of(number, *folder[number]) for number in range(3)])
    with torch.no_grad():
        expected = plain(*default_collate([folder[number] for number in range(3)])[:3])
        found = ours(batch.audio_BTE, batch.picture_BTE, batch.motion_BTE)
    torch.testing.assert_close(found.second_BTMC, expected.second_BTMC)
    torch.testing.assert_close(found.video_BC, expected.video_BC)


@pytest.mark.parametrize("precision", PRECISIONS.values())
def test_an_epoch_is_timed_in_a_whole_training(tmp_path: Path, precision: str) -> None:
    folder = write_npy(tmp_path / "npy", 5)
    clips = [clip_of(number, *folder[number]) for number in range(5)]
    config = replace(presets["tiny"], batch_size=2, precision=precision)
    assert ours(clips, config, tmp_path / "run") > 0
    assert loading(clips, 2) > 0
    assert original(folder, 2) > 0
