"""Luigi tasks from files to shards: ingest, one task per (stage, source, shard), and their sum."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path

import luigi

from pipeline.download.pace import host_name
from pipeline.stages import STAGES, ResolvedStage
from pipeline.work import ItemJob, provenance
from storage.plan import PlanShard
from storage.records import MISSING_FILE, Outcome
from storage.shard_writer import write_shard
from storage.staging import read_staged, stage_failure
from tasks import cluster
from tasks.context import POSE_EMBED, Context, load_context
from tasks.failures import say
from tasks.ingest import check_downloads, ingest, is_ingested, media_refs
from tasks.pending import pending, plan_shard, shards_with_items
from tasks.progress import announce, track
from tasks.rates import keep_rate
from tasks.schemas import shard_schema
from tasks.settings import worker_count


class RunTask(luigi.Task):
    """A task of one run: it knows the dataset and the recipe it works for."""

    dataset = luigi.Parameter()
    recipe = luigi.Parameter(default="")

    @property
    def context(self) -> Context:
        """The run's facts, the same in every process."""
        return load_context(str(self.dataset), str(self.recipe))

    def on_failure(self, exception: BaseException) -> str:
        """Say what went wrong, once and in plain words."""
        return say(exception)


class Ingest(RunTask):
    """Fetch the dataset's videos, plan their shards, write the dataset's view."""

    def process_resources(self) -> dict[str, int]:
        """Return what downloads need: one process of a machine at a time has its address."""
        context = self.context
        wanted = (e for s in context.sources if context.needs_media(s) for e in context.items_of(s))
        downloads = any(entry.url for entry in wanted)
        return {f"youtube-{host_name()}": 1} if downloads else {}

    def complete(self) -> bool:
        """Whether every item has its fetch outcome and its place in the plan."""
        return is_ingested(self.context)

    def run(self) -> None:
        """Import or download what is new or changed; go on with what is there."""
        summary = ingest(self.context)
        if summary.counts:
            said = ", ".join(f"{n} {reason}" for reason, n in sorted(summary.counts.items()))
            announce("fetch", said)
        if not any(media_refs(self.context.layout, source) for source in self.context.sources):
            check_downloads(self.context)
        if summary.stopped:
            announce("fetch", f"{summary.pending} items are still to be fetched; going on without")


class StageShard(RunTask):
    """One stage of one shard; its items go through Dask."""

    stage = luigi.Parameter()
    source = luigi.Parameter()
    number = luigi.IntParameter()

    @property
    def plan(self) -> PlanShard:
        """The items of the shard."""
        return plan_shard(self.context, str(self.source), int(self.number))

    def requires(self) -> list[StageShard]:
        """Return the stages that this one is computed from, for the same shard.

        And those of the same decode that stand before it: they leave its rows staged.
        """
        before = one_decode(self.context, str(self.stage), str(self.source))[0]
        imported = str(self.stage) in self.context.imported
        inputs = () if imported else STAGES[str(self.stage)].inputs
        names = dict.fromkeys((*inputs, *before))
        return [self.clone(StageShard, stage=name) for name in names]

    def complete(self) -> bool:
        """Whether no item of the shard is missing, stale or to be tried again."""
        if str(self.stage) == POSE_EMBED and not _pose_embed_ready(self.context):
            return False
        return not pending(self.context, str(self.stage), self.plan)

    def run(self) -> None:
        """Compute the pending items and publish them as a shard or as a supplement."""
        compute_shard(self.context, str(self.stage), self.plan)


class Features(RunTask):
    """Every stage but pose_embed, for every shard of the dataset."""

    def requires(self) -> Ingest:
        """Return the import, which makes the plan."""
        return self.clone(Ingest)

    def shards(self) -> list[StageShard]:
        """Return a task for each stage and shard, as far as the plan is known."""
        context = self.context
        return [
            self.clone(StageShard, stage=stage, source=source, number=shard.number)
            for source in context.sources
            for shard in shards_with_items(context, source)
            for stage in context.stages_of(source)
        ]

    def complete(self) -> bool:
        """Whether the import and every shard are complete."""
        return self.clone(Ingest).complete() and all(t.complete() for t in self.shards())

    def run(self) -> Iterator[list[StageShard]]:
        """Hand the shards to the scheduler: they are known only now."""
        yield self.shards()


def one_decode(
    context: Context, stage: str, source: str
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the source's other stages of the same decode: those before `stage`, those after it."""
    word = STAGES[stage].decode
    if not word:
        return (), ()
    names = [name for name in context.stages_of(source) if STAGES[name].decode == word]
    if stage not in names:
        return (), ()
    at = names.index(stage)
    return tuple(names[:at]), tuple(names[at + 1 :])


def _pose_embed_ready(context: Context) -> bool:
    try:
        context.resolved(POSE_EMBED)
    except LookupError:
        return False
    return True


def compute_shard(context: Context, stage: str, shard: PlanShard) -> Counter[str]:
    """Run a stage over the pending items of a shard and publish the result; count reasons.

    What stands finished in the staging folder is not computed again: a killed run left it there,
    or another stage of the same decode.
    """
    resolved = context.resolved(stage)
    name = resolved.record.name
    todo = pending(context, stage, shard)
    absent = _stage_absent(context, name, shard, todo)
    every = _with_others(context, stage, shard, _jobs(context, resolved, shard, todo))
    jobs = [job for job in every if not _is_staged(job)]
    title = f"{stage} {shard.source}/{shard.number}"
    began = time.monotonic()
    counts: Counter[str] = Counter()
    counts["staged before"] = len(every) - len(jobs)
    counts[MISSING_FILE] = absent
    for outcome in track(cluster.run_outcomes(jobs, context.settings.run), title, len(jobs)):
        counts[outcome.reason] += 1
    write_shard(
        context.layout,
        resolved.record,
        shard.source,
        shard.number,
        [item_id for item_id in shard.item_ids if item_id in todo],
        supplement=_next_supplement(context, name, shard),
        provenance=provenance(context.settings.run.device),
        schema=shard_schema(
            resolved,
            [Path(job.staged_path) for job in every],
            context.settings.run,
            store_root=context.layout.root,
        ),
    )
    took_s = time.monotonic() - began
    keep_rate(context, name, shard.source, [job.media.item_id for job in jobs], took_s)
    said = ", ".join(f"{n} {reason}" for reason, n in sorted(counts.items()) if n)
    announce(title, f"{said} in {took_s:.1f} s ({len(jobs) / max(took_s, 1e-9):.2f} items/s)")
    return counts


def _jobs(
    context: Context, resolved: ResolvedStage, shard: PlanShard, todo: Iterable[str]
) -> list[ItemJob]:
    media = media_refs(context.layout, shard.source)
    layout, name = context.layout, resolved.record.name
    return [
        ItemJob(
            stage=resolved,
            media=media[item_id],
            store_root=str(layout.root),
            staged_path=str(layout.staged_item(name, shard.source, shard.number, item_id)),
            timeout_s=context.settings.run.item_timeout_s,
            device=context.settings.run.device,
            alone=worker_count(context.settings.run) == 1,
        )
        for item_id in todo
        if item_id in media
    ]


def _stage_absent(context: Context, name: str, shard: PlanShard, todo: Iterable[str]) -> int:
    """Stage the outcome of items that are planned and have no media; return how many there are.

    Their features were imported. When a video comes it is newer than the outcome, which counts no
    bytes, and so it is computed.
    """
    media = media_refs(context.layout, shard.source)
    absent = [item_id for item_id in todo if item_id not in media]
    for item_id in absent:
        outcome = Outcome(item_id=item_id, reason=MISSING_FILE, detail="no video of it is here")
        path = context.layout.staged_item(name, shard.source, shard.number, item_id)
        stage_failure(path, outcome, "")
    return len(absent)


def _with_others(
    context: Context, stage: str, shard: PlanShard, jobs: list[ItemJob]
) -> list[ItemJob]:
    """Return the jobs, each with those that the same decode does by the way."""
    others: dict[str, list[ItemJob]] = {job.media.item_id: [] for job in jobs}
    for name in one_decode(context, stage, shard.source)[1]:
        todo = [i for i in pending(context, name, shard) if i in others]
        for job in _jobs(context, context.resolved(name), shard, todo):
            if not _is_staged(job):
                others[job.media.item_id].append(job)
    return [replace(job, also=tuple(others[job.media.item_id])) for job in jobs]


def _is_staged(job: ItemJob) -> bool:
    """Whether the job has been finished on the same bytes."""
    path = Path(job.staged_path)
    if not path.exists():
        return False
    staged = read_staged(path)
    return staged.outcome.ok and staged.media_sha256 == job.stage.input_sha256(job.media)


def _next_supplement(context: Context, name: str, shard: PlanShard) -> int:
    """Return 0 for a shard that is not there yet, else the number of its next supplement."""
    number = 0
    while context.layout.shard(name, shard.source, shard.number, number).exists():
        number += 1
    return number
