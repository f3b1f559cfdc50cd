"""FullPipeline: from a dataset's name to shards, models, figures and a report."""

from __future__ import annotations

from typing import Any

import luigi

from storage.views import write_source_view
from tasks import cluster
from tasks.context import POSE_EMBED, Context, load_context
from tasks.coverage import check_coverage, coverage
from tasks.failures import or_exit, quieten_luigi
from tasks.features import Features
from tasks.ingest import check_downloads
from tasks.progress import announce
from tasks.report_task import Report
from tasks.training import NEWER, ModelTask

_ANNOUNCED: set[str] = set()
"""Datasets whose recipe this process has said: Luigi makes its root task more than once."""


class FullPipeline(ModelTask):
    """One command from a dataset to trained, evaluated models and a report."""

    dataset = luigi.Parameter(
        default="demo",
        description="demo, synthmusic:SIZE, folder:PATH, csv:PATH, music21, music, llp, "
        "synthllp:SIZE, audioset",
    )
    recipe = luigi.Parameter(
        default="", description="features, tribert, avvp or all; default: what suits the dataset"
    )
    snapshot = luigi.ChoiceParameter(
        choices=["kept", "latest"],
        default="kept",
        description="latest: train on the items that are newer than a finished model, too",
    )
    dry_run = luigi.BoolParameter(
        default=False, description="only say what would run", significant=False
    )

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._finished = False
        cluster.prepare()
        quieten_luigi()
        context = or_exit(lambda: load_context(str(self.dataset), str(self.recipe)))
        if context.name not in _ANNOUNCED:
            _ANNOUNCED.add(context.name)
            announce(context.dataset.name, context.reason)

    def requires(self) -> list[luigi.Task]:
        """Return the report, which needs all the rest; nothing for a dry run."""
        if self.dry_run:
            return []
        return [self.clone(Features), self.clone(Report)]

    def complete(self) -> bool:
        """Whether this run has said its last words: it always has some."""
        return self._finished

    def run(self) -> None:
        """Say what would run, or check what came out and say where it is."""
        context = self.context
        if self.dry_run:
            from tasks.explain import explain, print_table

            print_table(explain(context, latest=self.latest))
        else:
            publish_views(context)
            rows = coverage(context)
            good = sum(r.ok for r in rows)
            announce("coverage", f"{good} of {len(rows)} items came through")
            for model, count in NEWER.items():
                announce(
                    "model",
                    f"{model} is kept; {count} item(s) are newer than its snapshot "
                    "(--snapshot latest trains on them)",
                )
            announce("report", str(self.clone(Report).path()))
            check_downloads(context)
            check_coverage(context, rows)
        self._finished = True


def publish_views(context: Context) -> None:
    """Record which fingerprint of each stage a reader gets when it names the stage alone."""
    for source in context.sources:
        view = {s: context.stages[s].record.fingerprint for s in context.stages_of(source)}
        if context.needs_pose_embed(source):
            view[POSE_EMBED] = context.resolved(POSE_EMBED).record.fingerprint
        write_source_view(context.layout, source, view)
