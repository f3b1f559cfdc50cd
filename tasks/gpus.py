"""The GPUs of this machine, and which Dask workers may use them.

Flows in: the environment and nvidia-smi's list. Flows out: a worker's options. No torch is loaded:
the scheduler's process only shares out what there is.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Sequence
from typing import Any

from tasks.settings import RunSettings, SettingsError

RESOURCE = "GPU"
"""Dask's name for a place on a GPU: a worker has one or none."""
VISIBLE = "CUDA_VISIBLE_DEVICES"
_LIST_TIMEOUT_S = 60.0


def gpus(device: str) -> tuple[str, ...]:
    """Return the GPUs that a run may use, as CUDA_VISIBLE_DEVICES names them.

    Raises
    ------
    SettingsError
        `device` is 'cuda', and there is none.
    """
    if device == "cpu":
        return ()
    found = _visible()
    if device == "cuda" and not found:
        raise SettingsError(
            f"[soundstage] device = cuda, but no GPU is seen (nvidia-smi -L, {VISIBLE}); "
            "set device = auto or cpu, or name a cluster with GPU workers in dask_address"
        )
    return found


def _visible() -> tuple[str, ...]:
    chosen = os.environ.get(VISIBLE)
    if chosen is not None:
        return tuple(name.strip() for name in chosen.split(",") if name.strip() not in ("", "-1"))
    try:
        listed = subprocess.run(
            ["nvidia-smi", "-L"],
            capture_output=True,
            text=True,
            timeout=_LIST_TIMEOUT_S,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return ()
    lines = [line for line in listed.stdout.splitlines() if line.startswith("GPU ")]
    return tuple(str(number) for number in range(len(lines))) if not listed.returncode else ()


def worker_options(
    number: int, found: Sequence[str], workers_a_gpu: int
) -> tuple[dict[str, float], dict[str, str]]:
    """Return Dask resources and environment of worker `number`.

    Workers take GPUs in turn until each has `workers_a_gpu`; the others see none.
    """
    if number >= len(found) * workers_a_gpu:
        return {}, {VISIBLE: ""} if found else {}
    return {RESOURCE: 1}, {VISIBLE: found[number % len(found)]}


def resources_for(wants_gpu: bool, run: RunSettings, workers: Sequence[Any]) -> dict[str, int]:
    """Return what a job asks of Dask: a place on a GPU where it wants one and the cluster has any.

    Parameters
    ----------
    workers
        The cluster's workers as the scheduler describes them.

    Raises
    ------
    SettingsError
        The setting is 'cuda', and no worker has a GPU: the job would wait for ever.
    """
    if not wants_gpu or run.device == "cpu":
        return {}
    if any(worker.get("resources", {}).get(RESOURCE) for worker in workers):
        return {RESOURCE: 1}
    if run.device == "cuda":
        raise SettingsError(
            f"[soundstage] device = cuda, but none of the {len(workers)} workers at the Dask "
            f"scheduler has the resource {RESOURCE}; start them with "
            f"`dask worker ADDRESS --resources {RESOURCE}=1 --nthreads 1`, or set device = auto"
        )
    return {}
