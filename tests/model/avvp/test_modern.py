"""Rows of what goes beyond HAN, figures by gate and by class, the preset."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from model.avvp.config import FULL, HAN, Config, networks, presets, row_config, row_name
from model.avvp.evaluate import evaluate
from model.avvp.metrics import parsing_scores
from model.avvp.modern import MODERN, modern_rows
from model.avvp.views import ALL, ALONE, GATES, STRUCK, VIEWS, WITHOUT, class_views, views_table
from model.jobs import EvaluateJob
from model.train.main import train

CLASSES = ("Speech", "Dog", "Cat")


def test_every_row_is_a_configuration_with_a_name_of_its_own() -> None:
    assert not set(modern_rows) & set(networks)
    for row, settings in modern_rows.items():
        config = row_config(row, "paper")
        assert config == Config.from_json(settings)
        assert config.network == "han"
        assert config.gate == "modality"
        assert row_name(config).startswith(HAN)
    assert row_name(row_config("han_r", "paper")) == HAN
    assert row_name(presets[MODERN]) == row_name(row_config(MODERN, "han"))
    assert row_name(row_config("MA", "han")) == "HAN+nce+denoise by swap"
    dropped = row_config("han_r, no visual Speech", "han")
    assert row_name(dropped) == "HAN+no visual Speech"


def test_the_preset_is_its_row_and_goes_with_the_papers_network() -> None:
    assert presets[MODERN] == row_config(MODERN, "modern")
    full = row_config(FULL, MODERN)
    assert (full.network, full.adversarial, full.denoise) == ("base", True, "rank")
    assert row_name(full).startswith(f"{FULL}+denoise by rank")


def test_a_tiny_row_keeps_its_steps_and_the_presets_width() -> None:
    tiny = row_config(MODERN, "tiny", {"epochs": 8})
    assert (tiny.width, tiny.epochs, tiny.standardise) == (128, 8, True)
    assert (tiny.denoise, tiny.batch_size) == ("rank", 64)


def test_published_recipes_are_theirs() -> None:
    ma, jomold = (row_config(row, "han") for row in ("MA", "JoMoLD"))
    assert (ma.learning_rate, ma.batch_size, ma.epochs) == (3e-4, 16, 12)
    assert (ma.lr_every_epochs, ma.lr_factor, ma.select) == (10, 0.1, "last")
    assert (ma.nce, ma.swap_partners, ma.swap_alias) == ("cross_entropy", 1, True)
    assert (jomold.learning_rate, jomold.batch_size, jomold.epochs) == (5e-4, 128, 25)
    assert (jomold.lr_every_epochs, jomold.lr_factor) == (6, 0.25)
    assert (jomold.audio_factor, jomold.visual_dropout) == (2.0, 0.5)
    assert (jomold.nce, jomold.select) == ("expected", "event_audio")


def drawn(seed: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    found, truth = rng.random((2, 12, 2, 3, 10)) < 0.4
    return found.astype(np.uint8), truth.astype(np.uint8)


def test_views_are_figures_over_some_of_the_classes() -> None:
    found, truth = drawn(0)
    views = class_views(found, truth, CLASSES)
    assert set(views) == set(VIEWS)
    struck = found.copy()
    struck[:, 1, 0] = 0
    expected = {
        ALL: (found, truth),
        WITHOUT: (found[:, :, 1:], truth[:, :, 1:]),
        ALONE: (found[:, :, :1], truth[:, :, :1]),
        STRUCK: (struck, truth),
    }
    for view, (f, t) in expected.items():
        for level in ("segment", "event"):
            scores = parsing_scores(f[:, 0], f[:, 1], t[:, 0], t[:, 1], level=level)
            assert views[view][level] == scores.as_json()
    assert set(class_views(found, truth, ("Dog", "Cat", "Car"))) == {ALL}


def test_the_table_of_views_has_a_column_for_each_gate_and_view() -> None:
    found, truth = drawn(1)
    one = {gate: class_views(found, truth, CLASSES) for gate in GATES}
    text = views_table({"han_r": [one, one], MODERN: [one]})
    segment, event = text.split("\n\n")
    assert segment.startswith("Type@AV by gate and classes, percent, segments")
    figure = one["video"][ALL]["segment"]["type_at_av"]
    assert f"{figure:.1f} ± 0.0" in segment
    assert segment.splitlines()[-1].count(".") == 8
    assert event.splitlines()[0].endswith("events")


@pytest.mark.parametrize("row", ["han_r, no visual Speech", MODERN])
def test_a_row_trains_and_its_figures_come_by_gate_and_class(
    parsing_store, tmp_path: Path, row: str
) -> None:
    quick = {"epochs": 6, "width": 16, "batch_size": 16, "warmup_epochs": 1}
    quick |= {"teacher_folds": 2, "teacher_epochs": 2, "learning_rate": 3e-3}
    config = row_config(row, "tiny", {**quick, "val_every_epochs": 1})
    job = parsing_store.job(tmp_path / "run", config=config)
    train(job)
    evaluation = EvaluateJob.beside(
        parsing_store.layout, job.record, what="parsing", version=2, models=[job.name]
    )
    results = evaluate(replace(evaluation, out_dir=tmp_path / "out"))
    (name,) = results["models"]
    assert name == row_name(config)
    views = results["views"][name]
    assert set(views) == set(GATES)
    assert views["modality"][ALL] == results["rows"][name]
    assert results["gate"] == "modality"
    json.dumps(results, allow_nan=False)
