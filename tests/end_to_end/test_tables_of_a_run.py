"""A run with a baseline and retrieval: what is there is kept, the rest is added and shown."""

from __future__ import annotations

import json
import re
import shutil
import signal
import time
from pathlib import Path

import pytest
from runs import Workspace

from model.jobs import TrainJob

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]
RUN = ("--dataset", "demo:micro", "--recipe", "tribert")


@pytest.fixture(scope="module")
def beside(micro: Workspace, tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """A copy of the micro run, with settings that ask for more, killed once and run to its end."""
    path = tmp_path_factory.mktemp("beside") / "run"
    shutil.copytree(micro.path, path)
    workspace = Workspace(path)
    workspace.set_key("tribert", "baselines", "unet_pit")
    workspace.set_key("tribert", "retrieval", "true")
    started = workspace.start(*RUN)
    deadline = time.monotonic() + 200
    while not list(workspace.store.glob("models/retrieval-*/model.json")):
        assert time.monotonic() < deadline, "no scorer was trained"
        assert started.poll() is None
        time.sleep(0.1)
    started.send_signal(signal.SIGKILL)
    started.wait()
    assert workspace.left_processes() == []
    done = workspace.luigi(*RUN)
    assert done.returncode == 0, done.stderr
    assert "trained: tribert" not in done.stderr
    assert done.stderr.count("trained: retrieval") == 2, "the first was trained before the kill"
    assert done.stderr.count("trained: separation") == 1
    return workspace


def newest_report(workspace: Workspace) -> Path:
    return max(workspace.store.glob("reports/*/report.html"), key=lambda p: p.stat().st_mtime_ns)


def test_the_report_shows_both_tables_and_their_figures(beside: Workspace) -> None:
    report = newest_report(beside)
    page = re.sub(r"data:[^\"]*", "", report.read_text())
    for expected in (
        "audio-only U-Net",
        "NMF with MFCC clustering",
        "oracle mask (dominant)",
        "leak-free",
        "before the transformer (paper)",
        "random",
        "TriBERT, Table 3",
        "separation, unet_pit",
    ):
        assert expected in page, expected
    assert 'src=""' in page, "figures are part of the page"
    names = {path.name for path in (report.parent / "figures").glob("*.png")}
    for kind in ("-separation", "-attention-0-", "-poses-1-", "audio_to_vision-transformer-alone"):
        assert any(kind in name for name in names), kind


def test_rows_that_the_truth_names_are_marked(beside: Workspace) -> None:
    results = [json.loads(p.read_text()) for p in beside.store.glob("evaluations/*/results.json")]
    (table,) = [r for r in results if r["kind"] == "separation" and len(r["models"]) == 2]
    permutations = {name: row["permutation"] for name, row in table["summary"].items()}
    assert permutations["audio-only U-Net"] == "best"
    assert permutations["TriBERT"] == "named"
    assert "interval_95" in table["differences"]["audio-only U-Net"]


def test_a_second_run_and_explain_find_everything_there(beside: Workspace) -> None:
    rows = json.loads(beside.soundstage("explain", *RUN, "--json").stdout)
    assert {row["state"] for row in rows} == {"done"}
    assert sum(row["name"].startswith(("separation-", "retrieval-")) for row in rows) == 4
    before = newest_report(beside)
    done = beside.luigi(*RUN)
    assert done.returncode == 0, done.stderr
    assert "trained" not in done.stderr
    assert "evaluated" not in done.stderr
    assert newest_report(beside) == before


def own_tribert(beside: Workspace) -> str:
    """Return the TriBERT of this run: the store may hold others."""
    rows = json.loads(beside.soundstage("explain", *RUN, "--json").stdout)
    (name,) = [row["name"] for row in rows if row["name"].startswith("tribert-")]
    return name


def test_the_job_that_torchrun_takes_is_the_runs_own(beside: Workspace) -> None:
    model = own_tribert(beside)
    found = json.loads(beside.soundstage("job", "tribert", *RUN, "--json").stdout)
    assert found["model"] == model
    assert found["published"]
    assert TrainJob.from_json(beside.path / found["job"]).name == model
    beside.set_key("tribert", "seed", "1")
    said = beside.soundstage("job", "tribert", *RUN).stdout
    beside.set_key("tribert", "seed", "0")
    assert said.startswith("torchrun --standalone --nproc-per-node GPUS -m model.train.main ")
    (path,) = re.findall(r"\S+job\.json", said)
    other = TrainJob.from_json(beside.path / path)
    assert (other.seed, other.name != model) == (1, True)


def test_figures_of_the_published_model(beside: Workspace) -> None:
    model = own_tribert(beside)
    done = beside.soundstage("figures", model, "--pairs", "violin_02", "tuba_02")
    assert done.returncode == 0, done.stderr
    names = {path.name for path in (beside.path / "figures" / model).glob("*.png")}
    assert {"pair0-separation.png", "retrieval-audio_to_pose-transformer-joint.png"} <= names
