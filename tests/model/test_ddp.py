"""Two processes give the gradient that one gives on the whole batch."""

from __future__ import annotations

import os
import runpy
import subprocess
import sys
from pathlib import Path

import pytest
import torch

ROOT = Path(__file__).parents[2]
SCRIPT = Path(__file__).with_name("ddp_step.py")


def in_this_process(folder: Path) -> dict[str, torch.Tensor]:
    folder.mkdir()
    runpy.run_path(str(SCRIPT))["main"](folder, "cpu")
    return torch.load(folder / "gradients.pt", weights_only=True)


def in_two_processes(folder: Path) -> dict[str, torch.Tensor]:
    folder.mkdir()
    done = subprocess.run(
        [sys.executable, str(SCRIPT), str(folder), "cpu:2"],
        env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return torch.load(folder / "gradients.pt", weights_only=True)


@pytest.mark.slow
def test_two_processes_give_the_gradient_of_the_whole_batch(tmp_path: Path) -> None:
    one, two = in_this_process(tmp_path / "one"), in_two_processes(tmp_path / "two")
    assert one.keys() == two.keys()
    assert sum(gradient.norm() for gradient in one.values()) > 0
    torch.testing.assert_close(two, one, rtol=1e-4, atol=1e-5)
