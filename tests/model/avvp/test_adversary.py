"""The adversary in training: with the reversal modalities become hard to tell apart."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from model.avvp.config import row_config
from model.avvp.recipe import build
from model.train.fit import fit
from storage.store import FeatureStore

CHANCE = 0.5


@pytest.fixture(scope="module")
def accuracies(parsing_store, tmp_path_factory: pytest.TempPathFactory) -> dict[str, np.ndarray]:
    """How often the discriminator is right, step by step, with and without the reversal."""
    found = {}
    for reversal in ("ramp", "none"):
        changes = {"reversal": reversal, "width": 32, "batch_size": 16}
        changes |= {"epochs": 12, "val_every_epochs": 12}
        config = row_config("Base+Adv+Skip", "tiny", changes)
        job = parsing_store.job(Path("run"), config=config)
        store = FeatureStore(parsing_store.layout.root)
        parts = build(job, store, list(parsing_store.items))
        history = fit(parts, tmp_path_factory.mktemp(reversal), seed=0, device="cpu").history
        key = "train/modality_accuracy"
        found[reversal] = np.array([row[key] for row in history if key in row])
    return found


def test_without_the_reversal_the_discriminator_learns(accuracies) -> None:
    steps = accuracies["none"]
    assert len(steps) == 48
    assert steps[-12:].mean() > 0.75
    assert steps[-12:].mean() > steps[:12].mean()


def test_with_the_reversal_it_falls_to_chance(accuracies) -> None:
    steps = accuracies["ramp"]
    assert steps[:4].mean() > CHANCE
    assert steps[-12:].mean() < CHANCE + 0.05
    assert steps[-12:].mean() < steps[:12].mean()
    assert steps[-12:].mean() < accuracies["none"][-12:].mean() - 0.2
