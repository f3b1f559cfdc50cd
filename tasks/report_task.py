"""The Luigi task that gathers a run's results and renders its report."""

from __future__ import annotations

from pathlib import Path

import luigi

from storage.atomic import publish_directory
from tasks.beside import wants_retrieval
from tasks.child import run_module
from tasks.context import Context
from tasks.features import Features
from tasks.report.gather import gather, report_name
from tasks.training import Evaluate, EvaluateRetrieval, Evaluation, ModelTask


class Report(ModelTask):
    """One self-contained HTML page on a run."""

    def requires(self) -> list[luigi.Task]:
        """Return the evaluations, or the features alone where nothing is trained."""
        recipes = self.context.recipes
        evaluations: list[luigi.Task] = [self.clone(Evaluate, model=each) for each in recipes]
        if wants_retrieval(self.context):
            evaluations.append(self.clone(EvaluateRetrieval))
        return evaluations or [self.clone(Features)]

    def complete(self) -> bool:
        """Whether a page with exactly this content is published."""
        return all(t.complete() for t in self.requires()) and self.path().exists()

    def path(self) -> Path:
        """Return where the page is."""
        return self._layout_dir(self.context) / "report.html"

    def run(self) -> None:
        """Gather, render in a process of its own, publish."""
        context = self.context
        final = self._layout_dir(context)
        work = context.layout.run(final.name)
        work.mkdir(parents=True, exist_ok=True)
        spec = gather(context, self._evaluations())
        spec.to_json(work / "spec.json")
        run_module("tasks.report.render", work / "spec.json", work, log=work / "render.log")
        publish_directory(final, work)

    def _evaluations(self) -> list[str]:
        return [task.results() for task in self.requires() if isinstance(task, Evaluation)]

    def _layout_dir(self, context: Context) -> Path:
        return context.layout.report(report_name(context, self._evaluations()))
