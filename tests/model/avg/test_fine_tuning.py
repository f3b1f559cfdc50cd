"""Parsing networks that start from a grounding model: what they take over, and what is refused."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from grounding_store import GroundingStore

from model.avg.config import objective_config
from model.avvp.config import FROZEN, Config, row_config
from model.avvp.evaluate import evaluate
from model.avvp.parse import load_model
from model.avvp.pretrained import MOTION, Pretrained
from model.avvp.recipe import build
from model.avvp.rows import TableSpec, row_jobs
from model.avvp.table import main
from model.jobs import EvaluateJob, TrainJob
from model.settings import ConfigError
from model.train.errors import RecipeError
from model.train.main import train
from model.train.publish import read_weights
from storage.errors import ItemNotFound
from storage.models import read_model
from storage.store import FeatureStore

SMALL = {"width": 16, "layers": 1, "heads": 2, "inner_width": 16}
GROUNDING = {"encoder": SMALL, "epochs": 1}
QUICK = {"epochs": 2, "val_every_epochs": 1, "width": 16, "batch_size": 16}
UNI = "Pretrain (uni)"


def spec(*rows: str, **pretraining) -> TableSpec:
    return TableSpec(
        rows=rows,
        seeds=(0,),
        preset="tiny",
        settings=json.dumps(QUICK),
        pretraining=json.dumps({**GROUNDING, **pretraining}),
    )


def jobs_of(store: GroundingStore, row: str = UNI, **pretraining) -> tuple[TrainJob, ...]:
    return row_jobs(store.ground(), spec(row, **pretraining), row, 0, device="cpu")


def built(store: GroundingStore, job: TrainJob, **changes):
    configuration = {**job.configuration, **changes}
    job = replace(job, configuration=configuration)
    return build(job, FeatureStore(store.layout.root), list(store.items))


@pytest.fixture(scope="module")
def grounded(store) -> str:
    """The name of a grounding model, trained for an epoch."""
    first, _ = jobs_of(store)
    train(first)
    return first.name


def test_rows_train_what_they_start_from_once(store, grounded, capsys) -> None:
    arguments = [str(store.layout.root), "--preset", "tiny", "--seeds", "0", "--device", "cpu"]
    arguments += ["--set", json.dumps(QUICK), "--set-pretraining", json.dumps(GROUNDING)]
    assert main([*arguments, "--rows", UNI, FROZEN, "--json"]) == 0
    results = json.loads(capsys.readouterr().out)
    names = {row: results["models"][row][0] for row in (UNI, FROZEN)}
    before = read_weights(store.layout, grounded)
    for row, name in names.items():
        described = read_model(store.layout, name)
        config = Config.from_json(described["record"]["configuration"])
        assert (config.initial, config.grounding) == (grounded, "uni")
        used = read_model(store.layout, grounded)["ids_used"]
        assert described["ids_used"]["pretraining"] == sorted({*used["train"], *used["val"]})
        after = read_weights(store.layout, name)
        same = {n for n, w in before.items() if torch.equal(after.get(f"network.{n}", w + 1), w)}
        encoder = {n for n in before if n.startswith("encoder.")}
        assert (same == encoder) is (row == FROZEN)
        assert torch.equal(after["mean_vggish"], before["mean_vggish"])
    text = results["rows"]
    assert set(text) == {UNI, FROZEN}
    assert set(results["evaluations"]) == {UNI, FROZEN}


def test_a_row_may_start_from_a_published_model(store, grounded) -> None:
    (own,) = jobs_of(store, models={"uni": grounded})
    assert own.name == jobs_of(store)[1].name
    assert len(jobs_of(store, "Pretrain (multi)", models={"uni": grounded})) == 2
    with pytest.raises(ItemNotFound, match="avg-000000000000"):
        jobs_of(store, models={"uni": "avg-000000000000"})
    with pytest.raises(ConfigError, match="objective -> name"):
        spec(UNI, models={"both": grounded})
    with pytest.raises(ConfigError, match=r"no setting \['depth'\]"):
        spec(UNI, depth=3)


def test_the_objectives_give_models_of_their_own(store) -> None:
    rows = [UNI, "Pretrain (cross)", "Pretrain (multi)", FROZEN]
    names = [jobs_of(store, row)[0].name for row in rows]
    assert names[0] == names[3]
    assert len(set(names)) == 3
    other_sizes = jobs_of(store, encoder={**SMALL, "layers": 2})
    assert other_sizes[0].name != names[0]
    assert other_sizes[1].configuration["encoder"]["layers"] == 2


def test_the_network_starts_from_the_weights(store, grounded) -> None:
    parts = built(store, jobs_of(store)[1])
    network = parts.module.parser.network
    assert isinstance(network, Pretrained)
    weights = read_weights(store.layout, grounded)
    for name, tensor in network.encoder.state_dict().items():
        if name.startswith(MOTION):
            assert f"encoder.{name}" not in weights
        else:
            assert torch.equal(tensor, weights[f"encoder.{name}"])


def test_what_is_known_has_a_rate_of_its_own(store, grounded) -> None:
    module = built(store, jobs_of(store)[1], initial_lr_factor=0.1).module
    anew, known = module.configure_optimizers()["optimizer"].param_groups
    assert known["lr"] == pytest.approx(anew["lr"] / 10)
    learnt = {id(p) for p in known["params"]}
    assert learnt == {id(p) for p in module.parser.network.learnt_before()}
    assert len(learnt) + len(anew["params"]) == len(list(module.parameters()))
    assert row_config(UNI, "paper").initial_lr_factor < 1


def test_frozen_has_no_dropout_in_the_transformer(store, grounded) -> None:
    frozen = built(store, jobs_of(store, FROZEN)[1]).module.parser.network.train()
    plain = built(store, jobs_of(store)[1]).module.parser.network.train()
    assert not any(m.training for m in frozen.encoder.modules())
    assert all(m.training for m in plain.encoder.modules())
    assert frozen.pooling.training
    moving = {n for n, p in frozen.named_parameters() if p.requires_grad}
    assert {n.split(".")[0] for n in moving} == {
        "from_audio",
        "from_picture",
        "from_motion",
        "fusion",
        "pooling",
        "encoder",
    }
    assert {n for n in moving if n.startswith("encoder.")} == {
        f"encoder.{n}" for n, _ in frozen.encoder.named_parameters() if n.startswith(MOTION)
    }


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"initial": ""}, "name one of the recipe 'avg'"),
        ({"grounding": "cross"}, 'grounding: "uni" -> "cross"'),
        ({"standardise": False}, "standardise: true -> false"),
        ({"encoder": {**SMALL, "layers": 3}}, "encoder.layers: 1 -> 3"),
    ],
)
def test_another_model_than_asked_for_is_refused(store, grounded, changes, message) -> None:
    with pytest.raises(RecipeError, match=message):
        built(store, jobs_of(store)[1], **changes)


def test_a_model_of_another_recipe_is_refused(store, grounded) -> None:
    job = jobs_of(store)[1]
    train(job)
    with pytest.raises(ConfigError, match=f"{job.name}: expected a model of the recipe 'avg'"):
        built(store, job, initial=job.name)
    with pytest.raises(ItemNotFound):
        built(store, job, initial="avg-000000000000")


def swapped(store: GroundingStore) -> GroundingStore:
    """The same items with test and training parts exchanged."""
    other = {"train": "test", "test": "train"}
    return store.with_items(
        *(replace(item, split=other.get(item.split, item.split)) for item in store.items)
    )


def test_pre_training_on_test_videos_is_refused(store, grounded, tmp_path: Path) -> None:
    other = swapped(store)
    with pytest.raises(
        RecipeError, match=rf"{grounded} was trained or selected on 160 of the test"
    ):
        built(other, jobs_of(store)[1])
    job = jobs_of(store)[1]
    train(job)
    tested = [item for item in store.items if item.split == "test"]
    known = [replace(i, split="test") for i in store.items if i.split == "train"][1:5]
    mixed = store.with_items(*[replace(i, split="train") for i in tested], *known)
    evaluation = EvaluateJob.beside(
        store.layout,
        replace(job, snapshot=mixed.snapshot).record,
        what="parsing",
        version=1,
        models=[job.name],
    )
    with pytest.raises(RecipeError, match="was trained or selected on"):
        evaluate(replace(evaluation, out_dir=tmp_path))


def test_a_fine_tuned_model_has_seen_what_pre_training_saw(store, grounded) -> None:
    few = store.with_items(*[i for i in store.items if i.split != "train"], *store.items[1:9])
    (own,) = row_jobs(few.ground(), spec(UNI, models={"uni": grounded}), UNI, 0, device="cpu")
    train(own)
    seen = load_model(store.layout, own.name).learnt_from
    trained = {i.item_id for i in store.items if i.split == "train"} - {store.without_rows}
    assert trained < seen


def test_the_papers_rows_have_hans_loss() -> None:
    for preset in ("paper", "release"):
        config = row_config("Pretrain (multi)", preset)
        assert (config.network, config.grounding, config.frozen) == ("pretrained", "multi", False)
        assert (config.modality_weight, config.visual_smoothing) == (1.0, 0.1)
        assert not any((config.adversarial, config.gcaa, config.skip))
    assert row_config(FROZEN, "paper").frozen
    with pytest.raises(ConfigError, match="frozen=True: only network 'pretrained'"):
        row_config("Base", "paper", {"frozen": True})
    assert objective_config("uni", "paper").encoder.width == 1024
