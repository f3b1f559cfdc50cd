"""[tribert] baselines and retrieval: which tasks a run gets by them, and what it says of them."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from model.retrieval.jobs import KINDS
from model.separation.config import Config
from model.separation.jobs import SYSTEMS, baseline_jobs
from model.tribert.config import presets
from storage.models import ModelRecord, publish_model, write_snapshot
from storage.records import DatasetItem
from tasks.beside import baseline_job, baseline_systems, scorer_job
from tasks.context import load_context
from tasks.explain import Row, beside_rows
from tasks.report_task import Report
from tasks.settings import SettingsError, load_settings
from tasks.training import Evaluate, EvaluateRetrieval, TrainBaseline, TrainModel


def context_with(desk: Any, text: str, recipe: str = "tribert") -> Any:
    desk.list([("a.mp4", "violin", "train"), ("b.mp4", "tuba", "train")])
    desk.parser.read_string(f"[tribert]\n{text}\n")
    return load_context(desk.name, recipe)


@pytest.fixture
def published(desk: Any) -> tuple[Any, str]:
    """A run's context and the name of a TriBERT of its dataset; nothing of its weights is read."""
    context = context_with(desk, "baselines = all\nretrieval = true\nloader_workers = 2")
    items = [DatasetItem(item_id=desk.item("a.mp4"), labels=("violin",), split="train")]
    record = ModelRecord(
        recipe="tribert",
        recipe_version=1,
        configuration=presets["tiny"].as_json(),
        seed=5,
        stages={"frames": "frames-0", "stft": "stft-0", "pose_embed": "pose_embed-0"},
        snapshot=write_snapshot(context.layout, context.name, items),
        dataset=context.name,
    )
    folder = context.layout.root / "prepared"
    folder.mkdir()
    save_file({"x": torch.zeros(1)}, folder / "weights.safetensors")
    publish_model(context.layout, record, folder, {"classes": ["violin"]})
    return context, record.name


def test_nothing_stands_beside_a_tribert_by_default(desk: Any) -> None:
    context = context_with(desk, "preset = tiny")
    assert baseline_systems(context) == ()
    report = Report(dataset=desk.name, recipe="tribert")
    (evaluation,) = report.requires()
    assert isinstance(evaluation, Evaluate)
    assert [type(task) for task in evaluation.requires()] == [TrainModel]


def test_a_run_needs_what_was_asked_for(desk: Any) -> None:
    context = context_with(desk, "baselines = unet_pit, sound_of_pixels\nretrieval = true")
    assert baseline_systems(context) == ("sound_of_pixels", "unet_pit"), "in the table's order"
    separation, retrieval = Report(dataset=desk.name, recipe="tribert").requires()
    assert isinstance(separation, Evaluate)
    beside = [task for task in separation.requires() if isinstance(task, TrainBaseline)]
    assert [task.system for task in beside] == ["sound_of_pixels", "unet_pit"]
    assert isinstance(retrieval, EvaluateRetrieval)
    assert [task.kind for task in retrieval.requires()] == list(range(len(KINDS)))


def test_all_names_every_baseline_there_is(desk: Any) -> None:
    assert baseline_systems(context_with(desk, "baselines = all")) == SYSTEMS


def test_a_dataset_without_tribert_has_none(desk: Any) -> None:
    context = context_with(desk, "baselines = all\nretrieval = true", recipe="avvp")
    assert baseline_systems(context) == ()
    (evaluation,) = Report(dataset=desk.name, recipe="avvp").requires()
    assert isinstance(evaluation, Evaluate)


def test_a_wrong_name_is_told_before_anything_starts(desk: Any) -> None:
    desk.parser.read_string("[tribert]\nbaselines = unet_pit, sound_of_pixel\n")
    with pytest.raises(SettingsError, match="baselines = 'sound_of_pixel': did you mean 'sound_of"):
        load_settings()


def test_jobs_are_those_of_the_command(published: tuple[Any, str]) -> None:
    context, tribert = published
    for system in SYSTEMS:
        job = baseline_job(context, tribert, system)
        (same,) = baseline_jobs(context.layout, tribert, [system])
        assert job.name == same.name
        assert Config.from_json(job.configuration).system == system
        assert (job.seed, job.loader_workers) == (5, 2)
    for kind, wanted in enumerate(KINDS):
        job = scorer_job(context, tribert, kind)
        assert {key: job.configuration[key] for key in wanted} == wanted
        assert job.configuration["tribert"] == tribert


def test_a_job_is_not_written_before_its_items_are_there(desk: Any) -> None:
    desk.list([("a.mp4", "violin", "train"), ("b.mp4", "tuba", "train")])
    assert desk.run("job", "tribert", "--dataset", desk.name) == 2
    assert "waits for its ST-GCN" in desk.capsys.readouterr().err
    assert desk.run("job", "stgcn", "--dataset", desk.name) == 2
    assert "0 of 2 items came through" in desk.capsys.readouterr().err


def test_explain_names_what_waits_and_what_is_missing(published: tuple[Any, str]) -> None:
    context, tribert = published
    waiting = beside_rows(context, [])
    assert len(waiting) == len(SYSTEMS) + len(KINDS)
    assert {row.why for row in waiting} == {("after its TriBERT",)}
    there = Row(kind="model", name=tribert, source=context.name, state="done", items=0)
    missing = beside_rows(context, [there])
    assert {(row.state, row.why) for row in missing} == {("run", ("no model beside this TriBERT",))}
    assert missing[0].name == f"baseline {SYSTEMS[0]}"
    assert missing[-1].name == "retrieval (input, joint)"
