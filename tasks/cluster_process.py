"""The process that owns a run's Dask cluster: `python -m tasks.cluster_process PID WORKERS DIR`.

Flows out: the scheduler's address, one line on stdout. It ends on SIGTERM, or as soon as the
process PID (the run) is gone, however that one ended; its workers end with it.
"""

from __future__ import annotations

import os
import select
import signal
import sys
from types import FrameType

from tasks.cluster import ALLOWED_WORKER_DEATHS


def main(run_pid: int, workers: int, local_directory: str) -> None:
    """Serve until the run ends."""
    run = os.pidfd_open(run_pid)
    read_end, write_end = os.pipe()

    def on_terminate(_signal: int, _frame: FrameType | None) -> None:
        os.write(write_end, b"x")

    signal.signal(signal.SIGTERM, on_terminate)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    import dask
    from distributed import LocalCluster

    os.environ["OMP_NUM_THREADS"] = "1"
    dask.config.set(
        {
            "distributed.scheduler.allowed-failures": ALLOWED_WORKER_DEATHS,
            "distributed.worker.memory.target": False,
            "distributed.worker.memory.spill": False,
            "distributed.worker.daemon": True,
        }
    )
    cluster = LocalCluster(
        n_workers=workers,
        threads_per_worker=1,
        processes=True,
        dashboard_address=None,
        scheduler_port=0,
        memory_limit=0,
        local_directory=local_directory,
    )
    print(cluster.scheduler_address, flush=True)
    ended, _, _ = select.select([run, read_end], [], [])
    if run in ended:
        os._exit(0)
    cluster.close(timeout=5)


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3])
