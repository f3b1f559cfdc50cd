"""What a worker of the benchmark runs: networks loaded once, then one item a call."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import replace

from pipeline.stages import STAGES, ResolvedStage
from pipeline.work import ItemJob, run_item
from storage.records import Outcome

_TOGETHER_S = 1.0
"""A worker that is ready waits, so that every worker is asked once."""


def prepare(stages: Mapping[str, ResolvedStage], workers: int, device: str = "cpu") -> None:
    """Load every network in this process, and run it once on a GPU, which starts its libraries."""
    import torch

    from pipeline.networks import loading

    torch.set_num_threads(1)
    for name, stage in stages.items():
        if STAGES[name].network:
            network = loading.runner(replace(stage, device=device))
            if device != "cpu":
                network(torch.zeros(1, *loading.ARCHITECTURES[name].input_shape))
    time.sleep(_TOGETHER_S if workers > 1 else 0.0)


def run_stage(job: ItemJob) -> Outcome:
    """Run one item through one stage."""
    return run_item(job)
