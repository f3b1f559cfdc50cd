"""estimate: bytes, days of download and hours of computing, before anything starts."""

from __future__ import annotations

import argparse

from tasks.commands.common import FAILED, Commands, add_dataset, add_json, context_of, print_json


def add(commands: Commands) -> None:
    """Add the subcommand to the parser."""
    command = commands.add_parser(
        "estimate",
        help="bytes, days of download and hours of computing, before anything starts",
        description="What a run over the dataset will still take. Ends with exit code 1 when the "
        "store's disk has too little space for it.",
    )
    add_dataset(command)
    add_json(command)
    command.set_defaults(run=_run)


def _run(arguments: argparse.Namespace) -> int:
    from tasks.estimate import estimate, print_estimate

    found = estimate(context_of(arguments))
    print_json(found) if arguments.json else print_estimate(found)
    return 0 if found["disk"]["fits"] else FAILED
