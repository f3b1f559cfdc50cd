"""`luigi --module tasks ReproduceParsingTables`: the parsing tables of Lamba et al., row by row.

In: a dataset, and what [parsing_tables] of luigi.cfg or the command line asks for. Out: every row
with every seed trained, evaluated and published, each by a task and in a process of its own; both
tables, published and printed.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import luigi

from model.avvp.rows import RECIPE, Ground, TableSpec, row_evaluation, row_jobs, table
from model.jobs import EvaluateJob, TrainJob
from storage.models import evaluation_complete
from tasks import cluster
from tasks.child import run_module
from tasks.context import Context, load_context
from tasks.failures import or_exit, quieten_luigi
from tasks.features import Features
from tasks.full import publish_views
from tasks.models import is_trained
from tasks.parsing import gathered, newer_items, publish_tables, table_ground, table_spec
from tasks.progress import announce
from tasks.training import ModelTask, Training, checked_job_file


class TableTask(ModelTask):
    """A task about the tables; what is left empty stands in [parsing_tables] of luigi.cfg."""

    recipe = luigi.Parameter(default=RECIPE)
    rows = luigi.Parameter(default="", description="rows, separated by ;")
    seeds = luigi.Parameter(default="", description="seeds, separated by commas")
    preset = luigi.Parameter(default="", description="of model/avvp/config.py")
    settings = luigi.Parameter(default="", description="settings of every row, as a JSON object")
    pretraining = luigi.Parameter(default="", description="the same of what rows start from")

    @property
    def spec(self) -> TableSpec:
        """What the tables shall hold."""
        return table_spec(
            self.context.settings.parsing_tables,
            rows=str(self.rows),
            seeds=str(self.seeds),
            preset=str(self.preset),
            settings=str(self.settings),
            pretraining=str(self.pretraining),
        )

    @property
    def ground(self) -> Ground:
        """What all rows are trained and tested on; the features must be complete."""
        return table_ground(self.context, self.spec, latest=self.latest)


class RowTask(TableTask):
    """A task about one row with one seed."""

    row = luigi.Parameter()
    seed = luigi.IntParameter()

    def jobs(self) -> tuple[TrainJob, ...]:
        """Return the trainings behind the row, in their order; the row's own is the last."""
        settings = self.context.settings
        jobs = row_jobs(
            self.ground,
            self.spec,
            str(self.row),
            int(self.seed),
            device=settings.run.device,
        )
        workers = settings.models[RECIPE].loader_workers
        return tuple(replace(job, loader_workers=workers) for job in jobs)


class TrainBefore(RowTask, Training):
    """A model that a row starts from, trained and published; `step` is its place in the order."""

    step = luigi.IntParameter()

    def requires(self) -> ModelTask | Features:
        """Return what comes before it: the features, or another model."""
        before = int(self.step) - 1
        return self.clone(TrainBefore, step=before) if before >= 0 else self.clone(Features)

    def job(self) -> TrainJob:
        """Return the trainer's job."""
        return self.jobs()[int(self.step)]


_WITH_FEATURES: set[Context] = set()
"""Runs of this process whose shards were seen complete: looking takes a while, rows are many."""


class ParsingRow(RowTask):
    """One row with one seed: trained and evaluated in a process of its own, and published."""

    def requires(self) -> Features:
        """Return the shards."""
        return self.clone(Features)

    def evaluation(self) -> EvaluateJob:
        """Return the evaluation of the row's model."""
        return row_evaluation(self.context.layout, self.jobs()[-1])

    def complete(self) -> bool:
        """Whether the shards are complete and the row's figures published."""
        context = self.context
        if context not in _WITH_FEATURES:
            if not self.requires().complete():
                return False
            _WITH_FEATURES.add(context)
        return evaluation_complete(context.layout, self.evaluation().name)

    def run(self) -> Iterator[TrainBefore]:
        """Train what the row starts from, then the row, and evaluate it.

        Raises
        ------
        tasks.child.ChildFailed
            Training or evaluation failed; the log says why.

        Besides, as `tasks.training.checked_job_file` does.
        """
        evaluation = self.evaluation()
        if evaluation_complete(self.context.layout, evaluation.name):
            return
        *before, own = self.jobs()
        if before and not is_trained(self.context, own):
            yield self.clone(TrainBefore, step=len(before) - 1)
        run_module(
            "model.avvp.row_main",
            checked_job_file(self.context, own),
            evaluation.to_json(evaluation.out_dir / "job.json"),
            log=own.run_dir / "train.log",
        )
        announce(f"{self.row}, seed {self.seed}", f"{own.name}, {evaluation.name}")


class ReproduceParsingTables(TableTask):
    """Both tables of the paper, segment and event level, every row over several seeds."""

    dataset = luigi.Parameter(default="llp", description="llp, synthllp:SIZE, folder:PATH, demo")
    snapshot = luigi.ChoiceParameter(
        choices=["kept", "latest"],
        default="kept",
        description="latest: train on the items that are newer than finished rows, too",
    )

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._finished = False
        cluster.prepare()
        quieten_luigi()
        or_exit(lambda: load_context(str(self.dataset), str(self.recipe)))
        or_exit(lambda: self.spec)

    def requires(self) -> list[ParsingRow]:
        """Return a task for each row and seed."""
        spec = self.spec
        return [
            self.clone(ParsingRow, row=row, seed=seed) for row in spec.rows for seed in spec.seeds
        ]

    def complete(self) -> bool:
        """Whether this run has printed the tables: it always does."""
        return self._finished

    def run(self) -> None:
        """Gather the figures, publish both tables and print them."""
        context, ground = self.context, self.ground
        results = gathered(ground, self.spec)
        path = publish_tables(context.layout, results)
        publish_views(context)
        print(table(results), end="", flush=True)
        if newer := newer_items(context, ground):
            announce(
                "tables",
                f"{newer} item(s) are newer than their snapshot (--snapshot latest trains on them)",
            )
        announce("tables", str(path))
        self._finished = True
