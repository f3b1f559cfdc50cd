"""How much of a dataset came through, and why the rest did not.

Flows in: fetch outcomes and the stages' outcomes. Flows out: counts by class, split and reason.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from storage import DatasetItem, ItemId, Outcome
from storage.errors import StageNotFound
from storage.outcomes import read_fetch_log
from storage.records import UPSTREAM
from tasks.context import POSE_EMBED, Context, stages_needed
from tasks.splits import items_with_splits


class CoverageTooLow(Exception):
    """Fewer items came through than `min_coverage` asks for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ItemCoverage:
    """One item: whether all that its recipes need is there, else the first reason."""

    item: DatasetItem
    reason: str
    stage: str
    detail: str

    @property
    def ok(self) -> bool:
        """Whether the item came through."""
        return self.reason == "ok"


def coverage(context: Context) -> list[ItemCoverage]:
    """Return what became of each item of the dataset, in its order."""
    items = items_with_splits(context)
    fetched = {s: read_fetch_log(context.layout, s) for s in context.sources}
    outcomes = {s: _stage_outcomes(context, s) for s in _all_stages(context)}
    with_media = {s: context.needs_media(s) for s in context.sources}
    remote = {e.item.item_id for e in context.dataset.items if e.path is None}
    rows = []
    for item in items:
        source = ItemId.parse(item.item_id).source
        event = fetched[source].get(item.item_id)
        if not with_media[source]:
            rows.append(_first_failure(context, item, outcomes))
        elif event is None:
            reason = "not downloaded yet" if item.item_id in remote else "not imported yet"
            rows.append(_row(item, reason, "fetch", ""))
        elif not event.media:
            rows.append(_row(item, event.reason, "fetch", event.detail))
        else:
            rows.append(_first_failure(context, item, outcomes))
    return rows


def summary(rows: Sequence[ItemCoverage]) -> dict[str, Any]:
    """Return counts: all, ok, and ok/all by split and by class, failures by reason."""
    return {
        "items": len(rows),
        "ok": sum(r.ok for r in rows),
        "reasons": dict(Counter(f"{r.stage}: {r.reason}" for r in rows if not r.ok)),
        "splits": _ratios((r.item.split or "none", r.ok) for r in rows),
        "classes": _ratios((label, r.ok) for r in rows for label in r.item.labels),
    }


def check_coverage(context: Context, rows: Sequence[ItemCoverage]) -> None:
    """Raise when too few items came through.

    Raises
    ------
    CoverageTooLow
        The share of good items is below [soundstage] min_coverage.
    """
    least = context.settings.run.min_coverage
    good = sum(r.ok for r in rows)
    if good < least * len(rows):
        reasons = Counter(r.reason for r in rows if not r.ok)
        said = ", ".join(f"{n} {reason}" for reason, n in reasons.most_common())
        raise CoverageTooLow(
            f"{context.dataset.name}: {good} of {len(rows)} items came through, below "
            f"min_coverage = {least}; the others: {said}. `soundstage status` lists them."
        )


def _row(item: DatasetItem, reason: str, stage: str, detail: str) -> ItemCoverage:
    return ItemCoverage(item=item, reason=reason, stage=stage, detail=detail)


def _all_stages(context: Context) -> list[str]:
    return sorted({stage for source in context.sources for stage in context.stages_of(source)})


def _stage_outcomes(context: Context, stage: str) -> dict[str, Outcome]:
    try:
        return context.store.outcomes(context.stages[stage].record.name)
    except StageNotFound:
        return {}


def _needed(context: Context, item: DatasetItem) -> list[str]:
    """Return the stages an item must come through, upstream first.

    Features are taken one by one: with that recipe an item counts as soon as its file is sound.
    """
    recipes = [r for r in context.recipes if not item.tasks or r in item.tasks]
    if not recipes:
        return ["probe"]
    closed = context.closure({s for r in recipes for s in stages_needed(r, context.settings)})
    return [s for s in context.stages if s in closed and s != POSE_EMBED]


def _first_failure(
    context: Context, item: DatasetItem, outcomes: dict[str, dict[str, Outcome]]
) -> ItemCoverage:
    for stage in _needed(context, item):
        outcome = outcomes.get(stage, {}).get(item.item_id)
        if outcome is None:
            missing = "not imported" if stage in context.imported else "not computed yet"
            return _row(item, missing, stage, "")
        if not outcome.ok and not outcome.reason.startswith(UPSTREAM):
            return _row(item, outcome.reason, stage, outcome.detail)
    return _row(item, "ok", "", "")


def _ratios(pairs: Any) -> dict[str, list[int]]:
    """Return name -> [ok, all] from (name, ok) pairs, names sorted."""
    good: Counter[str] = Counter()
    every: Counter[str] = Counter()
    for name, ok in pairs:
        every[name] += 1
        good[name] += ok
    return {name: [good[name], every[name]] for name in sorted(every)}
