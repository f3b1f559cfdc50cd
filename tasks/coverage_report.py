"""The account of a dataset: what is there, what is missing and why, and the exact list of it.

Flows in: what became of each item (`tasks.coverage`). Flows out: JSON values, tables printed from
them, and a file with the ids of the items that came through.
"""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from pipeline.datasets.base import SPLITS, Dataset
from storage.atomic import replace_file
from storage.retries import FETCH
from tasks.context import Context
from tasks.coverage import ItemCoverage, coverage

NO_SPLIT = "none"
NO_LABEL = "(no label)"


def coverage_report(context: Context) -> dict[str, Any]:
    """Return the account of a dataset, as JSON values.

    `used` are the items that came through all stages their recipes need, sorted; `used_sha256` is
    of these ids joined by newlines, the same for everyone who has the same items.
    """
    rows = coverage(context)
    used = used_ids(rows)
    return {
        "dataset": context.dataset.name,
        "recipe": context.recipe,
        "root": str(context.layout.root),
        **account(rows),
        "splits": by_split(rows),
        "classes": by_class(rows),
        "published": published(context.dataset, rows),
        "lists": dict(context.dataset.list_files),
        "used_sha256": ids_sha256(used),
        "used": used,
        "missing": [
            {
                "item": r.item.item_id,
                "split": r.item.split,
                "labels": list(r.item.labels),
                "stage": r.stage,
                "reason": r.reason,
                "detail": r.detail,
            }
            for r in rows
            if not r.ok
        ],
    }


def used_ids(rows: Iterable[ItemCoverage]) -> list[str]:
    """Return the ids of the items that came through, sorted."""
    return sorted(r.item.item_id for r in rows if r.ok)


def ids_text(ids: Iterable[str]) -> str:
    """Return ids as a list's file holds them: sorted, joined by newlines, none at the end."""
    return "\n".join(sorted(ids))


def ids_sha256(ids: Iterable[str]) -> str:
    """Return the sha256 of the file that `ids_text` makes."""
    return hashlib.sha256(ids_text(ids).encode()).hexdigest()


def write_ids(path: Path, ids: Sequence[str]) -> None:
    """Write the ids to a file whose sha256 is `ids_sha256`; the file appears complete."""

    def write(temp: Path) -> None:
        temp.write_bytes(ids_text(ids).encode())

    replace_file(path, write)


def account(rows: Sequence[ItemCoverage]) -> dict[str, Any]:
    """Return how many items there are, have media, and came through; the rest by reason."""
    return {
        "items": len(rows),
        "fetched": sum(r.stage != FETCH for r in rows),
        "ok": sum(r.ok for r in rows),
        "reasons": dict(Counter(f"{r.stage}: {r.reason}" for r in rows if not r.ok)),
    }


def by_split(rows: Sequence[ItemCoverage]) -> dict[str, dict[str, Any]]:
    """Return the account of each split: train, val, test, then items without one."""
    groups = _grouped(rows, lambda r: (r.item.split or NO_SPLIT,))
    order = [*SPLITS, NO_SPLIT]
    return {s: account(groups[s]) for s in order if s in groups}


def by_class(rows: Sequence[ItemCoverage]) -> dict[str, dict[str, Any]]:
    """Return the account of each class, names sorted; an item with two labels counts in both."""
    groups = _grouped(rows, lambda r: r.item.labels or (NO_LABEL,))
    return {name: account(groups[name]) for name in sorted(groups)}


def published(dataset: Dataset, rows: Sequence[ItemCoverage]) -> dict[str, dict[str, Any]] | None:
    """Return how much of each split of the published list is here; None without such a list.

    The list's own splits count, not those that were drawn for items without one.
    """
    own = {e.item.item_id: e.item.split for e in dataset.items if e.item.split}
    if not own:
        return None
    groups = _grouped(rows, lambda r: (own[r.item.item_id],) if r.item.item_id in own else ())
    found = {split: _compared(groups[split]) for split in SPLITS if split in groups}
    return found | {"all": _compared([r for r in rows if r.item.item_id in own])}


def _compared(rows: Sequence[ItemCoverage]) -> dict[str, Any]:
    ids = [r.item.item_id for r in rows]
    used = used_ids(rows)
    return {
        "published": len(rows),
        "fetched": sum(r.stage != FETCH for r in rows),
        "used": len(used),
        "share": len(used) / len(rows) if rows else 0.0,
        "published_sha256": ids_sha256(ids),
        "used_sha256": ids_sha256(used),
    }


def _grouped(rows: Sequence[ItemCoverage], names: Any) -> Mapping[str, list[ItemCoverage]]:
    groups: dict[str, list[ItemCoverage]] = defaultdict(list)
    for row in rows:
        for name in names(row):
            groups[name].append(row)
    return groups


def print_coverage(found: dict[str, Any]) -> None:
    """Print the account as tables."""
    console = Console(highlight=False)
    console.print(
        f"[bold]{escape(found['dataset'])}[/bold] in {escape(found['root'])}: {found['items']} "
        f"items, {found['fetched']} with media, {found['ok']} came through",
        soft_wrap=True,
    )
    for title, groups in (("split", found["splits"]), ("class", found["classes"])):
        table = Table(title, "items", "media", "ok", "why the others are missing")
        for name, group in groups.items():
            numbers = (str(group[key]) for key in ("items", "fetched", "ok"))
            table.add_row(escape(name), *numbers, escape(_said(group["reasons"])))
        console.print(table)
    if found["published"]:
        table = Table("published list", "ids", "media", "used", "share", "sha256 of the ids used")
        for split, row in found["published"].items():
            numbers = (str(row[key]) for key in ("published", "fetched", "used"))
            table.add_row(split, *numbers, f"{row['share']:.1%}", row["used_sha256"][:16])
        console.print(table)
    console.print(f"sha256 of the {found['ok']} ids used: {found['used_sha256']}", soft_wrap=True)


def _said(reasons: Mapping[str, int]) -> str:
    order = sorted(reasons.items(), key=lambda pair: (-pair[1], pair[0]))
    return ", ".join(f"{count} {reason}" for reason, count in order)
