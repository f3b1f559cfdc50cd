"""lists: check a folder of published lists, and which of them share videos."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from tasks.commands.common import FAILED, Commands, add_json, print_json


def add(commands: Commands) -> None:
    """Add the subcommand to the parser."""
    group = commands.add_parser("lists", help="check a folder of published lists")
    actions = group.add_subparsers(required=True, metavar="ACTION")
    check = actions.add_parser(
        "check", help="counts, oddities and problems of each list, and the videos that they share"
    )
    check.add_argument("folder", type=Path, help="the folder that holds the lists")
    add_json(check)
    check.set_defaults(run=_check)


def _check(arguments: argparse.Namespace) -> int:
    from pipeline.datasets.check import check_lists

    found = check_lists(arguments.folder)
    print_json(found) if arguments.json else _print(found)
    return 0 if found["ok"] else FAILED


def _print(found: Mapping[str, Any]) -> None:
    console = Console(soft_wrap=True)
    table = Table("source", "files", "items", "classes", "splits")
    for name, source in found["sources"].items():
        here = sum(bool(file["path"]) for file in source["files"])
        splits = [f"{split}: {_counts(parts)}" for split, parts in source["splits"].items()]
        table.add_row(
            name,
            f"{here} of {len(source['files'])}" if source["found"] else "not found",
            str(source["items"]) if source["found"] else "",
            str(source["classes"]) if source["found"] else "",
            "\n".join(splits),
        )
    console.print(table)
    for name, source in found["sources"].items():
        if source["irregularities"]:
            odd = ", ".join(f"{kind} {n}" for kind, n in source["irregularities"].items())
            console.print(f"{name}, oddities: {odd}")
    for leak in found["leaks"]:
        console.print(f"{leak['train']} and {leak['test']} share {leak['count']} video(s)")
    for name, source in found["sources"].items():
        for problem in source["problems"]:
            console.print(f"[bold red]{escape(name)}[/bold red]: {escape(problem)}")
    if not any(source["found"] for source in found["sources"].values()):
        console.print("[bold red]no published list found in this folder or below it[/bold red]")


def _counts(parts: Mapping[str, int]) -> str:
    return ", ".join(f"{count} {part}" for part, count in parts.items() if count)
