"""import-features, export-features: features in the layout in which LLP's are published."""

from __future__ import annotations

import argparse
from dataclasses import asdict
from pathlib import Path
from typing import Any

from tasks.commands.common import (
    DATASET_HELP,
    FAILED,
    Commands,
    add_dataset,
    add_json,
    context_of,
    print_json,
)
from tasks.settings import load_settings


def add(commands: Commands) -> None:
    """Add the two subcommands to the parser."""
    bring = commands.add_parser(
        "import-features",
        help="put published .npy features into the store, as stages of their own",
        description="Read vggish/<name>.npy (10, 128), res152/<name>.npy (80, 2048) and "
        "r2plus1d_18/<name>.npy (10, 512), and print the settings with which runs read them. "
        "No video is needed.",
    )
    bring.add_argument("--dataset", default="llp", help=DATASET_HELP)
    bring.set_defaults(run=_import)
    give = commands.add_parser(
        "export-features", help="write features as .npy files, in the same layout"
    )
    add_dataset(give)
    give.add_argument("--overwrite", action="store_true", help="replace files of other content")
    give.set_defaults(run=_export)
    for command in (bring, give):
        command.add_argument("folder", type=Path, metavar="DIR", help="holds the three folders")
        add_json(command)


def _import(arguments: argparse.Namespace) -> int:
    from pipeline.npy_features import import_features
    from storage.layout import open_store
    from tasks.context import read_dataset

    settings = load_settings()
    dataset = read_dataset(arguments.dataset, settings)
    layout = open_store(Path(settings.run.root), create=True)
    sets = import_features(layout, dataset.items, arguments.folder)
    if arguments.json:
        print_json({"dataset": dataset.name, "imported": [asdict(found) for found in sets]})
        return 0
    for found in sets:
        said = ", ".join(f"{n} {reason}" for reason, n in sorted(found.counts.items()))
        print(f"{found.name}: {said}; {found.unlisted} files of clips that are not listed")
        if found.other_header:
            print(f"  {found.other_header} files have an unusual header: exports differ from them")
        for example in found.examples:
            print(f"  {example}")
    print("\nRuns read these features with the following lines of luigi.cfg:\n")
    for found in sets:
        print(f"[{found.stage}]\nweights = {found.setting}\n")
    return 0


def _export(arguments: argparse.Namespace) -> int:
    from pipeline.npy_export import DIFFERS, KEPT, WRITTEN, export_features
    from pipeline.npy_features import FOLDERS

    context = context_of(arguments)
    stages = {stage: context.stages[stage].record.name for stage in FOLDERS}
    counts = export_features(
        context.store,
        stages,
        context.dataset.items,
        arguments.folder,
        overwrite=arguments.overwrite,
    )
    found: dict[str, Any] = {"stages": stages, "folders": counts}
    found["ok"] = not any(c.get(DIFFERS) for c in counts.values()) and any(
        c.get(WRITTEN) or c.get(KEPT) for c in counts.values()
    )
    if arguments.json:
        print_json(found)
    else:
        for (stage, name), (folder, done) in zip(stages.items(), counts.items(), strict=True):
            said = ", ".join(f"{n} {what}" for what, n in sorted(done.items()))
            print(f"{arguments.folder / folder}, from {name}: {said or 'nothing'}")
            if done.get(DIFFERS):
                print(f"  {stage}: files of other content were kept; --overwrite replaces them")
    return 0 if found["ok"] else FAILED
