"""What a run would do, and why: for each stage and model, and which field of it differs.

Flows in: a context. Flows out: rows for a table or for JSON. Nothing is started.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from rich.console import Console
from rich.table import Table

from model.jobs import TrainJob
from model.retrieval.jobs import KINDS
from storage import StageRecord
from storage.models import ModelRecord
from tasks.beside import (
    TRIBERT,
    baseline_job,
    baseline_systems,
    kind_name,
    scorer_job,
    wants_retrieval,
)
from tasks.context import POSE_EMBED, Context
from tasks.ingest import pending_imports, unplanned
from tasks.models import POSE_MODEL, draft_job, is_trained, published_records, wants_control
from tasks.pending import pending, shards_with_items
from tasks.pins import pinned_model
from tasks.records import read_stage_records
from tasks.snapshots import choose


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One line: a stage of a source, or a model, and what a run would do with it.

    `state` is 'done', 'run' or 'waits'; `why` are the reasons; `differs` the fields in which its
    fingerprint differs from the newest one that the store holds.
    """

    kind: str
    name: str
    source: str
    state: str
    items: int
    why: tuple[str, ...] = ()
    differs: tuple[str, ...] = ()

    def as_json(self) -> dict[str, Any]:
        """Return JSON values."""
        return asdict(self)


def explain(context: Context, *, latest: bool = False) -> list[Row]:
    """Return what a run would do, in the order in which it would do it."""
    rows = [_import_row(context, source) for source in context.sources]
    for source in context.sources:
        rows += [_stage_row(context, source, stage) for stage in context.stages_of(source)]
    if any(context.needs_pose_embed(s) for s in context.sources):
        rows.append(_pose_model_row(context))
        rows += [
            _stage_row(context, source, POSE_EMBED)
            for source in context.sources
            if context.needs_pose_embed(source)
        ]
    stages_run = any(r.state != "done" for r in rows)
    for recipe in context.recipes:
        controls = (False, True) if wants_control(context, recipe) else (False,)
        rows += [
            _model_row(context, recipe, permuted, stages_run, latest=latest)
            for permuted in controls
        ]
    return rows + beside_rows(context, rows)


def _import_row(context: Context, source: str) -> Row:
    todo = len(pending_imports(context, source)) + len(unplanned(context, source))
    return Row(
        kind="stage",
        name="fetch",
        source=source,
        state="run" if todo else "done",
        items=todo,
        why=("new, changed or to be tried again",) if todo else (),
    )


def _stage_row(context: Context, source: str, stage: str) -> Row:
    try:
        resolved = context.resolved(stage)
    except LookupError as error:
        return Row(
            kind="stage", name=stage, source=source, state="waits", items=0, why=(str(error),)
        )
    shards = shards_with_items(context, source)
    reasons = Counter(why for shard in shards for why in pending(context, stage, shard).values())
    todo = sum(reasons.values())
    return Row(
        kind="stage",
        name=resolved.record.name,
        source=source,
        state="run" if todo else "done",
        items=todo,
        why=tuple(f"{n} {why}" for why, n in sorted(reasons.items())),
        differs=_stage_differences(context, resolved.record) if reasons["missing"] else (),
    )


def _stage_differences(context: Context, record: StageRecord) -> tuple[str, ...]:
    """Return how `record` differs from the nearest one of its stage that has shards."""
    known = [r for r in read_stage_records(context.layout, record.stage) if r != record]
    if context.layout.stage_dir(record.name).exists() or not known:
        return ()
    return min((tuple(old.differences(record)) for old in known), key=len)


def _pose_model_row(context: Context) -> Row:
    name = pinned_model(context)
    if name is not None:
        return Row(kind="model", name=name, source=context.name, state="done", items=0)
    draft = draft_job(context, POSE_MODEL).record
    return Row(
        kind="model",
        name=POSE_MODEL,
        source=context.name,
        state="run",
        items=0,
        why=("no ST-GCN is pinned for these settings",),
        differs=_model_differences(context, draft),
    )


def _model_row(
    context: Context, recipe: str, permuted: bool, stages_run: bool, *, latest: bool
) -> Row:
    title = f"{recipe} (permuted labels)" if permuted else recipe
    try:
        job = draft_job(context, recipe, permuted=permuted)
    except LookupError as error:
        return Row(
            kind="model",
            name=title,
            source=context.name,
            state="run",
            items=0,
            why=(f"after the stages: {error}",),
        )
    choice = choose(context, job.record, recipe, latest=latest, write=False)
    if choice.model is not None:
        newer = (f"{choice.newer_items} item(s) newer than its snapshot",)
        return Row(
            kind="model",
            name=choice.model,
            source=context.name,
            state="done",
            items=0,
            why=newer if choice.newer_items else (),
        )
    complete = not stages_run and choice.snapshot and is_trained(context, _with(job, choice))
    return Row(
        kind="model",
        name=title,
        source=context.name,
        state="done" if complete else "run",
        items=0,
        why=() if complete else ("no model for this snapshot, configuration and stages",),
        differs=() if complete else _model_differences(context, job.record),
    )


def beside_rows(context: Context, rows: Sequence[Row]) -> list[Row]:
    """Return what a run would do about baselines and retrieval, once its TriBERT is there."""
    done = [row.name for row in rows if row.kind == "model" and row.state == "done"]
    tribert = next((name for name in done if name.startswith(f"{TRIBERT}-")), None)
    jobs: dict[str, TrainJob | None] = {
        f"baseline {system}": baseline_job(context, tribert, system) if tribert else None
        for system in baseline_systems(context)
    }
    if wants_retrieval(context):
        jobs |= {
            f"retrieval ({kind_name(kind)})": scorer_job(context, tribert, kind)
            if tribert
            else None
            for kind in range(len(KINDS))
        }
    return [_beside_row(context, title, job) for title, job in jobs.items()]


def _beside_row(context: Context, title: str, job: TrainJob | None) -> Row:
    done = job is not None and is_trained(context, job)
    return Row(
        kind="model",
        name=job.name if job is not None and done else title,
        source=context.name,
        state="done" if done else "run",
        items=0,
        why=() if done else ("no model beside this TriBERT" if job else "after its TriBERT",),
    )


def _with(job: Any, choice: Any) -> Any:
    from dataclasses import replace

    return replace(job, snapshot=choice.snapshot)


def _model_differences(context: Context, draft: ModelRecord) -> tuple[str, ...]:
    """Return how `draft` differs from the nearest published model of its kind."""
    known = published_records(context, draft.recipe)
    if not known:
        return ()
    found = min((tuple(old.differences(draft)) for old in known), key=len)
    return tuple(d for d in found if not d.startswith("snapshot:")) or (
        "snapshot: labels, splits or items changed",
    )


def print_table(rows: Sequence[Row]) -> None:
    """Print the rows as a table, or one sentence when nothing would run."""
    console = Console(highlight=False)
    if all(row.state == "done" for row in rows):
        console.print("Nothing would run: every stage and model is there.")
    table = Table("", "stage or model", "source", "items", "why", "differs in")
    mark = {"done": "[green]done[/green]", "run": "[bold]run[/bold]", "waits": "waits"}
    for row in rows:
        table.add_row(
            mark[row.state],
            row.name,
            row.source,
            str(row.items or ""),
            "\n".join(row.why),
            "\n".join(row.differs),
        )
    console.print(table)
