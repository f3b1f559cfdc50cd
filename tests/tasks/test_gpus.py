"""Places on GPUs: who gets one, and what is said where there is none."""

from __future__ import annotations

from pathlib import Path

import pytest

from tasks.gpus import RESOURCE, VISIBLE, gpus, resources_for, worker_options
from tasks.settings import RunSettings, SettingsError

WITH_GPU = {"resources": {RESOURCE: 1.0}}
WITHOUT = {"resources": {}}


@pytest.fixture
def smi(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that the PATH ends in: programs can be put there."""
    monkeypatch.delenv(VISIBLE, raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    return tmp_path


def listing(folder: Path, *lines: str) -> None:
    program = folder / "nvidia-smi"
    program.write_text("#!/bin/sh\n" + "".join(f"echo '{line}'\n" for line in lines))
    program.chmod(0o755)


def test_gpus_are_those_that_nvidia_smi_lists(smi: Path) -> None:
    listing(smi, "GPU 0: A (UUID: x)", "GPU 1: A (UUID: y)")
    assert gpus("auto") == ("0", "1")
    assert gpus("cpu") == ()


def test_the_environment_decides_which_are_meant(
    smi: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    listing(smi, "GPU 0: A (UUID: x)", "GPU 1: A (UUID: y)")
    monkeypatch.setenv(VISIBLE, "1")
    assert gpus("auto") == ("1",)
    monkeypatch.setenv(VISIBLE, "")
    assert gpus("auto") == ()


def test_cuda_without_a_gpu_is_refused_before_anything_starts(smi: Path) -> None:
    assert gpus("auto") == ()
    with pytest.raises(SettingsError, match="no GPU is seen"):
        gpus("cuda")


def test_workers_take_gpus_in_turn_and_the_others_see_none() -> None:
    found = [worker_options(number, ("0", "1"), 2) for number in range(5)]
    assert [environment[VISIBLE] for _, environment in found] == ["0", "1", "0", "1", ""]
    assert [bool(resources) for resources, _ in found] == [True, True, True, True, False]


def test_without_gpus_the_environment_stays() -> None:
    assert worker_options(0, (), 4) == ({}, {})


def test_a_network_asks_for_a_place_where_the_cluster_has_any() -> None:
    run = RunSettings()
    assert resources_for(True, run, [WITHOUT, WITH_GPU]) == {RESOURCE: 1}
    assert resources_for(False, run, [WITH_GPU]) == {}
    assert resources_for(True, run, [WITHOUT]) == {}
    assert resources_for(True, RunSettings(device="cpu"), [WITH_GPU]) == {}


def test_a_cluster_without_gpu_workers_is_refused_not_waited_for() -> None:
    with pytest.raises(SettingsError, match="resources GPU=1"):
        resources_for(True, RunSettings(device="cuda"), [WITHOUT])
