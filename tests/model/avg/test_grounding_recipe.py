"""From a store to a published grounding model; a killed training resumes; what it may not read."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from grounding_store import GroundingStore
from lightning.pytorch import Callback
from safetensors.torch import load_file

from model.avg.config import TINY_ENCODER, Config, objective_config
from model.avg.data import collate
from model.avg.pretrain import main
from model.avg.recipe import build
from model.avg.truth import video_groups
from model.train.errors import RecipeError
from model.train.fit import fit
from model.train.main import train
from storage.models import read_model
from storage.store import FeatureStore

QUICK = objective_config(
    "multi",
    "tiny",
    {"encoder": {"width": 16, "layers": 1, "heads": 2, "inner_width": 16}, "epochs": 2},
)


def built(store: GroundingStore, config: Config = QUICK, **changes):
    job = replace(store.job(config), **changes)
    return build(job, FeatureStore(store.layout.root), list(store.items))


def test_training_items_are_learnt_from_and_validation_items_choose(store) -> None:
    parts = built(store)
    splits = {item.item_id: item.split for item in store.items}
    for split in ("train", "val"):
        assert {splits[i] for i in parts.ids_used[split]} == {split}
    assert (parts.monitor, parts.mode) == ("val/loss", "min")
    assert set(parts.ids_missing) == {store.without_rows}
    assert "not_there__" in parts.ids_missing[store.without_rows]
    assert 0 < parts.summary["matching_share"]["train"] < 1


def test_anchors_are_drawn_from_seed_epoch_and_index(store) -> None:
    first, again, other = built(store).train, built(store).train, built(store, seed=5).train
    drawn = [
        [data[epoch, i][1] for epoch in range(4) for i in range(len(data))]
        for data in (first, again, other)
    ]
    assert drawn[0] == drawn[1]
    assert drawn[0] != drawn[2]
    assert set(drawn[0]) <= set(range(10))
    assert len(set(drawn[0])) > 5


def test_clips_of_other_lengths_are_padded(store) -> None:
    data = built(store).train
    clip, _ = data[0, 0]
    short = replace(
        clip, audio_TE=clip.audio_TE[:4], picture_TE=clip.picture_TE[:4], group_T=clip.group_T[:4]
    )
    batch = collate([(clip, 9), (short, 2)])
    assert batch.audio_BTE.shape == (2, 10, 128)
    assert batch.absent_BT.sum().item() == 6
    assert batch.anchor_BA.tolist() == [[9], [2]]
    assert collate([(clip, 0)]).absent_BT is None


@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed"])
def test_a_model_is_published_with_its_figures(store, precision) -> None:
    job = store.job(replace(QUICK, precision=precision))
    train(job)
    described = read_model(store.layout, job.name)
    assert described["record"]["stages"] == dict(job.stages)
    assert set(described["record"]["stages"]) == {"vggish", "resnet152"}
    assert described["classes"] == []
    best = described["metrics"]["best"]
    assert {"val/loss", "val/cosine_matching", "val/cosine_other"} < set(best)
    weights = load_file(store.layout.model(job.name) / "weights.safetensors")
    assert {n.split(".")[0] for n in weights} == {
        "encoder",
        *(f"{kind}_{stage}" for kind in ("mean", "deviation") for stage in job.stages),
    }


class _Stop(Exception):
    """Ends a training in its middle."""


def test_a_killed_training_ends_with_the_same_weights(store, tmp_path: Path) -> None:
    class StopAt(Callback):
        def on_train_batch_end(self, trainer, *rest) -> None:
            if trainer.global_step == 5:
                raise _Stop

    def run(folder: Path, *callbacks: Callback) -> dict[str, torch.Tensor]:
        torch.manual_seed(0)
        parts = built(store)
        fit(
            parts,
            folder,
            seed=0,
            device="cpu",
            checkpoint_every_steps=2,
            callbacks=callbacks,
        )
        return dict(parts.export())

    whole = run(tmp_path / "whole")
    with pytest.raises(_Stop):
        run(tmp_path / "killed", StopAt())
    resumed = run(tmp_path / "killed")
    assert whole.keys() == resumed.keys()
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)


def test_the_rate_rises_and_falls(store) -> None:
    config = replace(QUICK, warmup=0.25, max_steps=8)
    made = built(store, config).module.configure_optimizers()
    optimiser, schedule = made["optimizer"], made["lr_scheduler"]["scheduler"]
    rates = []
    for _ in range(8):
        rates.append(optimiser.param_groups[0]["lr"])
        optimiser.step()
        schedule.step()
    assert rates[1] == max(rates) == config.learning_rate
    assert rates[0] == rates[1] / 2
    assert rates[1:] == sorted(rates[1:], reverse=True)
    assert rates[-1] < rates[1] / 4
    flat = built(store, replace(config, constant=True, warmup=0.0)).module.configure_optimizers()
    share = flat["lr_scheduler"]["scheduler"].lr_lambdas[0]
    assert {share(step) for step in range(8)} == {1.0}


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"picture_threshold": 1.0, "audio_threshold": 1.0}, "no second of the"),
        ({"agreement": "union", "picture_threshold": -1.0}, "every second of the"),
    ],
)
def test_thresholds_that_tell_nothing_are_told(store, caplog, changes, message) -> None:
    built(store, replace(QUICK, **changes))
    assert message in caplog.text


def test_jobs_that_cannot_be_trained(store) -> None:
    stages = {"vggish": store.stages["vggish"]}
    with pytest.raises(RecipeError, match="names no stage resnet152"):
        built(store, stages=stages)
    job = store.job(QUICK)
    with pytest.raises(RecipeError, match="no training clip can be used; the split is empty"):
        build(job, FeatureStore(store.layout.root), [i for i in store.items if i.split == "test"])


def test_the_command_trains_and_prints_a_name(store, capsys, caplog) -> None:
    changes = {"encoder": QUICK.encoder.as_json(), "epochs": 1}
    arguments = [
        str(store.layout.root),
        "--preset",
        "tiny",
        "--objective",
        "uni",
        "--device",
        "cpu",
    ]
    assert main([*arguments, "--set", json.dumps(changes)]) == 0
    name = capsys.readouterr().out.strip()
    record = read_model(store.layout, name)["record"]
    config = Config.from_json(record["configuration"])
    assert (config.objective, config.epochs, config.encoder) == ("uni", 1, QUICK.encoder)
    assert config.encoder != TINY_ENCODER
    assert main([*arguments, "--set", '{"depth": 1}']) == 1
    assert "no setting ['depth']" in caplog.text


def test_groups_follow_the_rows_before_they_are_scaled(store) -> None:
    data = built(store).train
    for clip, _ in (data[0, index] for index in range(8)):
        read = FeatureStore(store.layout.root)
        audio = np.asarray(read.rows(store.stages["vggish"], clip.item_id))
        picture = np.asarray(read.rows(store.stages["resnet152"], clip.item_id))
        assert np.array_equal(clip.audio_TE.numpy(), audio)
        found = video_groups(picture.reshape(10, 8, -1).mean(1), audio, QUICK)
        assert clip.group_T.tolist() == found.tolist()
    assert any(len(set(clip.group_T.tolist())) > 1 for clip, _ in (data[0, i] for i in range(8)))


def test_a_silent_second_is_a_setting(store, capsys, caplog) -> None:
    item = next(i.item_id for i in store.items if i.split == "train" and i.item_id in ids(store))
    arguments = [str(store.layout.root), "--preset", "tiny", "--device", "cpu"]
    arguments += ["--set", json.dumps({"encoder": QUICK.encoder.as_json(), "max_steps": 1})]
    assert main([*arguments, "--silent", item, "4"]) == 0
    record = read_model(store.layout, capsys.readouterr().out.strip())["record"]
    rows = FeatureStore(store.layout.root).rows(store.stages["vggish"], item)
    assert record["configuration"]["silence"] == rows[4].tolist()
    assert main([*arguments, "--silent", item, "10"]) == 1
    assert "expected a second from 0 to 9" in caplog.text


def ids(store: GroundingStore) -> set[str]:
    return set(FeatureStore(store.layout.root).items(store.stages["vggish"]))
