"""One Dask cluster per run: a process of its own, which ends when the run's process ends.

Flows in: item jobs. Flows out: their outcomes, in the order in which they finish. Tasks connect
to the cluster and never own it, so a Luigi task may end or be forked without taking it along.
"""

from __future__ import annotations

import atexit
import fcntl
import json
import os
import select
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.work import ItemJob, run_watched
from storage import Outcome
from tasks.gpus import gpus, resources_for
from tasks.run_dir import RUN_DIR_VARIABLE, main_pid, run_dir
from tasks.settings import RunSettings, SettingsError, worker_count

if TYPE_CHECKING:
    from distributed import Client

START_TIMEOUT_S = 120.0
STOP_TIMEOUT_S = 10.0
ALLOWED_WORKER_DEATHS = 2
"""A task may see two workers die before it is blamed: with 0, innocent neighbours are blamed."""


def run_outcomes(jobs: Sequence[ItemJob], run: RunSettings) -> Iterator[Outcome]:
    """Yield the outcome of each job as it finishes.

    A job whose worker died again and again is run once more alone before it is called a crash.
    """
    from distributed import KilledWorker, as_completed

    if not jobs:
        return
    with connect(run) as client:
        asked = _submitter(client, jobs[0], run)
        futures = {asked(job): job for job in jobs}
        suspects = []
        for future in as_completed(list(futures), loop=client.loop, raise_errors=False):
            error = future.exception()
            if error is None:
                yield future.result()
            elif isinstance(error, KilledWorker):
                suspects.append(futures[future])
            else:
                raise error
        for job in suspects:
            yield _alone(asked, job)


def _submitter(client: Client, first: ItemJob, run: RunSettings) -> Callable[[ItemJob], Any]:
    """Return what submits a job of `first`'s stage, with a place on a GPU where it wants one."""
    workers = list(client.scheduler_info(n_workers=-1)["workers"].values())
    resources = resources_for(first.stage.wants_gpu, run, workers)

    def submit(job: ItemJob) -> Any:
        return client.submit(run_watched, job, pure=False, retries=0, resources=resources)

    return submit


def _alone(submit: Callable[[ItemJob], Any], job: ItemJob) -> Outcome:
    """Run one suspect with nothing beside it; a worker that dies again is its own doing."""
    from distributed import KilledWorker

    try:
        return submit(job).result()
    except KilledWorker as error:
        return Outcome(item_id=str(job.media.item_id), reason="crash", detail=str(error)[:300])


@contextmanager
def connect(run: RunSettings) -> Iterator[Client]:
    """Yield a client of the run's cluster, or of the one that luigi.cfg names."""
    from distributed import Client

    address = run.dask_address or _address_of_run(run)
    try:
        client = Client(address, timeout="30s", set_as_default=False)
    except (OSError, TimeoutError) as error:
        raise SettingsError(
            f"no Dask scheduler answers at {address} ({error}); "
            "check [soundstage] dask_address in luigi.cfg"
        ) from error
    try:
        yield client
    finally:
        client.close(timeout=5)


def prepare() -> None:
    """Make the run's directory before Luigi forks, and see to it that its cluster ends."""
    run_dir()
    if main_pid() == os.getpid():
        atexit.register(_stop_own, os.getpid())


def _stop_own(owner_pid: int) -> None:
    if os.getpid() == owner_pid:
        stop()


def _address_of_run(run: RunSettings) -> str:
    """Return the address of the run's cluster; the first task that asks starts it."""
    folder = run_dir()
    note = folder / "cluster.json"
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if note.exists():
            return json.loads(note.read_text())["address"]
        address, pid = _start(folder, run)
        note.write_text(json.dumps({"address": address, "pid": pid}))
        return address


def _start(folder: Path, run: RunSettings) -> tuple[str, int]:
    given = {
        "run_pid": main_pid(),
        "workers": worker_count(run),
        "local_directory": str(folder),
        "gpus": gpus(run.device),
        "workers_a_gpu": run.workers_a_gpu,
    }
    log = (folder / "cluster.log").open("w")
    process = subprocess.Popen(
        [sys.executable, "-m", "tasks.cluster_process", json.dumps(given)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=log,
        start_new_session=True,
    )
    log.close()
    stdout = process.stdout
    ready = stdout is not None and select.select([stdout], [], [], START_TIMEOUT_S)[0]
    address = stdout.readline().decode().strip() if stdout is not None and ready else ""
    if not address:
        process.kill()
        tail = (folder / "cluster.log").read_text()[-2000:]
        raise SettingsError(
            f"the Dask cluster did not start within {START_TIMEOUT_S:.0f} s:\n{tail}"
        )
    return address, process.pid


def stop() -> None:
    """End the run's cluster, if this run started one, and wait until it is gone."""
    known = os.environ.get(RUN_DIR_VARIABLE)
    if not known:
        return
    note = Path(known) / "cluster.json"
    if note.exists():
        pid = json.loads(note.read_text())["pid"]
        with suppress(ProcessLookupError):
            cluster = os.pidfd_open(pid)
            os.kill(pid, signal.SIGTERM)
            if not select.select([cluster], [], [], STOP_TIMEOUT_S)[0]:
                os.kill(pid, signal.SIGKILL)
            os.close(cluster)
        note.unlink()
