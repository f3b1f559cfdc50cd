"""soundstage evaluate: a published TriBERT on a snapshot that is not its own."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from typing import Any

import pytest
import torch
from luigi.configuration import LuigiConfigParser
from safetensors.torch import save_file

from model.tribert.config import presets
from model.tribert.network import TriBERT
from storage.layout import open_store
from storage.models import ModelRecord, publish_model, read_snapshot, write_snapshot
from tasks.cli import main

TINY = presets["tiny"]
CONFIG = replace(
    TINY,
    data=replace(TINY.data, picture_px=32, spec_frames=32, spec_rows=64),
    pose=replace(TINY.pose, channels=8),
)
SMALL = {"pairs": 1, "examples": 0, "span_frames": 32, "pair_rule": "disjoint", "nmf": False}


@pytest.fixture(scope="module")
def published(tone_store, tmp_path_factory) -> tuple[Any, str]:
    """A copy of the store, and an untrained TriBERT that saw only the training clips."""
    root = tmp_path_factory.mktemp("elsewhere") / "store"
    shutil.copytree(tone_store.layout.root, root)
    layout = open_store(root)
    record = ModelRecord(
        recipe="tribert",
        recipe_version=1,
        configuration=CONFIG.as_json(),
        stages={name: tone_store.stages[name] for name in ("frames", "stft", "pose_embed")},
        snapshot=write_snapshot(layout, "tones", tone_store.items),
        dataset="tones",
    )
    torch.manual_seed(0)
    folder = root / "prepared"
    folder.mkdir()
    state = TriBERT(CONFIG, 2).state_dict()
    save_file({k: v.clone().contiguous() for k, v in state.items()}, folder / "weights.safetensors")
    used = {"train": [item.item_id for item in tone_store.split("train")]}
    publish_model(layout, record, folder, {"classes": ["flute", "tuba"], "ids_used": used})
    return replace(tone_store, layout=layout), record.name


@pytest.fixture
def command(published, monkeypatch: pytest.MonkeyPatch, capsys) -> Any:
    """Runs the command on a dataset of these items; gives its exit code and what it said."""
    store, model = published
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


def test_a_model_is_scored_on_items_of_another_snapshot(published, command) -> None:
    store, model = published
    val = store.split("val")
    settings = ("--set", json.dumps(SMALL), "--json")
    code, text = command(val, "--split", "val", *settings)
    assert code == 0, text
    found = json.loads(text)
    assert found["results"]["model"] == model
    (pair,) = found["results"]["pairs"]
    assert {pair["a"], pair["b"]} <= {item.item_id for item in val}
    (judged,) = store.layout.evaluation(found["evaluation"]).parent.iterdir()
    before = (judged / "results.json").stat().st_mtime_ns
    assert command(val, "--split", "val", *settings) == (0, text), "nothing is done twice"
    assert (judged / "results.json").stat().st_mtime_ns == before
    tests = [s.stem for s in store.layout.snapshots("others").glob("*.jsonl")]
    kept = [read_snapshot(store.layout, "others", digest) for digest in tests]
    assert any({i.split for i in items} == {"test"} and len(items) == len(val) for items in kept)


def test_videos_it_was_trained_on_are_refused_or_left_out(published, command) -> None:
    store, _ = published
    items = [*store.split("train")[:2], *store.split("val")]
    code, said = command(items, "--split", "all")
    assert code == 2
    assert "was trained on 2 of the videos" in said
    assert "--skip-seen" in said
    code, said = command(store.split("train"), "--split", "all", "--skip-seen")
    assert code == 2
    assert "none is left" in said


def test_other_classes_are_refused_or_left_out(published, command) -> None:
    store, _ = published
    items = [replace(item, labels=("piano",)) for item in store.split("val")]
    code, said = command(items, "--split", "val")
    assert code == 2
    assert "it knows the classes flute, tuba, the items are labelled piano" in said
    for advice in ("--skip-unknown", "--any-class", "[tribert] initial"):
        assert advice in said
    assert "1 classes are unknown" in command(items, "--split", "val", "--skip-unknown")[1]


def test_missing_stages_and_items_are_named(published, command) -> None:
    store, _ = published
    stranger = [replace(i, item_id=f"else/{n}/whole") for n, i in enumerate(store.split("val"))]
    code, said = command(stranger, "--split", "val")
    assert code == 2
    assert f"{store.stages['stft']} has 0" in said
    assert "--compute" in said
    assert "no labelled test items" in command(store.split("val"))[1]
    assert "no setting" in command(store.split("val"), "--split", "val", "--set", '{"pair": 1}')[1]
