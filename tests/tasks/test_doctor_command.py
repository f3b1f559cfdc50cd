"""`soundstage doctor --alphapose`: what it finds in a checkout, and what it advises."""

from __future__ import annotations

import json
import re
import subprocess
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
from alphapose_standin import CHECKPOINT, CONFIG, make_checkout

from pipeline.datasets.base import Dataset
from pipeline.pose.config import AlphaposeConfig, RtmConfig
from tasks.cli import _parser
from tasks.context import alphapose_settings, resolve_stages, rtm_settings
from tasks.settings import SettingsError, load_settings


@pytest.fixture
def checkout(tmp_path: Path, desk: Any) -> Path:
    """A stand-in checkout whose files the settings name."""
    desk.parser.read_string(f"[alphapose]\nconfig = {CONFIG}\ncheckpoint = {CHECKPOINT}\n")
    return make_checkout(tmp_path / "AlphaPose")


def examine(desk: Any, checkout: Path) -> dict[str, Any]:
    """Findings by what was looked at; 'ok' and the exit code must agree."""
    desk.capsys.readouterr()
    code = desk.run("doctor", "--alphapose", str(checkout), "--json")
    report = json.loads(desk.capsys.readouterr().out)
    assert code == (0 if report["ok"] else 1)
    return {finding["what"]: finding for finding in report["findings"]}


def test_a_checkout_that_works(desk: Any, checkout: Path) -> None:
    found = examine(desk, checkout)
    assert found["start"]["state"] == "ok"
    assert found["start"]["found"] == "models loaded, 68 joints, on cpu"
    assert found["joints"]["found"] == "68"
    assert {found[what]["state"] for what in ("config", "checkpoint", "yolo", "cv2")} == {"ok"}
    assert found["nms_cpu"]["state"] == "note"
    assert found["nms_cpu"]["advice"] == "in its place: torchvision's nms"
    assert not [finding for finding in found.values() if finding["state"] == "failed"]
    assert desk.run("doctor", "--alphapose", str(checkout)) == 0
    assert "AlphaPose can be used." in desk.capsys.readouterr().out


def test_the_commit_is_compared_with_the_pinned_one(desk: Any, checkout: Path) -> None:
    (checkout / "natsort.py").unlink()  # models need not be loaded here
    git = ("git", "-C", str(checkout), "-c", "user.name=a", "-c", "user.email=a@b.c")
    subprocess.run([*git, "init", "-q"], check=True)
    subprocess.run([*git, "commit", "-q", "--allow-empty", "-m", "other"], check=True)
    found = examine(desk, checkout)
    assert found["commit"]["state"] == "note"
    assert found["commit"]["advice"].endswith("git checkout c60106d")


def test_what_is_missing_is_named_with_what_to_do(desk: Any, checkout: Path) -> None:
    (checkout / CHECKPOINT).unlink()
    (checkout / "natsort.py").write_text("import nowhere_to_be_found")
    (checkout / CONFIG).write_text("DATA_PRESET:\n  NUM_JOINTS: 17\n")
    found = examine(desk, checkout)
    assert found["checkpoint"]["state"] == "failed"
    assert "set [alphapose] checkpoint" in found["checkpoint"]["advice"]
    assert "nowhere_to_be_found" in found["natsort"]["found"]
    assert found["natsort"]["advice"].endswith("-m pip install natsort")
    assert "NUM_JOINTS 136, 68, 26" in found["joints"]["found"]
    assert found["start"]["state"] == "failed"
    assert "not tried" in found["start"]["found"]
    assert desk.run("doctor", "--alphapose", str(checkout)) == 1
    assert "AlphaPose cannot be used yet." in desk.capsys.readouterr().out


def test_models_that_do_not_load_show_their_error(desk: Any, checkout: Path) -> None:
    (checkout / CHECKPOINT).write_text("of another network")
    found = examine(desk, checkout)
    assert found["start"]["state"] == "failed"
    assert "AssertionError" in found["start"]["found"]
    assert "docs/alphapose.md" in found["start"]["advice"]


def test_what_is_no_checkout_or_no_python(desk: Any, checkout: Path, tmp_path: Path) -> None:
    found = examine(desk, tmp_path / "empty")
    assert list(found) == ["checkout"]
    assert "has no folder alphapose, detector, configs" in found["checkout"]["found"]
    desk.parser.read_string("[alphapose]\npython = /no/such/python\n")
    found = examine(desk, checkout)
    assert found["python"]["state"] == "failed"
    assert "[alphapose] python" in found["python"]["advice"]


def test_the_command_needs_a_checkout(desk: Any) -> None:
    assert desk.run("doctor") == 2
    assert "write --alphapose PATH" in desk.capsys.readouterr().err


def test_settings_reach_the_stage(desk: Any, checkout: Path) -> None:
    desk.parser.read_string(
        f"[pose]\nbackend = alphapose\n[alphapose]\nroot = {checkout}\ndevice = cpu\n"
        "[soundstage]\nweights_dir = /weights\n[rtm]\nbody = mine.onnx\n"
    )
    settings = load_settings()
    assert rtm_settings(settings) == RtmConfig(weights_dir="/weights", body="mine.onnx")
    pose = resolve_stages(settings, Dataset(name="none", items=(), classes=()))["pose"]
    assert pose.config.alphapose == alphapose_settings(settings)
    assert pose.config.alphapose.root == str(checkout)
    assert pose.record.weights["joints"] == "68"


def test_the_file_in_the_repository_states_the_defaults(desk: Any) -> None:
    desk.parser.read(Path(__file__).parents[2] / "luigi.cfg")
    settings = load_settings()
    assert alphapose_settings(settings) == AlphaposeConfig()
    assert rtm_settings(settings) == RtmConfig()


def test_a_detector_that_tracks_is_refused(desk: Any) -> None:
    desk.parser.read_string("[alphapose]\ndetector = tracker\n")
    with pytest.raises(SettingsError, match=r"\[alphapose\] detector 'tracker': expected yolo"):
        alphapose_settings(load_settings())


def test_the_page_states_settings_and_commands_that_exist(desk: Any) -> None:
    page = (Path(__file__).parents[2] / "docs" / "alphapose.md").read_text()
    [settings] = re.findall(r"```ini\n(.*?)```", page, re.DOTALL)
    desk.parser.read_string(settings)
    loaded = load_settings()
    assert alphapose_settings(loaded).root == "/data/AlphaPose"
    assert len(loaded.poses["alphapose"]) == len(fields(AlphaposeConfig))
    commands = re.findall(r"^soundstage (.+)$", page, re.MULTILINE)
    assert len(commands) == 3
    for command in commands:
        _parser().parse_args(command.split())
