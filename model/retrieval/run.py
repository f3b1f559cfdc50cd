"""`python -m model.retrieval.run STORE TRIBERT`: the whole table of one TriBERT, from nothing.

In: a store and a published TriBERT. Out: scorers of the three kinds of embeddings, trained on the
TriBERT's own snapshot and published, and their evaluation, which is published and printed as JSON.
What is published already is not done again.
"""

from __future__ import annotations

import argparse
import json
import logging
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from model.evaluate_main import evaluate as publish_evaluation_of
from model.jobs import TrainJob
from model.retrieval.config import Config, presets
from model.retrieval.evaluate import table
from model.retrieval.jobs import job_for, train_jobs
from model.settings import settings_of_text
from model.train.errors import TrainingError
from model.train.main import speak, train
from storage.errors import StoreError
from storage.layout import Layout, open_store
from storage.models import read_evaluation

log = logging.getLogger("model.retrieval.run")


def run(layout: Layout, jobs: Sequence[TrainJob]) -> dict[str, Any]:
    """Train and publish the jobs' scorers and their evaluation; return its results.

    Raises TrainingError or StoreError as the trainer and the evaluator do.
    """
    for job in jobs:
        train(job)
    names = [job.name for job in jobs]
    evaluation = job_for(layout, names, device=jobs[0].device)
    publish_evaluation_of(evaluation)
    return read_evaluation(layout, evaluation.name)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the table of one TriBERT; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m model.retrieval.run", description=__doc__)
    parser.add_argument("store", type=Path, help="directory of the feature store")
    parser.add_argument("tribert", help="name of a published TriBERT")
    parser.add_argument("--preset", choices=sorted(presets), default="paper")
    parser.add_argument("--set", default="{}", help="settings on top of the preset, as JSON")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--device", default="auto")
    options = parser.parse_args(arguments)
    try:
        layout = open_store(options.store)
        values = presets[options.preset].as_json() | settings_of_text(options.set)
        config = Config.from_json(values)
        jobs = train_jobs(layout, options.tribert, config, seed=options.seed, device=options.device)
        results = run(layout, jobs)
    except (TrainingError, StoreError) as error:
        log.error("retrieval failed: %s", error)
        return 1
    print(json.dumps(results, indent=1))
    print(table(results), file=sys.stderr)
    return 0


if __name__ == "__main__":
    speak()
    sys.exit(main())
