"""`python -m model.avvp.row_main TRAIN.json EVALUATE.json`: one row of the tables with one seed.

In: the row's `TrainJob` and the `EvaluateJob` of its model. Out: both published, and exit code 0;
also when they were published before. A killed training goes on where it was.
"""

from __future__ import annotations

import argparse
import logging
import os
import sys
from collections.abc import Sequence
from pathlib import Path

import torch

from model.evaluate_main import evaluate
from model.jobs import EvaluateJob, TrainJob
from model.train.errors import TrainingError
from model.train.main import speak, train
from model.train.parent import die_with_parent
from storage.errors import StoreError

log = logging.getLogger("model.avvp.row_main")


def main(arguments: Sequence[str] | None = None) -> int:
    """Train and evaluate; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m model.avvp.row_main", description=__doc__)
    parser.add_argument("train", type=Path, help="a TrainJob as JSON")
    parser.add_argument("evaluate", type=Path, help="an EvaluateJob as JSON")
    options = parser.parse_args(arguments)
    die_with_parent(os.getppid())
    torch.set_flush_denormal(True)  # as the trainer's own process does
    speak()
    try:
        train(TrainJob.from_json(options.train))
        evaluate(EvaluateJob.from_json(options.evaluate))
    except (TrainingError, StoreError) as error:
        log.error("the row stops: %s", error)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
