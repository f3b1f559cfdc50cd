"""From a store to a trained parser and its figures; labels matter, and control says so."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from model.avvp.config import Config, presets, steps_override
from model.avvp.evaluate import evaluate
from model.avvp.han import Parsing
from model.avvp.parse import event_list, gated, load_model, parse_clips
from model.avvp.recipe import build
from model.jobs import EvaluateJob
from model.settings import ConfigError
from model.train.errors import RecipeError
from model.train.main import train
from storage.models import read_model, write_snapshot
from storage.store import FeatureStore

SHARED = Path(__file__).parents[3].parent / "shared"
QUICK = replace(presets["tiny"], epochs=10, val_every_epochs=2, lr_every_epochs=5)
FIGURES = {"audio", "visual", "audio_visual", "type_at_av", "event_at_av"}


def built(store, config: Config = QUICK, **changes):
    job = store.job(Path("run"), config=config)
    return build(replace(job, **changes), FeatureStore(store.layout.root), list(store.items))


def evaluation(store, models: list[str], out_dir: Path) -> EvaluateJob:
    return EvaluateJob(
        what="parsing",
        version=1,
        model=models,
        dataset="made",
        snapshot=store.snapshot,
        stages=store.stages,
        store_root=store.layout.root,
        out_dir=out_dir,
    )


@pytest.fixture(scope="module")
def models(parsing_store, tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """A trained model and its control."""
    names = []
    for permuted in (False, True):
        run_dir = parsing_store.layout.run(f"permuted-{permuted}")
        job = parsing_store.job(run_dir, config=replace(QUICK, label_permutation=permuted))
        train(job)
        names.append(job.name)
    return names


@pytest.fixture(scope="module")
def results(parsing_store, models, tmp_path_factory: pytest.TempPathFactory) -> dict:
    folder = tmp_path_factory.mktemp("results")
    returned = evaluate(evaluation(parsing_store, models, folder))
    written = json.loads((folder / "results.json").read_text())
    assert json.loads(json.dumps(returned)) == written
    return written


def test_the_parser_beats_the_baselines_and_its_control(results: dict) -> None:
    rows = results["rows"]
    for level in ("segment", "event"):
        score = {name: row[level]["type_at_av"] for name, row in rows.items()}
        han = score.pop("HAN")
        score.pop("weak-tag oracle")
        assert han > 40
        assert han > max(score.values()) + 20
    assert rows["HAN, permuted labels"]["segment"]["event_at_av"] < 35


def test_results_hold_what_a_report_shows(results: dict, models: list[str]) -> None:
    assert results["kind"] == "parsing"
    assert results["models"] == {"HAN": models[0], "HAN, permuted labels": models[1]}
    always = [row for row in results["rows"] if row.startswith("always ")]
    assert len(always) == 1
    assert {"HAN", "predict nothing", "weak-tag oracle"} < set(results["rows"])
    assert all(set(row[lv]) == FIGURES for row in results["rows"].values() for lv in row)
    assert set(results["per_class"]["HAN"]) == set(results["classes"])
    example = results["examples"][0]
    label, onset, offset = example["truth"]["audio"][0]
    assert label in results["classes"]
    assert 0 <= onset < offset <= 10
    assert set(example["prediction"]) == {"audio", "visual"}
    assert results["note"] == ""


def test_the_commonest_tag_is_that_of_the_training_items(parsing_store, results: dict) -> None:
    counts: dict[str, int] = {}
    for item in parsing_store.items:
        for label in item.labels if item.split == "train" else ():
            counts[label] = counts.get(label, 0) + 1
    name = next(row for row in results["rows"] if row.startswith("always "))
    assert counts[name.removeprefix("always ")] == max(counts.values())


def test_without_dense_events_there_is_a_note_instead_of_figures(
    without_events, models: list[str], tmp_path: Path
) -> None:
    results = evaluate(evaluation(without_events, models, tmp_path))
    assert results["rows"] == {}
    assert "no figures" in results["note"]
    assert results["examples"][0]["truth"] is None
    assert set(results["examples"][0]["prediction"]) == {"audio", "visual"}


def test_only_training_tags_are_learnt_and_only_validation_events_choose(parsing_store) -> None:
    parts = built(parsing_store)
    splits = {item.item_id: item.split for item in parsing_store.items}
    assert {splits[i] for i in parts.ids_used["train"]} == {"train"}
    assert {splits[i] for i in parts.ids_used["val"]} == {"val"}
    assert parts.monitor == "val/segment_type_at_av"
    assert (len(parts.train), parts.max_steps, parts.val_every_steps) == (64, 80, 16)


def test_without_validation_events_the_loss_on_the_tags_chooses(without_events) -> None:
    parts = built(without_events)
    assert (parts.monitor, parts.mode) == ("val/loss", "min")


def test_the_published_model_parses_as_the_trained_one(parsing_store, models: list[str]) -> None:
    model = load_model(parsing_store.layout, models[0])
    described = read_model(parsing_store.layout, models[0])
    assert tuple(described["classes"]) == model.classes
    assert described["metrics"]["monitor"] == "val/segment_type_at_av"
    parts = built(parsing_store)
    clips = [parts.train[0, index] for index in range(5)]
    parts.module.parser.load_state_dict(model.parser.state_dict())
    again = replace(model, parser=parts.module.parser.eval())
    for one, other in zip(parse_clips(model, clips), parse_clips(again, clips), strict=True):
        np.testing.assert_array_equal(one, other)


def test_gates() -> None:
    parsing = Parsing(
        video_BC=torch.tensor([[0.9, 0.2]]),
        audio_BC=torch.tensor([[0.1, 0.9]]),
        visual_BC=torch.tensor([[0.5, 0.9]]),
        second_BTMC=torch.full((1, 3, 2, 2), 0.5),
        joint_BTMD=torch.zeros(1, 3, 2, 4),
    )
    video, modality = gated(parsing, "video"), gated(parsing, "modality")
    assert video[0, :, :, 0].tolist() == [[True, False], [True, False]]
    assert modality[0, :, :, 0].tolist() == [[False, True], [True, True]]


def test_events_have_names_and_times() -> None:
    array = np.zeros((2, 2, 10), np.uint8)
    array[0, 1, 2:5] = array[1, 0, 9:] = 1
    found = [(e.modality, e.label, e.onset_s, e.offset_s) for e in event_list(array, ("a", "b"))]
    assert found == [("audio", "b", 2.0, 5.0), ("visual", "a", 9.0, 10.0)]


def test_a_job_without_usable_clips_says_which_and_why(parsing_store) -> None:
    items = [item for item in parsing_store.items if item.split != "train"]
    job = parsing_store.job(Path("run"))
    store = FeatureStore(parsing_store.layout.root)
    with pytest.raises(RecipeError, match="the split is empty"):
        build(job, store, items)
    with pytest.raises(RecipeError, match="names no stage vggish"):
        built(parsing_store, stages={k: v for k, v in job.stages.items() if k != "vggish"})


def test_labels_the_model_does_not_know_are_refused(
    parsing_store, models: list[str], tmp_path: Path
) -> None:
    items = list(parsing_store.items)
    event = items[-1].events[0]
    items[-1] = replace(items[-1], events=(replace(event, label="Theremin"),))
    other = replace(parsing_store, snapshot=write_snapshot(parsing_store.layout, "made", items))
    with pytest.raises(RecipeError, match="Theremin, which avvp-"):
        evaluate(evaluation(other, models, tmp_path))


def test_clips_that_a_model_learnt_from_are_no_test(
    parsing_store, models: list[str], tmp_path: Path
) -> None:
    swapped = {"train": "test", "test": "train"}
    items = [replace(i, split=swapped.get(i.split, i.split)) for i in parsing_store.items]
    other = replace(parsing_store, snapshot=write_snapshot(parsing_store.layout, "made", items))
    with pytest.raises(RecipeError, match="selected on 64 of the 64 test clips"):
        evaluate(evaluation(other, models, tmp_path))


def test_settings_survive_json_and_mistakes_are_named() -> None:
    for config in presets.values():
        assert Config.from_json(json.loads(json.dumps(config.as_json()))) == config
    assert Config.from_json({"learning_rate": 1}).learning_rate == 1.0
    assert Config.from_json(steps_override(7)).max_steps == 7
    with pytest.raises(ConfigError, match=r"no setting \['widht'\]"):
        Config.from_json({"widht": 3})
    with pytest.raises(ConfigError, match="expected int, got '3'"):
        Config.from_json({"width": "3"})
    with pytest.raises(ConfigError, match="gate='both'"):
        Config(gate="both")


def test_a_number_of_steps_replaces_the_epochs(parsing_store) -> None:
    parts = built(parsing_store, config=replace(QUICK, max_steps=5))
    assert (parts.max_steps, parts.val_every_steps) == (5, 5)


def test_the_learning_rate_falls_as_published(parsing_store) -> None:
    values = SHARED / "golden" / "avvp_net" / "values.json"
    if not values.exists():
        pytest.skip(f"{values} is not there")
    expected = json.loads(values.read_text())["lr_by_epoch_1_to_40"]["han"]
    parts = built(parsing_store, config=replace(presets["han"], width=8))
    made = parts.module.configure_optimizers()
    rates = []
    for _ in range(40):
        rates.append(made["optimizer"].param_groups[0]["lr"])
        for _ in range(parts.steps_per_epoch):
            made["optimizer"].step()
            made["lr_scheduler"]["scheduler"].step()
    assert rates == pytest.approx(expected, rel=1e-12)
