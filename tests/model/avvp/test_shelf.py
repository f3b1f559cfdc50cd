"""Features beyond the limit are mapped from disk and train the same model."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from model.avvp import shelf as module
from model.avvp.config import row_config
from model.avvp.recipe import build
from model.avvp.shelf import GIB, Shelf
from storage.store import FeatureStore


def arrays() -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    return [rng.random((rows, 30), np.float32) for rows in (1, 10, 7, 40, 3, 12)]


@pytest.mark.parametrize("limit_bytes", [0, 3000, 1 << 20])
def test_what_is_kept_is_what_was_given(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limit_bytes: int
) -> None:
    monkeypatch.setattr(module, "CHUNK", 500)
    shelf = Shelf(limit_bytes / GIB, tmp_path / "run")
    kept = [shelf.keep(rows.copy()) for rows in arrays()]
    for rows, tensor in zip(arrays(), kept, strict=True):
        np.testing.assert_array_equal(tensor.numpy(), rows)
    total = sum(rows.nbytes for rows in arrays())
    assert shelf.held_bytes <= limit_bytes
    assert shelf.held_bytes + shelf.mapped_bytes == total
    assert (shelf.mapped_bytes == 0) == (limit_bytes > total)
    assert (tmp_path / "run").exists() == (shelf.mapped_bytes > 0)
    assert list(tmp_path.rglob("*.*")) == []


def test_a_recipe_reads_the_same_batches_from_disk(parsing_store, tmp_path: Path) -> None:
    batches = []
    for limit in (16.0, 0.0):
        config = row_config("HAN", "tiny", {"resident_gib": limit})
        job = parsing_store.job(tmp_path / str(limit), config=config)
        store = FeatureStore(parsing_store.layout.root)
        parts = build(job, store, list(parsing_store.items))
        assert job.run_dir.exists() == (limit == 0)
        batches.append(parts.collate([parts.train[0, i] for i in range(len(parts.train))]))
    for name in ("audio_BTE", "picture_BTE", "motion_BTE", "tags_BC"):
        assert torch.equal(getattr(batches[0], name), getattr(batches[1], name))
