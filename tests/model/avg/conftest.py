"""The goldens of audio-visual grounding, and a small store to train on."""

from __future__ import annotations

from pathlib import Path

import pytest
from avg_golden import AvgGolden
from grounding_store import GroundingStore, write_grounding_store


@pytest.fixture(scope="session")
def golden(shared_dir: Path) -> AvgGolden:
    return AvgGolden(shared_dir / "golden")


@pytest.fixture(scope="session")
def store(shared_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> GroundingStore:
    """Synthetic LLP: 160 training, 40 validation and 24 test clips."""
    root = tmp_path_factory.mktemp("grounding") / "store"
    return write_grounding_store(root, shared_dir / "data")
