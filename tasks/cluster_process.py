"""The process that owns a run's Dask cluster: one JSON argument in, the address out on stdout.

It ends on SIGTERM, or as soon as the run's process is gone, however that one ended; its workers end
with it. Some workers have a place on a GPU each (`tasks.gpus`), the others see none.
"""

from __future__ import annotations

import json
import logging
import os
import select
import signal
import sys
from types import FrameType
from typing import TYPE_CHECKING, Any

from tasks.cluster import ALLOWED_WORKER_DEATHS
from tasks.gpus import worker_options

if TYPE_CHECKING:
    from distributed import SpecCluster


def main(given: dict[str, Any]) -> None:
    """Serve until the process `run_pid` ends."""
    run = os.pidfd_open(given["run_pid"])
    read_end, write_end = os.pipe()

    def on_terminate(_signal: int, _frame: FrameType | None) -> None:
        os.write(write_end, b"x")

    signal.signal(signal.SIGTERM, on_terminate)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    cluster = make_cluster(given)
    print(cluster.scheduler_address, flush=True)
    ended, _, _ = select.select([run, read_end], [], [])
    if run in ended:
        os._exit(0)
    cluster.close(timeout=5)


def make_cluster(given: dict[str, Any]) -> SpecCluster:
    """Return a cluster of `workers` processes of one thread, on this machine alone."""
    import dask
    from distributed import Nanny, Scheduler, SpecCluster

    os.environ["OMP_NUM_THREADS"] = "1"
    dask.config.set(
        {
            "distributed.scheduler.allowed-failures": ALLOWED_WORKER_DEATHS,
            "distributed.worker.memory.target": False,
            "distributed.worker.memory.spill": False,
            "distributed.worker.daemon": True,
        }
    )
    local = {"host": "127.0.0.1", "dashboard": False}
    specs = {}
    for number in range(given["workers"]):
        resources, environment = worker_options(number, given["gpus"], given["workers_a_gpu"])
        options = {
            **local,
            "nthreads": 1,
            "memory_limit": 0,
            "local_directory": given["local_directory"],
            "silence_logs": logging.WARNING,
            "resources": resources,
            "env": environment,
        }
        specs[number] = {"cls": Nanny, "options": options}
    scheduler = {"cls": Scheduler, "options": {**local, "port": 0, "dashboard_address": None}}
    return SpecCluster(workers=specs, scheduler=scheduler, silence_logs=logging.WARNING)


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
