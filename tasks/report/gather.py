"""Collects what a report says: coverage, stages, models, evaluations, provenance.

Flows in: a context and the names of its evaluations. Flows out: a `ReportSpec`, and the report's
address, which changes when any of its content does.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from pipeline.work import provenance
from storage.fingerprint import sha256_json
from storage.models import read_evaluation
from tasks.context import POSE_EMBED, Context
from tasks.coverage import coverage, summary
from tasks.coverage_report import ids_sha256, published, used_ids
from tasks.parsing import published_tables
from tasks.pins import pinned_model
from tasks.report.spec import ReportSpec

REPORT_VERSION = 4


def gather(context: Context, evaluations: Sequence[str]) -> ReportSpec:
    """Return the content of a run's report."""
    rows = coverage(context)
    return ReportSpec(
        root=str(context.layout.root),
        dataset=context.dataset.name,
        recipe=context.recipe,
        reason=context.reason,
        notes=list(context.dataset.notes),
        coverage={
            **summary(rows),
            "used_sha256": ids_sha256(used_ids(rows)),
            "published": published(context.dataset, rows),
            "lists": dict(context.dataset.list_files),
        },
        rejected=[
            {"item": r.item.item_id, "stage": r.stage, "reason": r.reason, "detail": r.detail}
            for r in rows
            if not r.ok
        ],
        stages={s: _stages(context, s) for s in context.sources},
        models=_models(context, evaluations),
        evaluations=list(evaluations),
        parsing_tables=published_tables(context.layout, context.name),
        provenance={"versions": provenance(context.settings.run.device), "settings": _run(context)},
    )


def report_name(context: Context, evaluations: Sequence[str]) -> str:
    """Return `<dataset>-<recipe>-<digest>`: the digest covers everything the page says."""
    content = asdict(gather(context, evaluations))
    content.pop("root")
    digest = sha256_json({"version": REPORT_VERSION, "content": content})[:12]
    return f"{context.name}-{context.recipe}-{digest}"


def _stages(context: Context, source: str) -> list[dict[str, Any]]:
    names = list(context.stages_of(source))
    if context.needs_pose_embed(source):
        names.append(POSE_EMBED)
    rows = []
    for name in names:
        record = context.resolved(name).record
        outcomes = context.store.outcomes(record.name)
        counts = Counter(o.reason for i, o in outcomes.items() if i.startswith(f"{source}/"))
        rows.append({"name": record.name, "record": record.as_json(), "outcomes": dict(counts)})
    return rows


def _models(context: Context, evaluations: Sequence[str]) -> list[str]:
    names: list[str] = []
    if any(context.needs_pose_embed(s) for s in context.sources):
        pinned = pinned_model(context)
        names += [pinned] if pinned else []
    for evaluation in evaluations:
        names += _judged(read_evaluation(context.layout, evaluation))
    return list(dict.fromkeys(names))


def _judged(results: Mapping[str, Any]) -> list[str]:
    """Return the names of the models whose figures an evaluation holds."""
    if results["kind"] == "retrieval":
        return [row["model"] for row in results["rows"]]
    tested = results.get("models") or [results["model"]]
    return list(tested.values() if isinstance(tested, dict) else tested)


def _run(context: Context) -> dict[str, Any]:
    kept = asdict(context.settings.run)
    return {key: kept[key] for key in ("seed", "precision", "min_coverage", "min_items")}
