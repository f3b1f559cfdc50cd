"""What the subcommands share: options, the store's root, JSON on standard output, exit codes."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tasks.settings import load_settings

if TYPE_CHECKING:
    from tasks.context import Context

Commands = Any
"""What `ArgumentParser.add_subparsers` returns; argparse has no public name for it."""

DATASET_HELP = "the dataset's name, such as demo, demo:micro or folder:PATH"
FAILED = 1
USAGE = 2


def add_dataset(command: argparse.ArgumentParser) -> None:
    """Add --dataset and --recipe."""
    command.add_argument("--dataset", default="demo", help=DATASET_HELP)
    command.add_argument("--recipe", default="", help="features, tribert, avvp or all")


def add_root(command: argparse.ArgumentParser) -> None:
    """Add --root."""
    command.add_argument("--root", type=Path, help="the store; default: luigi.cfg's")


def add_json(command: argparse.ArgumentParser) -> None:
    """Add --json."""
    command.add_argument("--json", action="store_true", help="print JSON")


def context_of(arguments: argparse.Namespace) -> Context:
    """Return the context that --dataset and --recipe name."""
    from tasks.context import load_context

    return load_context(arguments.dataset, arguments.recipe)


def root_of(arguments: argparse.Namespace) -> Path:
    """Return the store that --root names, else luigi.cfg's."""
    return arguments.root or Path(load_settings().run.root)


def print_json(value: Any) -> None:
    """Print a value as JSON."""
    json.dump(value, sys.stdout, indent=1)
    print()
