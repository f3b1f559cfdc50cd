"""`soundstage synthllp`: the rows it writes are what a run on `synthllp:SIZE` trains on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from model.train.main import train
from pipeline.npy_features import FOLDERS
from storage.models import model_complete
from tasks.context import load_context
from tasks.features import Features
from tasks.models import chosen_job
from tasks.settings import SettingsError
from tasks.snapshots import read_items


@pytest.fixture
def listed(desk: Any, shared_dir: Path) -> Any:
    desk.parser.read_string(f"[lists]\ndir = {shared_dir / 'data'}\n[avvp]\nmax_steps = 3\n")
    return desk


def test_a_run_reads_what_the_command_wrote(listed: Any) -> None:
    # What luigi.cfg says of weights does not matter: there is no video to compute anything from.
    listed.parser.read_string("[vggish]\nweights = random:0\n")
    with pytest.raises(SettingsError, match=r"no such imported rows; run .* `soundstage synthllp`"):
        load_context("synthllp:micro", "")
    found = listed.json("synthllp", "--size", "micro")
    assert (found["dataset"], found["items"]) == ("synthllp:micro", 84)
    context = load_context("synthllp:micro", "")
    assert context.recipes == ("avvp",)
    assert context.imported == set(FOLDERS)
    assert {shard.split(" ")[0] for shard in found["shards"]} == {
        context.stages[stage].record.name for stage in FOLDERS
    }
    assert not any(context.needs_media(source) for source in context.sources)
    assert all(shard.complete() for shard in Features(dataset="synthllp:micro").shards())
    job, _ = chosen_job(context, "avvp", latest=False)
    assert len(read_items(context, job)) == 84
    train(job)
    assert model_complete(context.layout, job.name)


def test_sizes_that_are_not_there_are_named(listed: Any) -> None:
    assert listed.run("synthllp", "--size", "tiny") == 2
    assert "expected one of micro, micro-clean, small" in listed.capsys.readouterr().err


def test_a_store_may_be_named_and_the_clean_variant_made(listed: Any, tmp_path: Path) -> None:
    assert listed.run("synthllp", str(tmp_path / "other"), "--size", "micro", "--clean") == 0
    said = listed.capsys.readouterr().out
    assert "luigi --module tasks FullPipeline --dataset synthllp:micro-clean --recipe avvp" in said
    assert not (listed.root / "stages").exists()
    assert len(list((tmp_path / "other" / "stages").iterdir())) == 3
