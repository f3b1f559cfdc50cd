"""soundstage evaluate: a published TriBERT on a snapshot that is not its own."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from luigi.configuration import LuigiConfigParser

from storage.models import read_snapshot, write_snapshot
from tasks.cli import main

SMALL = {"pairs": 1, "examples": 0, "span_frames": 32, "pair_rule": "disjoint", "nmf": False}


@pytest.fixture
def command(with_tribert, monkeypatch: pytest.MonkeyPatch, capsys) -> Any:
    """Runs the command on a dataset of these items; gives its exit code and what it said."""
    store, model = with_tribert.store, with_tribert.model
    parser = LuigiConfigParser()
    parser.read_string(f"[soundstage]\nroot = {store.layout.root}\ndevice = cpu\n")
    monkeypatch.setattr(LuigiConfigParser, "_instance", parser)

    def run(items: Any, *arguments: str) -> tuple[int, str]:
        digest = write_snapshot(store.layout, "others", items)
        given = ["evaluate", "--model", model, "--dataset", "others", "--snapshot", digest]
        code = main([*given, *arguments])
        captured = capsys.readouterr()
        return code, captured.out if code == 0 else captured.err

    return run


def test_a_model_is_scored_on_items_of_another_snapshot(with_tribert, command) -> None:
    store, model = with_tribert.store, with_tribert.model
    val = store.split("val")
    settings = ("--set", json.dumps(SMALL), "--json")
    code, text = command(val, "--split", "val", *settings)
    assert code == 0, text
    found = json.loads(text)
    assert found["results"]["model"] == model
    (pair,) = found["results"]["pairs"]
    assert {pair["a"], pair["b"]} <= {item.item_id for item in val}
    judged = store.layout.evaluation(found["evaluation"])
    before = (judged / "results.json").stat().st_mtime_ns
    assert command(val, "--split", "val", *settings) == (0, text), "nothing is done twice"
    assert (judged / "results.json").stat().st_mtime_ns == before
    tests = [s.stem for s in store.layout.snapshots("others").glob("*.jsonl")]
    kept = [read_snapshot(store.layout, "others", digest) for digest in tests]
    assert any({i.split for i in items} == {"test"} and len(items) == len(val) for items in kept)


def test_videos_it_was_trained_on_are_refused_or_left_out(with_tribert, command) -> None:
    store = with_tribert.store
    items = [*store.split("train")[:2], *store.split("val")]
    code, said = command(items, "--split", "all")
    assert code == 2
    assert "was trained on 2 of the videos" in said
    assert "--skip-seen" in said
    code, said = command(store.split("train"), "--split", "all", "--skip-seen")
    assert code == 2
    assert "none is left" in said


def test_other_classes_are_refused_or_left_out(with_tribert, command) -> None:
    store = with_tribert.store
    items = [replace(item, labels=("piano",)) for item in store.split("val")]
    code, said = command(items, "--split", "val")
    assert code == 2
    assert "it knows the classes flute, tuba, the items are labelled piano" in said
    for advice in ("--skip-unknown", "--any-class", "[tribert] initial"):
        assert advice in said
    assert "1 classes are unknown" in command(items, "--split", "val", "--skip-unknown")[1]


def test_missing_stages_and_items_are_named(with_tribert, command) -> None:
    store = with_tribert.store
    stranger = [replace(i, item_id=f"else/{n}/whole") for n, i in enumerate(store.split("val"))]
    code, said = command(stranger, "--split", "val")
    assert code == 2
    assert f"{store.stages['stft']} has 0" in said
    assert "--compute" in said
    assert "no labelled test items" in command(store.split("val"))[1]
    assert "no setting" in command(store.split("val"), "--split", "val", "--set", '{"pair": 1}')[1]
