"""One item through one stage: what a worker runs. A job goes in, a staged file and its outcome
come out.

This is the single place where an item's exceptions become data.
"""

from __future__ import annotations

from dataclasses import dataclass

from pipeline.media import MediaRef
from pipeline.stages import ResolvedStage
from storage.records import Outcome


@dataclass(frozen=True, slots=True, kw_only=True)
class ItemJob:
    """One item to run through one stage. Picklable and small.

    `staged_path` is where the finished rows (or the failure) are published; `timeout_s` limits
    each child process (None: from the media's duration); `alone` says that no other worker shares
    the machine, so torch may use its threads.
    """

    stage: ResolvedStage
    media: MediaRef
    store_root: str
    staged_path: str
    timeout_s: float | None = None
    alone: bool = False


def run_item(job: ItemJob) -> Outcome:
    """Run one item through one stage, publish its staged file, return what became of it."""
    raise NotImplementedError
