"""What a store holds and whether it is sound, without a dataset or settings.

Flows in: a store's root. Flows out: JSON values, and tables printed from them.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from storage import FeatureStore
from storage.layout import Layout, open_store
from storage.models import list_models, read_model
from storage.verify import ERROR, Problem, verify_store


def verify(root: Path) -> dict[str, Any]:
    """Read every checksum; return the problems and the notes, as JSON values."""
    layout = open_store(root)
    found = verify_store(layout)
    return {
        "root": str(layout.root),
        "shards": sum(1 for _ in layout.stages().glob("*/*/*.h5")),
        "problems": [_problem(p) for p in found if p.severity == ERROR],
        "notes": [_problem(p) for p in found if p.severity != ERROR],
    }


def _problem(problem: Problem) -> dict[str, str]:
    return {"path": str(problem.path), "where": problem.where, "message": problem.message}


def print_verify(found: dict[str, Any]) -> None:
    """Print what `verify` found."""
    console = Console(highlight=False)
    for kind in ("problems", "notes"):
        for row in found[kind]:
            place = ": ".join(part for part in (row["path"], row["where"]) if part)
            console.print(escape(f"{kind[:-1]}: {place}: {row['message']}"), soft_wrap=True)
    verdict = f"{len(found['problems'])} problem(s)" if found["problems"] else "sound"
    console.print(f"{found['root']}: {found['shards']} shards, {verdict}", soft_wrap=True)


def listing(root: Path, stage: str | None) -> dict[str, Any]:
    """Return the stages, models and datasets of a store, or the items of one stage."""
    layout = open_store(root)
    store = FeatureStore(layout.root)
    if stage is not None:
        return {"stage": stage, "items": store.items(stage)}
    return {
        "root": str(layout.root),
        "stages": [_stage(layout, store, d.name) for d in sorted(layout.stages().glob("*-*"))],
        "models": [_model(layout, name) for name in list_models(layout)],
        "datasets": sorted(d.name for d in layout.datasets().glob("*")),
        "reports": sorted(str(p) for p in layout.reports().glob("*/report.html")),
    }


def _stage(layout: Layout, store: FeatureStore, name: str) -> dict[str, Any]:
    shards = list(layout.stage_dir(name).glob("*/*.h5"))
    return {
        "stage": name,
        "shards": len(shards),
        "bytes": sum(s.stat().st_size for s in shards),
        "outcomes": dict(Counter(o.reason for o in store.outcomes(name).values())),
    }


def _model(layout: Layout, name: str) -> dict[str, Any]:
    record = read_model(layout, name)["record"]
    return {"model": name, "dataset": record["dataset"], "snapshot": record["snapshot"]}


def print_listing(found: dict[str, Any]) -> None:
    """Print what `listing` found."""
    console = Console(highlight=False)
    if "items" in found:
        for item in found["items"]:
            console.print(escape(item), soft_wrap=True)
        return
    table = Table("stage", "shards", "MB", "outcomes")
    for row in found["stages"]:
        said = ", ".join(f"{n} {reason}" for reason, n in sorted(row["outcomes"].items()))
        table.add_row(row["stage"], str(row["shards"]), f"{row['bytes'] / 1e6:.1f}", said)
    console.print(table)
    for row in found["models"]:
        console.print(f"model {row['model']} (dataset {row['dataset']})", soft_wrap=True)
    for path in found["reports"]:
        console.print(f"report {path}", soft_wrap=True)
