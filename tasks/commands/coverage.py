"""coverage: what of a dataset is there, by class, split and reason, and the exact list of it."""

from __future__ import annotations

import argparse
from pathlib import Path

from tasks.commands.common import Commands, add_dataset, add_json, context_of, print_json
from tasks.settings import SettingsError


def add(commands: Commands) -> None:
    """Add the subcommand to the parser."""
    command = commands.add_parser(
        "coverage", help="what of a dataset is there, by class, split and reason"
    )
    add_dataset(command)
    command.add_argument(
        "--out", type=Path, metavar="FILE", help="write the ids of the items that came through"
    )
    add_json(command)
    command.set_defaults(run=_run)


def _run(arguments: argparse.Namespace) -> int:
    from tasks.coverage_report import coverage_report, print_coverage, write_ids

    found = coverage_report(context_of(arguments))
    if arguments.out is not None:
        try:
            write_ids(arguments.out, found["used"])
        except OSError as error:
            raise SettingsError(
                f"--out {arguments.out}: cannot be written ({error.strerror}); "
                "choose a file in a folder that you may write to"
            ) from error
    print_json(found) if arguments.json else print_coverage(found)
    return 0
