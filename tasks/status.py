"""What became of a dataset: coverage, and each stage's outcomes by reason.

Flows in: a context. Flows out: JSON values, and tables printed from them.
"""

from __future__ import annotations

from collections import Counter
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from storage.errors import StageNotFound
from tasks.context import Context
from tasks.coverage import coverage, summary
from tasks.explain import explain


def status(context: Context) -> dict[str, Any]:
    """Return coverage, stages and rejected items of a dataset, as JSON values."""
    rows = coverage(context)
    return {
        "dataset": context.dataset.name,
        "recipe": context.recipe,
        "root": str(context.layout.root),
        "coverage": summary(rows),
        "stages": [
            {
                "stage": row.name,
                "source": row.source,
                "state": row.state,
                "outcomes": _outcomes(context, row.name, row.source),
                "pending": list(row.why),
            }
            for row in explain(context)
        ],
        "rejected": [
            {"item": r.item.item_id, "stage": r.stage, "reason": r.reason, "detail": r.detail}
            for r in rows
            if not r.ok
        ],
    }


def _outcomes(context: Context, name: str, source: str) -> dict[str, int]:
    try:
        outcomes = context.store.outcomes(name)
    except (StageNotFound, ValueError):
        return {}
    prefix = f"{source}/"
    return dict(Counter(o.reason for i, o in outcomes.items() if i.startswith(prefix)))


def print_status(found: dict[str, Any]) -> None:
    """Print the status as tables."""
    console = Console(highlight=False)
    counts = found["coverage"]
    console.print(
        f"[bold]{found['dataset']}[/bold] in {found['root']}: "
        f"{counts['ok']} of {counts['items']} items came through"
    )
    table = Table("stage or model", "source", "state", "outcomes", "pending")
    for row in found["stages"]:
        said = ", ".join(f"{n} {reason}" for reason, n in sorted(row["outcomes"].items()))
        table.add_row(row["stage"], row["source"], row["state"], said, ", ".join(row["pending"]))
    console.print(table)
    if found["rejected"]:
        rejected = Table("item", "stage", "reason", "detail")
        for row in found["rejected"]:
            rejected.add_row(
                escape(row["item"]), row["stage"], row["reason"], escape(row["detail"][:120])
            )
        console.print(rejected)
