"""Luigi tasks from shards to models and figures: ST-GCN, TriBERT, AVVP, what stands beside them.

Training and evaluation run in processes of their own, so that the scheduler stays light and a
trainer may have loader workers.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator
from pathlib import Path

import luigi

from model.jobs import EvaluateJob, TrainJob
from model.retrieval.jobs import KINDS
from storage.models import evaluation_complete
from tasks.beside import TRIBERT, baseline_job, baseline_systems, retrieval_job, scorer_job
from tasks.child import run_module
from tasks.context import POSE_EMBED, Context, stages_needed
from tasks.coverage import check_coverage, coverage
from tasks.features import Features, RunTask, StageShard
from tasks.models import (
    POSE_MODEL,
    chosen_job,
    evaluation_job,
    is_trained,
    wants_control,
)
from tasks.pending import shards_with_items
from tasks.pins import pin_model, pinned_model
from tasks.progress import announce
from tasks.snapshots import check_enough, check_leaks, read_items


def checked_job_file(context: Context, job: TrainJob) -> Path:
    """Write a job that can be trained into its run directory; return the file.

    Raises
    ------
    tasks.coverage.CoverageTooLow
        Fewer items came through than min_coverage asks for.
    tasks.snapshots.LeakedTestVideos
        The lists train on videos that they test on.
    tasks.snapshots.TooFewItems
        A class or a split has too few items.
    """
    check_coverage(context, coverage(context))
    items = read_items(context, job)
    check_leaks(context, items)
    check_enough(context, job.recipe, items)
    return job.to_json(job.run_dir / "job.json")


class ModelTask(RunTask):
    """A task about a model; `snapshot` is 'kept' or 'latest', `repin` retrains the ST-GCN."""

    snapshot = luigi.Parameter(default="kept")
    repin = luigi.BoolParameter(default=False)

    @property
    def latest(self) -> bool:
        """Whether to train on the newest items."""
        return str(self.snapshot) == "latest"

    def train(self, job: TrainJob) -> None:
        """Train a model in a process of its own.

        Raises
        ------
        tasks.child.ChildFailed
            The trainer failed; its log says why.

        Besides, as `checked_job_file` does.
        """
        job_file = checked_job_file(self.context, job)
        run_module("model.train.main", job_file, log=job.run_dir / "train.log")
        announce("trained", job.name)


_REPINNED: set[str] = set()
"""Pins renewed by this process: --repin trains once a run."""


class PoseModel(ModelTask):
    """The ST-GCN that embeds the dataset's poses: trained once and pinned."""

    def requires(self) -> Features:
        """Return the shards, poses among them."""
        return self.clone(Features)

    def complete(self) -> bool:
        """Whether the shards are complete and an ST-GCN is pinned for these settings."""
        return self.requires().complete() and self._is_pinned()

    def _is_pinned(self) -> bool:
        renew = bool(self.repin) and str(self.dataset) not in _REPINNED
        return not renew and pinned_model(self.context) is not None

    def run(self) -> None:
        """Train the ST-GCN and pin it, unless one is pinned: new items do not move it."""
        if self._is_pinned():
            return
        job, _ = chosen_job(self.context, POSE_MODEL, latest=bool(self.repin))
        if not is_trained(self.context, job):
            self.train(job)
        pin_model(self.context, job.name)
        _REPINNED.add(str(self.dataset))


class PoseEmbeddings(ModelTask):
    """pose_embed for every shard whose items a recipe reads it of."""

    def requires(self) -> PoseModel:
        """Return the ST-GCN."""
        return self.clone(PoseModel)

    def shards(self) -> list[StageShard]:
        """Return a task for each shard."""
        context = self.context
        return [
            self.clone(StageShard, stage=POSE_EMBED, source=source, number=shard.number)
            for source in context.sources
            if context.needs_pose_embed(source)
            for shard in shards_with_items(context, source)
        ]

    def complete(self) -> bool:
        """Whether the model is pinned and every shard complete."""
        return self.clone(PoseModel).complete() and all(t.complete() for t in self.shards())

    def run(self) -> Iterator[list[StageShard]]:
        """Hand the shards to the scheduler: they are known only now."""
        yield self.shards()


class Training(ModelTask):
    """One model of the run, trained and published."""

    @abstractmethod
    def job(self) -> TrainJob:
        """Return the trainer's job; what it needs must be complete."""

    def complete(self) -> bool:
        """Whether what the model needs is complete and the model is published."""
        needs = luigi.task.flatten(self.requires())
        return all(t.complete() for t in needs) and is_trained(self.context, self.job())

    def run(self) -> None:
        """Train, or go on with an unfinished run of the same fingerprint."""
        job = self.job()
        if not is_trained(self.context, job):
            self.train(job)


class TrainModel(Training):
    """The model of a recipe; `permuted` is AVVP's control, trained on permuted labels."""

    model = luigi.Parameter()
    permuted = luigi.BoolParameter(default=False)

    def requires(self) -> RunTask:
        """Return what makes the shards that the recipe reads."""
        learned = POSE_EMBED in stages_needed(str(self.model))
        return self.clone(PoseEmbeddings if learned else Features)

    def job(self) -> TrainJob:
        """Return the trainer's job, its snapshot chosen by what the store holds now."""
        job, choice = chosen_job(
            self.context, str(self.model), latest=self.latest, permuted=bool(self.permuted)
        )
        if choice.newer_items and not self.permuted:
            note_newer(job.name, choice.newer_items)
        return job


class TrainBaseline(Training):
    """A baseline of the run's TriBERT, trained with its clips, mixes, steps and batch."""

    system = luigi.Parameter()

    def requires(self) -> TrainModel:
        """Return the TriBERT that it stands beside."""
        return self.clone(TrainModel, model=TRIBERT)

    def job(self) -> TrainJob:
        """Return the trainer's job, on the TriBERT's snapshot and stages."""
        return baseline_job(self.context, self.requires().job().name, self.system)


class TrainScorer(Training):
    """What finds clips by one kind of the run's TriBERT's embeddings."""

    kind = luigi.IntParameter(description="position in model.retrieval.jobs.KINDS")

    def requires(self) -> TrainModel:
        """Return the TriBERT whose embeddings it reads."""
        return self.clone(TrainModel, model=TRIBERT)

    def job(self) -> TrainJob:
        """Return the trainer's job, on the TriBERT's snapshot and stages."""
        return scorer_job(self.context, self.requires().job().name, int(self.kind))


class Evaluation(ModelTask):
    """Figures of trained models on the test items of their snapshot, published."""

    @abstractmethod
    def requires(self) -> list[Training]:
        """Return the models, the one under test first."""

    @abstractmethod
    def job(self) -> EvaluateJob:
        """Return the evaluator's job; the models must be published."""

    def complete(self) -> bool:
        """Whether the results are published."""
        return all(t.complete() for t in self.requires()) and evaluation_complete(
            self.context.layout, self.results()
        )

    def results(self) -> str:
        """Return the name of the evaluation in the store."""
        return self.job().name

    def run(self) -> None:
        """Evaluate in a process of its own."""
        job = self.job()
        if evaluation_complete(self.context.layout, job.name):
            return
        job_file = job.to_json(job.out_dir / "job.json")
        run_module("model.evaluate_main", job_file, log=job.out_dir / "evaluate.log")
        announce("evaluated", job.name)


class Evaluate(Evaluation):
    """A recipe's model and what stands beside it: a control, or TriBERT's baselines."""

    model = luigi.Parameter()

    def requires(self) -> list[Training]:
        """Return the model and, where dataset or settings ask for them, those beside it."""
        tasks: list[Training] = [self.clone(TrainModel)]
        if wants_control(self.context, str(self.model)):
            tasks.append(self.clone(TrainModel, permuted=True))
        if str(self.model) == TRIBERT:
            systems = baseline_systems(self.context)
            tasks += [self.clone(TrainBaseline, system=system) for system in systems]
        return tasks

    def job(self) -> EvaluateJob:
        """Return the evaluator's job."""
        jobs = [task.job() for task in self.requires()]
        return evaluation_job(self.context, str(self.model), jobs)


class EvaluateRetrieval(Evaluation):
    """Every test clip looked for among all, by each kind of embeddings."""

    def requires(self) -> list[Training]:
        """Return a scorer for each kind of embeddings."""
        return [self.clone(TrainScorer, kind=kind) for kind in range(len(KINDS))]

    def job(self) -> EvaluateJob:
        """Return the evaluator's job."""
        return retrieval_job(self.context, [task.job().name for task in self.requires()])


NEWER: dict[str, int] = {}
"""Model -> usable items that its snapshot does not hold, as this run found them."""


def note_newer(model: str, count: int) -> None:
    """Remember for the run's last words that a kept model is older than some items."""
    NEWER[model] = count
