"""`python -m model.separation.run STORE TRIBERT`: one table of a TriBERT and its baselines.

In: a store and a published TriBERT. Out: baselines trained on its snapshot with its mixes, steps
and batch, and published; one evaluation of all on the same test mixes, published and printed. What
is published already is not done again.
"""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from model.evaluate_main import evaluate as publish_evaluation_of
from model.jobs import TrainJob
from model.separation.jobs import SYSTEMS, baseline_jobs, table_job
from model.separation.table import table
from model.settings import settings_of_text
from model.train.errors import TrainingError
from model.train.main import speak, train
from model.tribert.evaluation_config import EvaluationConfig, evaluation_presets
from storage.errors import StoreError
from storage.layout import Layout, open_store
from storage.models import read_evaluation

log = logging.getLogger("model.separation.run")


def run(
    layout: Layout, tribert: str, jobs: Sequence[TrainJob], settings: EvaluationConfig
) -> dict[str, Any]:
    """Train and publish the jobs' baselines and the evaluation of all; return its results.

    Raises TrainingError or StoreError as the trainer and the evaluator do.
    """
    for job in jobs:
        train(job)
    device = jobs[0].device if jobs else "auto"
    evaluation = table_job(layout, tribert, [job.name for job in jobs], settings, device=device)
    publish_evaluation_of(evaluation)
    log.info("results: %s", layout.evaluation(evaluation.name))
    return read_evaluation(layout, evaluation.name)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the table of one TriBERT; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m model.separation.run", description=__doc__)
    parser.add_argument("store", type=Path, help="directory of the feature store")
    parser.add_argument("tribert", help="name of a published TriBERT")
    parser.add_argument("--systems", nargs="*", choices=SYSTEMS, default=list(SYSTEMS))
    parser.add_argument(
        "--protocol",
        choices=sorted(evaluation_presets),
        default="paper",
        help="how mixes are chosen and scored",
    )
    parser.add_argument("--set", default="{}", help="settings on top of the protocol, as JSON")
    parser.add_argument("--device", default="auto")
    options = parser.parse_args(arguments)
    try:
        layout = open_store(options.store)
        values = evaluation_presets[options.protocol].as_json() | settings_of_text(options.set)
        settings = EvaluationConfig.from_json(values)
        jobs = baseline_jobs(layout, options.tribert, options.systems, device=options.device)
        results = run(layout, options.tribert, jobs, settings)
    except (TrainingError, StoreError) as error:
        log.error("separation table failed: %s", error)
        return 1
    print(table([results]), end="")
    return 0


if __name__ == "__main__":
    speak()
    sys.exit(main())
