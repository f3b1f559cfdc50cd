"""How a loader's worker process begins: it ends with its trainer, and gives back what it frees.

In: the trainer's process id. Out: `WorkerStart`, a DataLoader's `worker_init_fn`.
"""

from __future__ import annotations

import ctypes
from dataclasses import dataclass

from model.train.parent import die_with_parent

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD, M_ARENA_MAX = -1, -3, -8
"""Parameters of glibc's mallopt (malloc.h)."""
LARGE_BYTES = 128 << 10


@dataclass(frozen=True, slots=True)
class WorkerStart:
    """Run first in a loader's worker."""

    trainer_pid: int

    def __call__(self, worker: int) -> None:
        """Tie the process to the trainer's life; keep its memory flat."""
        die_with_parent(self.trainer_pid)
        return_freed_memory()


def return_freed_memory() -> None:
    """Have this process return every large array to the system when it is freed (glibc).

    By default glibc raises its limit with every large block that is freed, keeps the next ones in
    a heap full of holes, and a worker that makes pictures and spectra grows from epoch to epoch.
    Where the C library is another one, nothing is changed.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        return
    for parameter, value in (
        (M_MMAP_THRESHOLD, LARGE_BYTES),
        (M_TRIM_THRESHOLD, LARGE_BYTES),
        (M_ARENA_MAX, 1),
    ):
        mallopt(parameter, value)
