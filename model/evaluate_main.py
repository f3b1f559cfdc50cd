"""`python -m model.evaluate_main JOB.json`: evaluate a published model and publish the results.

In: an `EvaluateJob`. Out: `evaluations/<name>/` in the store with `results.json`, and exit code
0; also when it was published before.
"""

from __future__ import annotations

import argparse
import importlib
import logging
import os
import shutil
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from model.jobs import EvaluateJob
from model.train.errors import RecipeError, TrainingError
from model.train.parent import die_with_parent
from storage.errors import StoreError
from storage.layout import open_store
from storage.models import evaluation_complete, publish_evaluation

EVALUATORS = {
    "separation": "model.tribert.evaluate",
    "parsing": "model.avvp.evaluate",
    "retrieval": "model.retrieval.evaluate",
}
"""What is evaluated -> the module whose `evaluate(job)` writes results.json into `job.out_dir`."""

log = logging.getLogger("model.evaluate_main")


def evaluate(job: EvaluateJob) -> None:
    """Compute the job's results and publish them, unless they are published.

    Raises RecipeError for an evaluation that does not exist, and what the evaluator raises.
    """
    layout = open_store(job.store_root)
    if evaluation_complete(layout, job.name):
        log.info("%s is published already", job.name)
        return
    if job.what not in EVALUATORS:
        raise RecipeError(f"evaluation {job.what!r}: expected one of {', '.join(EVALUATORS)}")
    folder = job.out_dir / f"results-{os.getpid()}"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    importlib.import_module(EVALUATORS[job.what]).evaluate(replace(job, out_dir=folder))
    publish_evaluation(layout, job.name, folder)
    shutil.rmtree(folder, ignore_errors=True)
    log.info("published %s", job.name)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a job file; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m model.evaluate_main", description=__doc__)
    parser.add_argument("job", type=Path, help="an EvaluateJob as JSON")
    options = parser.parse_args(arguments)
    die_with_parent(os.getppid())
    # here, because processes that score import this module again and need none of the trainer
    speak = importlib.import_module("model.train.main").speak
    speak()
    try:
        evaluate(EvaluateJob.from_json(options.job))
    except (TrainingError, StoreError) as error:
        log.error("evaluation failed: %s", error)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
