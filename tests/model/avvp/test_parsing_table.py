"""Several rows and seeds from one command, published, not done twice, beside printed numbers."""

from __future__ import annotations

import json

import pytest

from model.avvp.config import FULL, HAN, networks, presets, row_config, row_name
from model.avvp.published import PUBLISHED_ROWS
from model.avvp.rows import table
from model.avvp.table import find_ground, main
from storage.models import list_evaluations, list_models
from storage.views import write_dataset_view

QUICK = {"epochs": 2, "val_every_epochs": 1, "width": 16, "max_steps": 0, "batch_size": 16}


@pytest.fixture(scope="module")
def store(parsing_store):
    write_dataset_view(parsing_store.layout, "made", parsing_store.items)
    return parsing_store


def run(store, *arguments: str) -> int:
    root = str(store.layout.root)
    given = ["--preset", "tiny", "--set", json.dumps(QUICK), "--device", "cpu", *arguments]
    return main([root, *given])


def test_rows_over_seeds_beside_what_is_printed(store, capsys) -> None:
    before = len(list_models(store.layout))
    arguments = ("--rows", FULL, "--seeds", "0", "1")
    assert run(store, *arguments, "--json") == 0
    results = json.loads(capsys.readouterr().out)
    assert results["snapshot"] == store.snapshot
    assert len({name for names in results["models"].values() for name in names}) == 2
    assert len(list_models(store.layout)) == before + 2
    evaluations = list_evaluations(store.layout)
    assert results["reference"]["weak-tag oracle"]["segment"]["type_at_av"] > 40

    assert run(store, *arguments) == 0
    text = capsys.readouterr().out
    assert list_evaluations(store.layout) == evaluations
    assert len(list_models(store.layout)) == before + 2
    assert text == table(results)
    segment, event = text.split("event level")
    first, second = results["rows"][FULL]["segment"]["audio"]
    assert f"{(first + second) / 2:.1f} ± {abs(first - second) / 2**0.5:.1f}" in segment
    printed = next(line for line in segment.splitlines() if line.startswith("  HAN"))
    assert printed.split() == ["HAN", "60.1", "52.9", "48.9", "54.0", "55.4"]
    assert event.count("53.7") == 1
    assert "2 seeds" in segment


def test_one_seed_has_no_deviation(store) -> None:
    figures = {"audio": [1.0], "visual": [2.0], "audio_visual": [3.0]}
    figures |= {"type_at_av": [2.0], "event_at_av": [9.0]}
    results = {"dataset": "made", "snapshot": "0" * 64, "preset": "tiny", "seeds": [3]}
    results |= {
        "changes": {},
        "pretraining": {},
        "missing": {},
        "gates": {"Base": "video"},
        "reference": {},
    }
    levels = {"segment": figures, "event": figures}
    text = table({**results, "rows": {"Base": levels}})
    assert "±" not in text
    assert "1 seed, gate video\n" in text
    assert text.count("9.0") == 2


@pytest.mark.parametrize(
    "arguments, message",
    [
        (("--dataset", "other"), "'other'"),
        (("--snapshot", "0" * 64), "snapshot 0000"),
        (("--set", '{"depth": 3}'), "no setting ['depth']"),
    ],
)
def test_what_is_not_there_ends_it(store, caplog, arguments, message) -> None:
    assert run(store, *arguments) == 1
    assert message in caplog.text


def test_the_ground_is_the_only_dataset_and_its_stages(store) -> None:
    ground = find_ground(store.layout.root)
    assert (ground.dataset, ground.snapshot) == ("made", store.snapshot)
    assert ground.stages == store.stages


def test_a_configuration_tells_its_row() -> None:
    assert row_name(presets["tiny"]) == HAN
    assert row_name(presets["release"]) == FULL
    for row in PUBLISHED_ROWS:
        if row in networks:
            assert row_name(row_config(row, "tiny")) == row
    skipped = row_config("Base", "paper", {"skip": True})
    assert row_name(skipped) == "base, as set"
