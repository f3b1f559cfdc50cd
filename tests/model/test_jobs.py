"""Jobs survive their JSON file, refuse what they do not know, and name their results."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from model.jobs import EvaluateJob, TrainJob
from storage.errors import InvalidRecord

TRAIN = TrainJob(
    recipe="avvp",
    recipe_version=1,
    configuration={"width": 128, "betas": (0.9, 0.99)},
    seed=3,
    stages={"vggish": "vggish-0123456789ab"},
    snapshot="aaaabbbbcccc",
    dataset="llp",
    store_root=Path("/store"),
    run_dir=Path("/store/runs/x"),
)
EVALUATE = EvaluateJob(
    what="parsing",
    version=1,
    model=["avvp-111111111111", "avvp-222222222222"],
    dataset="llp",
    snapshot="aaaabbbbcccc",
    stages={"vggish": "vggish-0123456789ab"},
    store_root=Path("/store"),
    out_dir=Path("/store/runs/y"),
)


@pytest.mark.parametrize("job", [TRAIN, EVALUATE])
def test_a_job_read_back_has_the_same_name(job: Any, tmp_path: Path) -> None:
    again = type(job).from_json(job.to_json(tmp_path / "deep" / "job.json"))
    assert again.name == job.name
    assert again.as_json() == json.loads(json.dumps(job.as_json()))
    assert isinstance(again.store_root, Path)


@pytest.mark.parametrize(
    "field, value", [("seed", 4), ("configuration", {"width": 64}), ("snapshot", "d" * 12)]
)
def test_what_decides_the_weights_decides_the_name(field: str, value: Any) -> None:
    assert replace(TRAIN, **{field: value}).name != TRAIN.name


@pytest.mark.parametrize(
    "field, value", [("device", "cuda:4"), ("loader_workers", 3), ("run_dir", Path("/elsewhere"))]
)
def test_where_it_runs_does_not_decide_the_name(field: str, value: Any) -> None:
    assert replace(TRAIN, **{field: value}).name == TRAIN.name


def test_one_model_or_several_name_an_evaluation() -> None:
    one = replace(EVALUATE, model="avvp-111111111111")
    assert one.models == ("avvp-111111111111",)
    assert one.name == replace(EVALUATE, model=["avvp-111111111111"]).name
    assert one.name != EVALUATE.name
    assert one.name.startswith("parsing-")
    with pytest.raises(InvalidRecord, match="no model given"):
        replace(EVALUATE, model=[])


def test_a_file_with_other_fields_is_refused_by_name(tmp_path: Path) -> None:
    path = TRAIN.to_json(tmp_path / "job.json")
    values = json.loads(path.read_text())
    path.write_text(json.dumps(values | {"learning_rate": 1}))
    with pytest.raises(InvalidRecord, match=r"job\.json: unknown field learning_rate"):
        TrainJob.from_json(path)
    del values["seed"]
    path.write_text(json.dumps(values))
    with pytest.raises(InvalidRecord, match="seed"):
        TrainJob.from_json(path)
