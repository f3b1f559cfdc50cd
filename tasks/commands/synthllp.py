"""synthllp: features drawn from LLP's annotations, so that all of it trains without a video."""

from __future__ import annotations

import argparse
from pathlib import Path

from tasks.commands.common import Commands, add_json, print_json
from tasks.settings import load_settings


def add(commands: Commands) -> None:
    """Add the subcommand to the parser."""
    command = commands.add_parser(
        "synthllp",
        help="put a synthetic LLP into the store: features drawn from the real annotations",
        description="Labels and events are those of the lists in [lists] dir; the rows of vggish, "
        "resnet152 and r2plus1d are drawn. Runs read them with --dataset synthllp:SIZE.",
    )
    command.add_argument(
        "store", type=Path, nargs="?", metavar="STORE", help="the store; default: luigi.cfg's"
    )
    command.add_argument(
        "--size",
        default="small",
        help="micro (84 clips), small (2 200, 1.5 GB, the default) or full (11 849, 8.1 GB)",
    )
    command.add_argument(
        "--clean",
        action="store_true",
        help="no label of a training clip is missing from a modality",
    )
    add_json(command)
    command.set_defaults(run=_run)


def _run(arguments: argparse.Namespace) -> int:
    from pipeline.synthllp import CLEAN
    from pipeline.synthllp.write import write_synthllp
    from storage.layout import open_store
    from tasks.lists import synthllp

    settings = load_settings()
    spec = f"{arguments.size}{CLEAN}" if arguments.clean else arguments.size
    made = synthllp(settings.lists, spec)
    layout = open_store(arguments.store or Path(settings.run.root), create=True)
    shards = []
    for shard in write_synthllp(layout, made):
        shards.append(shard)
        if not arguments.json:
            print(shard, flush=True)
    name = f"synthllp:{spec}"
    if arguments.json:
        print_json({"dataset": name, "items": len(made.clips), "shards": shards})
        return 0
    print(f"\n{len(made.clips)} items; train with\n")
    print(f"luigi --module tasks FullPipeline --dataset {name} --recipe avvp")
    return 0
