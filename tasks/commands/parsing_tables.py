"""parsing-tables: both tables of audio-visual video parsing, of what is published already."""

from __future__ import annotations

import argparse
import shlex

from tasks.commands.common import DATASET_HELP, Commands, add_json, print_json

TASK = "luigi --module tasks ReproduceParsingTables"
OPTIONS = ("rows", "seeds", "preset", "settings", "pretraining", "snapshot")


def add(commands: Commands) -> None:
    """Add the subcommand to the parser."""
    command = commands.add_parser(
        "parsing-tables",
        help="print the parsing tables, as far as their rows are trained",
        description=f"Print what `{TASK}` has published, beside the papers' numbers, and name the "
        "rows that are not there yet. Nothing is trained. What is not given stands in "
        "[parsing_tables] of luigi.cfg.",
    )
    command.add_argument("--dataset", default="llp", help=DATASET_HELP)
    command.add_argument("--rows", default="", help="rows, separated by ;")
    command.add_argument("--seeds", default="", help="seeds, separated by commas")
    command.add_argument("--preset", default="", help="of model/avvp/config.py")
    command.add_argument("--settings", default="", help="settings of every row, as a JSON object")
    command.add_argument("--pretraining", default="", help="the same of what rows start from")
    command.add_argument("--snapshot", choices=("kept", "latest"), default="kept")
    add_json(command)
    command.set_defaults(run=_run)


def _run(arguments: argparse.Namespace) -> int:
    from model.avvp.rows import RECIPE, table
    from tasks.context import load_context
    from tasks.parsing import gathered, table_ground, table_spec

    context = load_context(arguments.dataset, RECIPE)
    spec = table_spec(
        context.settings.parsing_tables,
        rows=arguments.rows,
        seeds=arguments.seeds,
        preset=arguments.preset,
        settings=arguments.settings,
        pretraining=arguments.pretraining,
    )
    latest = arguments.snapshot == "latest"
    results = gathered(table_ground(context, spec, latest=latest, write=False), spec)
    command = _task(arguments)
    if arguments.json:
        print_json({**results, "command": command})
        return 0
    print(table(results), end="")
    if results["missing"]:
        print("\nnot there yet:")
        for row, seeds in results["missing"].items():
            print(f"  {row}, seed{'s' * (len(seeds) > 1)} {', '.join(map(str, seeds))}")
        print(f"they are trained by\n\n{command}")
    return 0


def _task(arguments: argparse.Namespace) -> str:
    """Return the command line that trains what the tables are asked for."""
    words = [*TASK.split(), "--dataset", arguments.dataset]
    for name in OPTIONS:
        value = getattr(arguments, name)
        if value and (name, value) != ("snapshot", "kept"):
            words += [f"--{name}", value]
    return shlex.join(words)
