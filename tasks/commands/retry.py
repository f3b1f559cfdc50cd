"""retry: failed items, chosen by reason, age, stage and dataset, are to be tried again."""

from __future__ import annotations

import argparse
import difflib
import re
from collections import Counter
from datetime import timedelta
from typing import Any

from rich.console import Console
from rich.markup import escape

from storage.catalog import list_stages
from storage.failed import Failure, failures, retry
from storage.layout import Layout, open_store
from storage.records import OK, PERMANENT_REASONS, TRANSIENT_REASONS
from storage.retries import FETCH
from tasks.commands.common import DATASET_HELP, Commands, add_json, add_root, print_json, root_of
from tasks.settings import SettingsError

REASONS = sorted((PERMANENT_REASONS | TRANSIENT_REASONS) - {OK})
_AGE = re.compile(r"(\d+(?:\.\d+)?)\s*([smhdw])")
_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}


def add(commands: Commands) -> None:
    """Add the subcommand to the parser."""
    command = commands.add_parser(
        "retry",
        help="let later runs try failed items again",
        description="Mark failed items, passing or permanent, so that the next run tries them "
        "again with fresh attempts. Nothing is computed or downloaded now.",
    )
    command.add_argument(
        "--reason",
        action="append",
        required=True,
        type=_reason,
        help="a reason as `status` prints it; may be given several times",
    )
    command.add_argument(
        "--older-than",
        type=parse_age,
        default=timedelta(0),
        metavar="AGE",
        help="only what failed at least this long ago: 90m, 12h, 2d, 1w",
    )
    command.add_argument("--dataset", help=f"only its items: {DATASET_HELP}; default: the store's")
    command.add_argument("--stage", help="fetch, a stage, or <stage>-<fingerprint>; default: all")
    command.add_argument("--dry-run", action="store_true", help="mark nothing, say what would be")
    add_root(command)
    add_json(command)
    command.set_defaults(run=_run)


def parse_age(text: str) -> timedelta:
    """Return the time span that a text such as '90m', '12h', '2d' or '1w' names."""
    match = _AGE.fullmatch(text.strip().lower())
    if match is None:
        raise argparse.ArgumentTypeError(
            f"{text!r}: expected a number and s, m, h, d or w, such as 2d"
        )
    try:
        return timedelta(**{_UNITS[match[2]]: float(match[1])})
    except OverflowError:
        raise argparse.ArgumentTypeError(f"{text!r}: longer than any store is old") from None


def _reason(text: str) -> str:
    if text not in REASONS:
        close = difflib.get_close_matches(text, REASONS, n=1)
        hint = f"; did you mean {close[0]!r}?" if close else "."
        raise argparse.ArgumentTypeError(
            f"{text!r} is no reason that can be tried again{hint} Known: {', '.join(REASONS)}"
        )
    return text


def _run(arguments: argparse.Namespace) -> int:
    layout, items = _store_and_items(arguments)
    _check_stage(layout, arguments.stage)

    def wanted(failure: Failure) -> bool:
        return (
            failure.reason in arguments.reason
            and failure.older_than(arguments.older_than)
            and (items is None or failure.item_id in items)
        )

    matching = [f for f in failures(layout, arguments.stage) if wanted(f)]
    before = sum(f.marked for f in matching)
    if arguments.dry_run:
        chosen = [f for f in matching if not f.marked]
    else:
        chosen = retry(layout, wanted, arguments.stage)
    found = _as_json(layout, chosen, before, dry_run=arguments.dry_run)
    print_json(found) if arguments.json else _print(found)
    return 0


def _store_and_items(arguments: argparse.Namespace) -> tuple[Layout, set[str] | None]:
    """Return the store, and the dataset's item ids where one is named."""
    if not arguments.dataset:
        return open_store(root_of(arguments)), None
    from tasks.context import read_dataset
    from tasks.settings import load_settings

    dataset = read_dataset(arguments.dataset, load_settings())
    return open_store(root_of(arguments)), {entry.item.item_id for entry in dataset.items}


def _check_stage(layout: Layout, stage: str | None) -> None:
    names = list_stages(layout)
    known = {FETCH, *names, *(name.rpartition("-")[0] for name in names)}
    if stage is not None and stage not in known:
        raise SettingsError(
            f"--stage {stage}: nothing of it in {layout.root}; there are {', '.join(sorted(known))}"
        )


def _as_json(
    layout: Layout, chosen: list[Failure], before: int, *, dry_run: bool
) -> dict[str, Any]:
    return {
        "root": str(layout.root),
        "dry_run": dry_run,
        "marked": len(chosen),
        "marked_before": before,
        "stages": dict(Counter(f.scope for f in chosen)),
        "reasons": dict(Counter(f.reason for f in chosen)),
        "items": [
            {"item": f.item_id, "stage": f.scope, "reason": f.reason, "utc": f.utc} for f in chosen
        ],
    }


def _print(found: dict[str, Any]) -> None:
    console = Console(highlight=False, soft_wrap=True)
    verb = "would be marked" if found["dry_run"] else "marked"
    console.print(escape(f"{found['root']}: {found['marked']} failure(s) {verb} to be tried again"))
    for scope, count in sorted(found["stages"].items()):
        console.print(escape(f"  {count} in {scope}"))
    if found["marked_before"]:
        console.print(f"{found['marked_before']} were marked before and wait for the next run")
