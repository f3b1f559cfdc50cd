"""What each setting beyond HAN's own training changes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from model.avvp.config import Config, presets
from model.avvp.data import collate
from model.avvp.recipe import build
from model.avvp.schedule import WarmCosine, optimisation
from model.settings import ConfigError
from storage.store import FeatureStore

QUICK = replace(presets["tiny"], width=16, batch_size=16, epochs=2, val_every_epochs=1)


def built(store, config: Config, run_dir: Path = Path("run")):
    job = store.job(run_dir, config=config)
    return build(job, FeatureStore(store.layout.root), list(store.items))


def test_a_warm_cosine_grows_falls_and_ends_at_its_floor() -> None:
    share = WarmCosine(warmup=4, steps=24, floor=0.01)
    assert [share(step) for step in range(5)] == [0.25, 0.5, 0.75, 1.0, 1.0]
    assert share(14) == pytest.approx(0.505)
    falling = [share(step) for step in range(4, 25)]
    assert falling == sorted(falling, reverse=True)
    assert share(24) == pytest.approx(0.01)


def test_without_warm_up_the_first_step_has_the_whole_rate() -> None:
    assert WarmCosine(warmup=0, steps=10, floor=0.0)(0) == 1.0


@pytest.mark.parametrize("precision, in_one_call", [("32-true", True), ("bf16-mixed", None)])
def test_adamw_decays_weights_and_is_clipped(precision: str, in_one_call) -> None:
    config = Config(optimiser="adamw", weight_decay=1e-3, clip_norm=1.0, precision=precision)
    weight = torch.nn.Parameter(torch.ones(3))
    made = optimisation(config, [weight], steps_per_epoch=5, steps=50)
    (group,) = made["optimizer"].param_groups
    assert type(made["optimizer"]) is torch.optim.AdamW
    assert (group["weight_decay"], group["fused"]) == (1e-3, in_one_call)


def test_the_defaults_are_adam_on_a_staircase() -> None:
    made = optimisation(Config(), [torch.nn.Parameter(torch.ones(3))], steps_per_epoch=5, steps=50)
    assert type(made["optimizer"]) is torch.optim.Adam
    schedule = made["lr_scheduler"]["scheduler"]
    assert (schedule.step_size, schedule.gamma) == (50, 0.1)


def test_the_recipe_reaches_the_trainer(parsing_store) -> None:
    parts = built(parsing_store, replace(QUICK, clip_norm=1.0, select="last"))
    assert (parts.clip_norm, parts.monitor) == (1.0, None)
    assert built(parsing_store, replace(QUICK, select="event_audio")).monitor == "val/event_audio"


def test_a_dropped_class_is_in_no_visual_target_and_in_all_others(parsing_store) -> None:
    parts = built(parsing_store, replace(QUICK, drop_visual=("Speech",)))
    batch = collate([parts.train[0, i] for i in range(len(parts.train))])
    speech = parts.classes.index("Speech")
    others = [c for c in range(len(parts.classes)) if c != speech]
    targets, tags_BC = batch.targets, batch.tags_BC
    assert tags_BC[:, speech].sum() > 5
    assert float(targets.visual_BC[:, speech].abs().max()) == 0.0
    torch.testing.assert_close(targets.visual_BC[:, others], 0.05 + 0.9 * tags_BC[:, others])
    assert torch.equal(targets.audio_BC, tags_BC)
    assert torch.equal(targets.video_BC, tags_BC)


def test_without_flags_clips_have_no_targets_of_their_own(parsing_store) -> None:
    parts = built(parsing_store, QUICK)
    assert collate([parts.train[0, 0], parts.train[0, 1]]).targets is None


@pytest.mark.parametrize(
    "changes, said",
    [
        ({"optimiser": "sgd"}, "avvp.optimiser='sgd'"),
        ({"clip_norm": -1.0}, "avvp.clip_norm=-1.0"),
        ({"select": "first"}, "avvp.select='first'"),
    ],
)
def test_a_setting_that_cannot_work_is_refused(changes, said: str) -> None:
    with pytest.raises(ConfigError) as raised:
        Config(**changes)
    assert said in str(raised.value)


def test_a_dropped_class_that_is_not_there_is_refused(parsing_store) -> None:
    with pytest.raises(ConfigError, match="names Zither: expected some of Speech"):
        built(parsing_store, replace(QUICK, drop_visual=("Zither",)))
