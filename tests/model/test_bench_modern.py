"""The benchmark of `modern`: its rows are what they say, and a table is made row by row."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from bench.modern import main
from bench.modern_rows import SIZES, WITH, WITHOUT, rows
from model.tribert.config import PoseConfig
from storage.fingerprint import json_differences
from storage.views import write_dataset_view, write_source_view

POSE = PoseConfig(channels=8)
FEW = ("--steps", "1", "--pairs", "2", "--device", "cpu", "--rows", "over time")


@pytest.mark.parametrize("size", SIZES)
def test_each_row_changes_what_it_names_and_nothing_else(size: str) -> None:
    made = rows(size, POSE, precision="32-true", heard=True)
    assert len(made) == 2 + len(WITHOUT) + len(WITH) + 3
    assert set(made) - set(rows(size, POSE, precision="32-true", heard=False)) == {
        "modern: VGGish hears the mixture"
    }
    for base, switches in (("modern: ", WITHOUT), ("paper + ", WITH)):
        own = made[base.split()[0].strip(":")].as_json()
        for name, changes in switches.items():
            differing = json_differences(own, made[base + name].as_json())
            named = {f"{section}.{key}" for section, keys in changes.items() for key in keys}
            found = {each.partition(":")[0] for each in differing}
            assert found, name
            assert found <= named, name
    assert {config.pose.channels for config in made.values()} == {8}
    assert {config.optim.precision for config in made.values()} == {"32-true"}


@pytest.fixture(scope="module")
def store(tone_store_maker, tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tone_store_maker(tmp_path_factory.mktemp("bench"))
    write_dataset_view(made.layout, "tones", made.items)
    write_source_view(made.layout, "tones", made.stages)
    return made.layout.root


def test_a_table_is_made_row_by_row_and_goes_on(
    store: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "table.json"
    models = sorted((store / "models").iterdir())
    assert main([str(store), *FEW, "--out", str(out), "--json"]) == 0
    said = capsys.readouterr()
    found = json.loads(said.out)["modern"]
    names = [row["row"] for row in found["rows"]]
    assert names == ["modern: no attention over time", "paper + attention over time"]
    for row in found["rows"]:
        assert {"sdr", "sdr_swapped", "mask_loss", "mask_loss_swapped", "step_s"} <= set(row)
        assert row["sdr_oracle"] > row["sdr_mixture"] + 5
        assert not any(
            "-train-" in name or "-test-" in name for pair in row["pairs"] for name in pair
        )
    assert sorted((store / "models").iterdir()) == models
    assert main([str(store), *FEW, "--out", str(out)]) == 0
    again = capsys.readouterr()
    assert "..." in said.err
    assert "..." not in again.err
    assert "no attention over time" in again.out
    assert main([str(store), *FEW, "--out", str(out), "--seed", "1"]) == 1
    assert "other conditions" in capsys.readouterr().err


def test_it_needs_neither_luigi_nor_what_extracts() -> None:
    code = (
        "import sys, bench.modern; "
        "print(sorted({'luigi', 'dask', 'distributed', 'mediapipe', 'ffmpeg', 'yt_dlp', 'tasks'}"
        " & {name.partition('.')[0] for name in sys.modules}))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
