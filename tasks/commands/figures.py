"""figures: what a published model makes of some pairs, as PNG files."""

from __future__ import annotations

import argparse
from pathlib import Path

from model.tribert.evaluation_config import evaluation_presets
from tasks.commands.common import Commands, add_json, add_root, print_json, root_of
from tasks.settings import SettingsError, load_settings


def add(commands: Commands) -> None:
    """Add the subcommand to the parser."""
    command = commands.add_parser(
        "figures",
        help="draw what a trained model separates, where it looks, and what retrieval finds",
        description="Write PNG files of a published TriBERT: separated spectrograms with masks, "
        "attention maps and poses of pairs, and what retrieval by it found.",
    )
    command.add_argument("model", help="name of a published model")
    command.add_argument(
        "--pairs", nargs="+", default=[], metavar="ITEM", help="two items a mix, or parts of ids"
    )
    command.add_argument("--count", type=int, default=3, help="test pairs, where none are named")
    command.add_argument("--protocol", choices=sorted(evaluation_presets), default="tiny")
    command.add_argument("--out", type=Path, metavar="DIR", help="default: figures/MODEL")
    add_root(command)
    add_json(command)
    command.set_defaults(run=_run)


def _run(arguments: argparse.Namespace) -> int:
    from model.train.errors import TrainingError
    from storage.layout import open_store
    from tasks.paint import paint

    if len(arguments.pairs) % 2 or arguments.count < 1:
        raise SettingsError(
            f"figures: --pairs names {len(arguments.pairs)} items, --count is {arguments.count}; "
            "expected two items for each mix, and a count of at least 1"
        )
    try:
        files = paint(
            open_store(root_of(arguments)),
            arguments.model,
            arguments.out or Path("figures") / arguments.model,
            pairs=list(zip(arguments.pairs[::2], arguments.pairs[1::2], strict=True)),
            count=arguments.count,
            protocol=arguments.protocol,
            device=load_settings().run.device,
        )
    except TrainingError as error:
        raise SettingsError(f"figures {arguments.model}: {error}") from error
    if arguments.json:
        print_json({"figures": [str(path) for path in files]})
        return 0
    for path in files:
        print(path)
    return 0
