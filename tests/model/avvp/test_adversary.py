"""The adversary in training: with the reversal modalities become hard to tell apart."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from model.avvp.config import row_config
from model.train.fit import fit
from model.train.main import build_parts

CHANCE = 0.5


@pytest.fixture(scope="module")
def accuracies(parsing_store, tmp_path_factory: pytest.TempPathFactory) -> dict[str, np.ndarray]:
    """How often the discriminator is right, step by step.

    'watching' starts anew without the reversal; 'on' goes on without it, 'reversed' with it.
    """
    found: dict[str, np.ndarray] = {}
    learnt = None
    for name, reversal in (("watching", "none"), ("on", "none"), ("reversed", "ramp")):
        changes = {"reversal": reversal, "width": 32, "batch_size": 16}
        changes |= {"epochs": 12, "val_every_epochs": 12}
        config = row_config("Base+Adv+Skip", "tiny", changes)
        job = parsing_store.job(Path("run"), config=config)
        parts = build_parts(job, parsing_store.layout)
        if learnt is not None:
            parts.module.load_state_dict(learnt)
        history = fit(parts, tmp_path_factory.mktemp(name), seed=0, device="cpu").history
        learnt = learnt or {key: w.clone() for key, w in parts.module.state_dict().items()}
        key = "train/modality_accuracy"
        found[name] = np.array([row[key] for row in history if key in row])
    return found


def test_without_the_reversal_the_discriminator_learns(accuracies) -> None:
    steps = accuracies["watching"]
    assert len(steps) == 48
    assert steps[-12:].mean() > 0.75
    assert accuracies["on"][-12:].mean() > steps[:12].mean() + 0.05


def test_with_the_reversal_it_falls_towards_chance(accuracies) -> None:
    steps = accuracies["reversed"]
    assert steps[:2].mean() > 0.7
    assert steps[-12:].mean() < CHANCE + 0.1
    assert steps[-12:].mean() < accuracies["on"][-12:].mean() - 0.2
