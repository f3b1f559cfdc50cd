"""status, explain, verify, ls: what a store holds and what a run would do."""

from __future__ import annotations

import argparse

from tasks.commands.common import (
    FAILED,
    Commands,
    add_dataset,
    add_json,
    add_root,
    context_of,
    print_json,
    root_of,
)


def add(commands: Commands) -> None:
    """Add the subcommands to the parser."""
    status = commands.add_parser("status", help="what became of each item, stage by stage")
    explain = commands.add_parser("explain", help="what a run would compute, and why")
    verify = commands.add_parser("verify", help="read every checksum of the store")
    listing = commands.add_parser("ls", help="what the store holds")
    for command in (status, explain):
        add_dataset(command)
    explain.add_argument("--snapshot", choices=("kept", "latest"), default="kept")
    for command in (verify, listing):
        add_root(command)
    listing.add_argument("stage", nargs="?", help="list the items of this stage")
    for command in (status, explain, verify, listing):
        add_json(command)
    status.set_defaults(run=_status)
    explain.set_defaults(run=_explain)
    verify.set_defaults(run=_verify)
    listing.set_defaults(run=_ls)


def _status(arguments: argparse.Namespace) -> int:
    from tasks.status import print_status, status

    found = status(context_of(arguments))
    print_json(found) if arguments.json else print_status(found)
    return 0


def _explain(arguments: argparse.Namespace) -> int:
    from tasks.explain import explain, print_table

    rows = explain(context_of(arguments), latest=arguments.snapshot == "latest")
    print_json([row.as_json() for row in rows]) if arguments.json else print_table(rows)
    return 0


def _verify(arguments: argparse.Namespace) -> int:
    from tasks import inspect_store

    found = inspect_store.verify(root_of(arguments))
    print_json(found) if arguments.json else inspect_store.print_verify(found)
    return FAILED if found["problems"] else 0


def _ls(arguments: argparse.Namespace) -> int:
    from tasks import inspect_store

    found = inspect_store.listing(root_of(arguments), arguments.stage)
    print_json(found) if arguments.json else inspect_store.print_listing(found)
    return 0
