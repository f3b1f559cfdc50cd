"""job: the file by which a model is trained outside a run, on several GPUs or nodes."""

from __future__ import annotations

import argparse

from tasks.commands.common import Commands, add_dataset, add_json, context_of, print_json
from tasks.settings import MODEL_SECTIONS, SettingsError


def add(commands: Commands) -> None:
    """Add the subcommand to the parser."""
    command = commands.add_parser(
        "job", help="write a training's job file, for torchrun over GPUs and nodes"
    )
    command.add_argument("model", choices=MODEL_SECTIONS, help="what to train")
    add_dataset(command)
    command.add_argument("--snapshot", choices=("kept", "latest"), default="kept")
    add_json(command)
    command.set_defaults(run=_run)


def _run(arguments: argparse.Namespace) -> int:
    from tasks.models import chosen_job, is_trained
    from tasks.training import checked_job_file

    context = context_of(arguments)
    try:
        job, _ = chosen_job(context, arguments.model, latest=arguments.snapshot == "latest")
    except LookupError as error:
        raise SettingsError(
            f"job {arguments.model}: {error}; run FullPipeline up to there, or train it first with "
            "`soundstage job stgcn`"
        ) from error
    path = checked_job_file(context, job)
    if arguments.json:
        trained = is_trained(context, job)
        print_json({"job": str(path), "model": job.name, "published": trained})
        return 0
    if is_trained(context, job):
        print(f"{job.name} is published already: nothing is left to train")
        return 0
    print(f"torchrun --standalone --nproc-per-node GPUS -m model.train.main {path}")
    return 0
