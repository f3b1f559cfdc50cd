"""`soundstage`: look at a store, at what a run would do, and at what became of a dataset.

status    what became of each item of a dataset, stage by stage
explain   what a run would compute, and which field of the fingerprint differs
coverage  what of a dataset is there, by class, split and reason, and the exact list of it
estimate  bytes, days of download and hours of computing, before anything starts
retry     let later runs try failed items again
lists     check a folder of published lists, and which of them share videos
verify    read every checksum of the store
ls        what the store holds
job       the file by which a model is trained on several GPUs or nodes
evaluate  a trained model's figures on another dataset's test items
figures   what a trained model separates, where it looks and what it finds, as PNG files
parsing-tables  the parsing tables, as far as their rows are published
weights   list, fetch and check pre-trained weights
doctor    what of an AlphaPose checkout is there and works
import-features, export-features  features in the layout in which LLP's are published
synthllp  features drawn from LLP's annotations, to train without a video
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from tasks.commands import (
    coverage,
    doctor,
    estimate,
    evaluate,
    figures,
    inspect,
    job,
    lists,
    npy,
    parsing_tables,
    retry,
    synthllp,
    weights,
)
from tasks.commands.common import USAGE
from tasks.failures import USER_ERRORS, say

COMMANDS = (
    inspect,
    coverage,
    estimate,
    retry,
    lists,
    job,
    evaluate,
    figures,
    parsing_tables,
    weights,
    npy,
    synthllp,
    doctor,
)
"""The modules whose `add` brings the subcommands, in the order of the help."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one subcommand and return the exit code."""
    arguments = _parser().parse_args(argv)
    try:
        return arguments.run(arguments)
    except USER_ERRORS as error:
        say(error)
        return USAGE
    except BrokenPipeError:
        sys.stderr.close()
        return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="soundstage", description=__doc__.split("\n", 1)[0])
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for module in COMMANDS:
        module.add(commands)
    return parser


if __name__ == "__main__":
    raise SystemExit(main())
