"""weights: which published files there are, where they lie; get them; check them."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn
from rich.table import Column, Table

from pipeline.failures import EnvironmentBroken
from pipeline.weights import KNOWN, check_file
from tasks.commands.common import FAILED, Commands, add_json, print_json
from tasks.settings import Settings, SettingsError, load_settings

if TYPE_CHECKING:
    from pipeline.weights_fetch import OnBytes

NETWORKS = ("vggish", "resnet152", "r2plus1d")
"""The stages that run a pre-trained network."""


def add(commands: Commands) -> None:
    """Add the subcommand to the parser."""
    group = commands.add_parser("weights", help="list, fetch and check pre-trained weights")
    actions = group.add_subparsers(required=True, metavar="ACTION")
    listing = actions.add_parser("list", help="published files: stage, sha256, where each lies")
    listing.set_defaults(run=_list)
    fetch = actions.add_parser("fetch", help="download published files into the weights directory")
    fetch.add_argument("names", nargs="+", choices=sorted(KNOWN), metavar="NAME", help="from list")
    fetch.set_defaults(run=_fetch)
    check = actions.add_parser(
        "check",
        help="verify the sha256 of what is there, and say what bfloat16 costs each network",
    )
    check.add_argument(
        "stages", nargs="*", metavar="STAGE", help=f"of {', '.join(NETWORKS)}; default: all"
    )
    check.set_defaults(run=_check)
    for action in (listing, fetch, check):
        action.add_argument("--dir", type=Path, help="default: luigi.cfg's weights_dir")
        add_json(action)


def _directory(arguments: argparse.Namespace, settings: Settings) -> Path | None:
    chosen = arguments.dir or settings.run.weights_dir
    return Path(chosen).expanduser() if chosen else None


def _list(arguments: argparse.Namespace) -> int:
    settings = load_settings()
    directory = _directory(arguments, settings)
    found: dict[str, Any] = {
        "directory": None if directory is None else str(directory),
        "files": [_row(name, directory) for name in KNOWN],
        "settings": {stage: _setting(settings, stage) for stage in NETWORKS},
    }
    if arguments.json:
        print_json(found)
        return 0
    console = Console(highlight=False, soft_wrap=True)
    table = Table("name", "stage", "sha256", Column("file", overflow="fold"))
    for row in found["files"]:
        where = row["path"] or f"not here; {row['url']}"
        table.add_row(row["name"], row["stage"], row["sha256_prefix"] or "not published", where)
    console.print(table)
    for stage, setting in found["settings"].items():
        console.print(f"[{stage}] weights = {setting}", markup=False)
    console.print(f"weights directory: {found['directory'] or 'not set'}", markup=False)
    return 0


def _row(name: str, directory: Path | None) -> dict[str, Any]:
    entry = KNOWN[name]
    path = None if directory is None else directory / entry.file_name
    here = path is not None and path.is_file()
    return {**asdict(entry), "path": str(path) if here else None}


def _setting(settings: Settings, stage: str) -> str:
    from pipeline.stages import STAGES

    return settings.stages[stage].get("weights", STAGES[stage].default.weights)


def _fetch(arguments: argparse.Namespace) -> int:
    from pipeline.weights_fetch import fetch_weights

    directory = _directory(arguments, load_settings())
    if directory is None:
        raise SettingsError(
            "weights fetch: no weights directory is set; set [soundstage] weights_dir in luigi.cfg "
            "or give --dir"
        )
    fetched = []
    for name in arguments.names:
        entry = KNOWN[name]
        with _progress(entry.file_name) as on_bytes:
            path, digest = check_file(fetch_weights(entry, directory, on_bytes=on_bytes))
        verified = bool(entry.sha256_prefix)
        fetched.append({"name": name, "path": str(path), "sha256": digest, "verified": verified})
        if not arguments.json:
            said = "" if verified else " (its authors publish no digest to compare it with)"
            print(f"{path}: sha256 {digest}{said}")
    if arguments.json:
        print_json({"fetched": fetched})
    return 0


@contextmanager
def _progress(title: str) -> Iterator[OnBytes | None]:
    """Yield what draws a progress bar on a terminal; None elsewhere."""
    if not sys.stderr.isatty():
        yield None
        return
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn())
    with Progress(*columns, TransferSpeedColumn(), console=Console(stderr=True)) as progress:
        task = progress.add_task(title, total=None)
        yield lambda done, total: progress.update(task, completed=done, total=total)


def _check(arguments: argparse.Namespace) -> int:
    wrong = sorted(set(arguments.stages) - set(NETWORKS))
    if wrong:
        raise SettingsError(f"weights check {wrong[0]}: expected one of {', '.join(NETWORKS)}")
    settings = load_settings()
    directory = _directory(arguments, settings)
    files = [] if directory is None else [_checked(name, directory) for name in KNOWN]
    networks = [
        _measured(settings, stage, directory)
        for stage in NETWORKS
        if stage in (arguments.stages or NETWORKS)
    ]
    found: dict[str, Any] = {
        "directory": None if directory is None else str(directory),
        "files": [row for row in files if row is not None],
        "networks": networks,
    }
    found["ok"] = not any(row["problem"] for row in (*found["files"], *networks))
    print_json(found) if arguments.json else _print_check(found)
    return 0 if found["ok"] else FAILED


def _checked(name: str, directory: Path) -> dict[str, Any] | None:
    """Return what is known of a published file; None where it is not there."""
    path = directory / KNOWN[name].file_name
    if not path.is_file():
        return None
    try:
        _, digest = check_file(path)
    except EnvironmentBroken as error:
        return {"name": name, "path": str(path), "sha256": None, "problem": str(error)}
    return {"name": name, "path": str(path), "sha256": digest, "problem": ""}


def _measured(settings: Settings, stage: str, directory: Path | None) -> dict[str, Any]:
    """Return the digest of a stage's weights, and the error of bfloat16 with them."""
    from pipeline.networks.precision import bfloat16_error
    from pipeline.stages import STAGES, resolve

    setting = _setting(settings, stage)
    row: dict[str, Any] = {"stage": stage, "setting": setting, "weights": None, "problem": ""}
    row["bfloat16"] = None
    try:
        config = type(STAGES[stage].default)(weights=setting)
        resolved = resolve({stage: config}, precision="float32", weights_dir=directory)[stage]
        if resolved.imported:
            return row | {"weights": setting}
        error = bfloat16_error(resolved)
    except EnvironmentBroken as problem:
        return row | {"problem": str(problem)}
    return row | {"weights": resolved.record.weights["weights"], "bfloat16": asdict(error)}


def _print_check(found: Mapping[str, Any]) -> None:
    console = Console(highlight=False, soft_wrap=True)
    for row in found["files"]:
        said = row["problem"] or f"{row['path']}: sha256 {row['sha256']}"
        console.print(f"{row['name']}: {said}", markup=False)
    table = Table(
        "stage", "weights", "bfloat16: relative error", "smallest cosine", "largest error"
    )
    for row in found["networks"]:
        if row["problem"]:
            console.print(f"{row['stage']}: {row['problem']}", markup=False)
            continue
        error = row["bfloat16"]
        if error is None:
            console.print(f"{row['stage']}: {row['setting']}, no network of ours", markup=False)
            continue
        table.add_row(
            row["stage"],
            escape(row["setting"]),
            f"{error['relative']:.2%}",
            f"{error['cosine']:.5f}",
            f"{error['largest']:.3g}",
        )
    console.print(table)
