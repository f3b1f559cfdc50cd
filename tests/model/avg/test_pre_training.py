"""Pre-training learns what it is for: on clips that it has not seen."""

from __future__ import annotations

from dataclasses import replace

import pytest

from model.avg.config import Config, objective_config
from model.train.main import train
from storage.models import read_model


@pytest.mark.parametrize("objective", ["multi", "cross"])
def test_held_out_loss_falls_and_matching_seconds_are_closer(store, objective) -> None:
    config = objective_config(objective, "tiny", {"epochs": 8, "val_every_epochs": 4})
    start = figures(store, replace(config, learning_rate=0.0, max_steps=1))
    end = figures(store, config)
    assert end["val/loss"] < 0.4 * start["val/loss"]
    apart = [one["val/cosine_matching"] - one["val/cosine_other"] for one in (start, end)]
    assert abs(apart[0]) < 0.02
    assert apart[1] > max(0.03, 2 * apart[0])


def figures(store, config: Config) -> dict[str, float]:
    """The figures on the validation clips at the end of a training."""
    job = store.job(config)
    train(job)
    return read_model(store.layout, job.name)["metrics"]["last"]
