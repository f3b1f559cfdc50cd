"""doctor: what of an AlphaPose checkout is there and works, each with what to do."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from tasks.commands.common import FAILED, Commands, add_json, print_json
from tasks.context import alphapose_settings
from tasks.settings import SettingsError, load_settings

if TYPE_CHECKING:
    from pipeline.pose.alphapose_check import Finding

_COLOURS = {"ok": "green", "note": "yellow", "failed": "bold red"}


def add(commands: Commands) -> None:
    """Add the subcommand to the parser."""
    command = commands.add_parser("doctor", help="what of an AlphaPose checkout is there and works")
    command.add_argument(
        "--alphapose",
        type=Path,
        metavar="PATH",
        help="the checkout; default: luigi.cfg's [alphapose] root",
    )
    command.add_argument("--python", default="", help="default: luigi.cfg's [alphapose] python")
    add_json(command)
    command.set_defaults(run=_doctor)


def _doctor(arguments: argparse.Namespace) -> int:
    from pipeline.pose.alphapose_check import check_checkout

    config = alphapose_settings(load_settings())
    if arguments.alphapose is not None:
        config = replace(config, root=str(arguments.alphapose))
    if arguments.python:
        config = replace(config, python=arguments.python)
    if not config.root:
        raise SettingsError(
            "doctor: no checkout given; write --alphapose PATH, or set [alphapose] root in "
            "luigi.cfg"
        )
    findings = list(check_checkout(config))
    ok = all(finding.state != "failed" for finding in findings)
    if arguments.json:
        print_json({"ok": ok, "findings": [asdict(finding) for finding in findings]})
    else:
        _print(findings, ok=ok)
    return 0 if ok else FAILED


def _print(findings: Sequence[Finding], *, ok: bool) -> None:
    console = Console(soft_wrap=True)
    table = Table("", "what", "found", "what to do")
    for finding in findings:
        colour = _COLOURS[finding.state]
        table.add_row(
            f"[{colour}]{finding.state}[/{colour}]",
            finding.what,
            escape(finding.found),
            escape(finding.advice),
        )
    console.print(table)
    console.print("AlphaPose can be used." if ok else "AlphaPose cannot be used yet.")
