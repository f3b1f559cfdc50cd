"""The goldens of audio-visual grounding."""

from __future__ import annotations

from pathlib import Path

import pytest
from avg_golden import AvgGolden


@pytest.fixture(scope="session")
def golden(shared_dir: Path) -> AvgGolden:
    return AvgGolden(shared_dir / "golden")
