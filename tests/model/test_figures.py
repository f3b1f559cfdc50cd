"""Figures of a published TriBERT: what is drawn of pairs and of retrieval, as PNG files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from luigi.configuration import LuigiConfigParser

from model.evaluate_main import evaluate as publish_evaluation_of
from model.retrieval.config import presets as retrieval_presets
from model.retrieval.jobs import train_jobs
from model.retrieval.run import run as run_retrieval
from model.separation.jobs import table_job
from model.tribert.errors import SeparationError
from model.tribert.evaluation_config import EvaluationConfig
from model.tribert.show import show
from storage.models import read_evaluation
from tasks.cli import main
from tasks.report import figures
from tasks.report.examples import separation_example
from tasks.report.gallery import Gallery
from tasks.report.retrieval import retrieval

SETTINGS = EvaluationConfig(pairs=1, examples=1, span_frames=64)


@pytest.fixture
def command(with_tribert, monkeypatch: pytest.MonkeyPatch, capsys, tmp_path: Path) -> Any:
    """Runs `soundstage figures` into a folder; gives its exit code, what it said, the folder."""
    parser = LuigiConfigParser()
    root = with_tribert.store.layout.root
    parser.read_string(f"[soundstage]\nroot = {root}\ndevice = cpu\n")
    monkeypatch.setattr(LuigiConfigParser, "_instance", parser)

    def run(model: str, *arguments: str) -> tuple[int, str, Path]:
        out = tmp_path / "figures"
        code = main(["figures", model, "--out", str(out), *arguments])
        captured = capsys.readouterr()
        return code, captured.out + captured.err, out

    return run


def picture(path: Path) -> np.ndarray:
    shown = cv2.imread(str(path))
    assert shown is not None, f"{path} is no picture"
    return shown


def test_the_arrays_are_what_the_network_saw_and_where_it_looked(with_tribert, tmp_path) -> None:
    store = with_tribert.store
    ids = [item.item_id for item in store.split("test")[:2]]
    (example,) = show(
        store.layout,
        with_tribert.model,
        tmp_path,
        pairs=[(ids[0], ids[1])],
        settings=SETTINGS,
        device="cpu",
    )
    assert example["pair"] == ids
    with np.load(tmp_path / example["arrays"]) as arrays:
        assert arrays["seen"].shape == (2, 3, 32, 32, 3)
        assert arrays["maps"].shape[:3] == arrays["map_classes"].shape == (2, 3, 2)
        assert set(arrays["map_classes"].ravel()) == {"flute", "tuba"}
        assert np.ptp(arrays["maps"]) > 0
        mixture = np.expm1(arrays["mixture"])
        separated = np.expm1(arrays["separated"].astype(np.float32))
        np.testing.assert_allclose(
            separated, mixture * arrays["predicted"], rtol=2e-2, atol=5e-2 * mixture.max()
        )
        sources = np.expm1(arrays["sources"].astype(np.float32))
        louder = sources[0] > sources[1]
        assert (arrays["true"][0][louder] >= 0.5).mean() > 0.9, "the mask is of the louder source"


def test_named_pairs_become_files(with_tribert, command) -> None:
    names = [item.item_id for item in with_tribert.store.split("val")[:2]]
    code, said, out = command(with_tribert.model, "--pairs", *names)
    assert code == 0, said
    kinds = {path.name.split("-")[1].partition(".")[0] for path in out.glob("pair0-*.png")}
    assert kinds == {"separation", "attention", "poses"}
    for path in out.glob("*.png"):
        assert str(path) in said
        shown = picture(path)
        assert min(shown.shape[:2]) > 100
        assert shown.std() > 5, "not a blank picture"


@pytest.mark.parametrize(
    "arguments, expected",
    [
        (("--pairs", "someone", "else"), "'someone' fits 0 items"),
        (("--pairs", "tones", "tones"), "fits 21 items"),
        (("--pairs", "tones"), "expected two items for each mix"),
        (("--count", "0"), "a count of at least 1"),
    ],
)
def test_what_cannot_be_drawn_is_told(with_tribert, command, arguments, expected) -> None:
    code, said, _ = command(with_tribert.model, *arguments)
    assert code == 2
    assert expected in said


def test_items_that_cannot_be_read_are_named(with_tribert, tmp_path) -> None:
    store = with_tribert.store
    good = store.split("test")[0].item_id
    for item in store.items:
        if item.labels == ():
            with pytest.raises(SeparationError, match="cannot be shown: no label"):
                show(
                    store.layout,
                    with_tribert.model,
                    tmp_path,
                    pairs=[(good, item.item_id)],
                    settings=SETTINGS,
                )


def test_an_evaluation_has_what_the_report_shows(with_tribert, tmp_path) -> None:
    layout = with_tribert.store.layout
    job = table_job(layout, with_tribert.model, [], SETTINGS, device="cpu")
    publish_evaluation_of(job)
    (example,) = read_evaluation(layout, job.name)["examples"]
    shown = separation_example(layout.evaluation(job.name), example, Gallery(tmp_path), "a mix/0")
    assert shown["separation"].startswith("data:image/png;base64,")
    assert all(source["attention"] for source in shown["sources"])
    assert (tmp_path / "a-mix-0-separation.png").is_file()


def test_retrieved_clips_are_marked(with_tribert, command, monkeypatch) -> None:
    layout = with_tribert.store.layout
    small = {"hidden": [8], "max_steps": 2, "val_every_steps": 2, "pair_skips": 1}
    config = type(retrieval_presets["tiny"]).from_json(
        retrieval_presets["tiny"].as_json() | small | {"variants": ["audio_to_vision"]}
    )
    jobs = train_jobs(layout, with_tribert.model, config, device="cpu")[:1]
    results = run_retrieval(layout, jobs)
    drawn: list[list[list[figures.Found]]] = []
    draw = figures.retrieved

    def remembered(rows: Any, title: str) -> bytes:
        drawn.append(rows)
        return draw(rows, title)

    monkeypatch.setattr(figures, "retrieved", remembered)
    code, said, out = command(jobs[0].name)
    assert code == 0, said
    assert [path.name for path in out.glob("*.png")] == [
        "retrieval-audio_to_vision-transformer-joint.png"
    ]
    (rows,) = drawn
    for row, example in zip(rows, results["rows"][0]["examples"], strict=True):
        marks = [found.mark for found in row]
        assert marks[0] == "query"
        if example["query"] in example["found"]:
            assert marks[1 + example["found"].index(example["query"])] == "right"
        assert marks.count("right") <= 1
    (table,) = retrieval(results, {})["variants"]
    kinds = [row["kind"] for row in table["rows"]]
    assert kinds == ["ours", "measured", "paper", "paper"], "one of ours, chance, two printed"
