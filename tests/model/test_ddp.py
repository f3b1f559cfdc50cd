"""Two processes give the gradient that one gives on the whole batch, whoever starts them."""

from __future__ import annotations

import os
import runpy
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from model.train.errors import InvalidParts
from model.train.fit import Device, process_rank

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


def on_two_nodes(folder: Path) -> dict[str, torch.Tensor]:
    """Two torchruns, as on two machines, with one process each."""
    folder.mkdir()
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    nodes = [
        subprocess.Popen(
            [
                *(sys.executable, "-m", "torch.distributed.run", "--nnodes", "2"),
                *("--nproc-per-node", "1", "--node-rank", str(node)),
                *("--master-addr", "127.0.0.1", "--master-port", str(port)),
                *(str(SCRIPT), str(folder), "cpu"),
            ],
            env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
            cwd=ROOT,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        for node in range(2)
    ]
    try:
        said = [node.communicate(timeout=200)[1] for node in nodes]
    finally:
        for node in nodes:
            node.kill()
    assert [node.returncode for node in nodes] == [0, 0], said
    return torch.load(folder / "gradients.pt", weights_only=True)


@pytest.mark.slow
@pytest.mark.parametrize("start", [in_two_processes, on_two_nodes])
def test_two_processes_give_the_gradient_of_the_whole_batch(tmp_path: Path, start) -> None:
    one, two = in_this_process(tmp_path / "one"), start(tmp_path / "two")
    assert one.keys() == two.keys()
    assert sum(gradient.norm() for gradient in one.values()) > 0
    torch.testing.assert_close(two, one, rtol=1e-4, atol=1e-5)


def test_torchrun_says_how_many_processes_there_are(monkeypatch: pytest.MonkeyPatch) -> None:
    assert process_rank() == 0
    given = {"TORCHELASTIC_RUN_ID": "x", "RANK": "5", "LOCAL_RANK": "1"}
    given |= {"LOCAL_WORLD_SIZE": "4", "WORLD_SIZE": "8"}
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    assert process_rank() == 5
    device = Device.parse("cpu")
    assert (device.processes, device.nodes, device.world_size) == (4, 2, 8)
    assert Device.parse("cpu:4") == device
    with pytest.raises(InvalidParts, match=r"torchrun started 4 processes.*--nproc-per-node 2"):
        Device.parse("cpu:2")
