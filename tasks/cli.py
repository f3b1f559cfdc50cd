"""`soundstage`: look at a store and at what a run would do.

status    what became of each item of a dataset, stage by stage
explain   what a run would compute, and which field of the fingerprint differs
verify    read every checksum of the store
ls        what the store holds
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tasks import inspect_store
from tasks.failures import USER_ERRORS, say
from tasks.settings import load_settings

FAILED = 1
USAGE = 2


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
    status = commands.add_parser("status", help="what became of each item, stage by stage")
    explain = commands.add_parser("explain", help="what a run would compute, and why")
    verify = commands.add_parser("verify", help="read every checksum of the store")
    listing = commands.add_parser("ls", help="what the store holds")
    for command in (status, explain):
        command.add_argument("--dataset", default="demo", help="demo, demo:micro, folder:PATH")
        command.add_argument("--recipe", default="", help="features, tribert, avvp or all")
    explain.add_argument("--snapshot", choices=("kept", "latest"), default="kept")
    for command in (verify, listing):
        command.add_argument("--root", type=Path, help="the store; default: luigi.cfg's")
    listing.add_argument("stage", nargs="?", help="list the items of this stage")
    for command in (status, explain, verify, listing):
        command.add_argument("--json", action="store_true", help="print JSON")
    status.set_defaults(run=_status)
    explain.set_defaults(run=_explain)
    verify.set_defaults(run=_verify)
    listing.set_defaults(run=_ls)
    return parser


def _status(arguments: argparse.Namespace) -> int:
    from tasks.context import load_context
    from tasks.status import print_status, status

    found = status(load_context(arguments.dataset, arguments.recipe))
    _print_json(found) if arguments.json else print_status(found)
    return 0


def _explain(arguments: argparse.Namespace) -> int:
    from tasks.context import load_context
    from tasks.explain import explain, print_table

    context = load_context(arguments.dataset, arguments.recipe)
    rows = explain(context, latest=arguments.snapshot == "latest")
    _print_json([row.as_json() for row in rows]) if arguments.json else print_table(rows)
    return 0


def _verify(arguments: argparse.Namespace) -> int:
    found = inspect_store.verify(_root(arguments))
    _print_json(found) if arguments.json else inspect_store.print_verify(found)
    return FAILED if found["problems"] else 0


def _ls(arguments: argparse.Namespace) -> int:
    found = inspect_store.listing(_root(arguments), arguments.stage)
    _print_json(found) if arguments.json else inspect_store.print_listing(found)
    return 0


def _root(arguments: argparse.Namespace) -> Path:
    return arguments.root or Path(load_settings().run.root)


def _print_json(value: Any) -> None:
    json.dump(value, sys.stdout, indent=1)
    print()


if __name__ == "__main__":
    raise SystemExit(main())
