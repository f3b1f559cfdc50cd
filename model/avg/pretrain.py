"""`python -m model.avg.pretrain STORE`: pre-train on the clips of a store, without their labels.

In: a store with the stages vggish and resnet152 of a dataset (AudioSet, LLP, a folder), an
objective, settings. Out: a published model, whose name is printed; parsing starts from it. A
training that was killed goes on where it was.
"""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch

from model.avg.config import OBJECTIVES, objective_config, presets, stages_needed
from model.avg.jobs import grounding_job
from model.avvp.data import clip_rows
from model.avvp.table import find_ground
from model.settings import settings_of_text
from model.train.errors import RecipeError, TrainingError
from model.train.main import speak, train
from storage.errors import StoreError
from storage.store import FeatureStore

log = logging.getLogger("model.avg.pretrain")


def main(arguments: Sequence[str] | None = None) -> int:
    """Train and print the model's name; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m model.avg.pretrain", description=__doc__)
    parser.add_argument("store", type=Path, help="directory of the feature store")
    parser.add_argument("--dataset", default="", help="where the store has several")
    parser.add_argument("--snapshot", default="", help="digest; default: the items as they are now")
    parser.add_argument("--objective", choices=OBJECTIVES, default="multi")
    parser.add_argument("--preset", choices=sorted(presets), default="paper")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--set", default="{}", help="settings over the preset's, as JSON")
    parser.add_argument(
        "--silent",
        nargs=2,
        metavar=("ITEM", "SECOND"),
        help="a silent second: those that sound like it are alike to none after them",
    )
    parser.add_argument("--device", default="auto")
    options = parser.parse_args(arguments)
    try:
        ground = find_ground(options.store, options.dataset, options.snapshot, stages=stages_needed)
        changes = settings_of_text(options.set)
        if options.silent:
            changes["silence"] = silence_row(options.store, ground.stages, *options.silent)
        job = grounding_job(
            ground.layout,
            objective_config(options.objective, options.preset, changes),
            dataset=ground.dataset,
            snapshot=ground.snapshot,
            stages=ground.stages,
            seed=options.seed,
            device=options.device,
        )
        train(job)
    except (TrainingError, StoreError) as error:
        log.error("pre-training stops: %s", error)
        return 1
    print(job.name)
    return 0


def silence_row(root: Path, stages: Mapping[str, str], item_id: str, second: str) -> list[float]:
    """Return the VGGish row of one second of an item, 128 values, as a setting.

    Raises
    ------
    RecipeError
        The item has no such second.
    storage.errors.ItemNotFound
        There is no such item.
    """
    rows_TE = clip_rows(FeatureStore(root), stages, item_id, ("vggish",))["vggish"]
    if not second.isdigit() or int(second) >= len(rows_TE):
        raise RecipeError(
            f"--silent {item_id} {second}: expected a second from 0 to {len(rows_TE) - 1}"
        )
    return [float(value) for value in rows_TE[int(second)]]


if __name__ == "__main__":
    speak()
    torch.set_flush_denormal(True)  # as the trainer's own process does
    sys.exit(main())
