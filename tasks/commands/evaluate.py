"""evaluate: a trained model's figures on another dataset, or on another snapshot."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from model.tribert.evaluation_config import (
    EVALUATION_VERSION,
    EvaluationConfig,
    evaluation_presets,
)
from tasks.commands.common import DATASET_HELP, Commands, add_json, print_json
from tasks.settings import SettingsError, load_settings

if TYPE_CHECKING:
    from model.jobs import EvaluateJob
    from storage.layout import Layout
    from storage.models import ModelRecord
    from storage.records import DatasetItem


def add(commands: Commands) -> None:
    """Add the subcommand to the parser."""
    command = commands.add_parser(
        "evaluate",
        help="score a trained model on another dataset's test items",
        description="Score a published TriBERT with its baselines, an AVVP or a retrieval scorer "
        "on test items whose features are in the store, publish the evaluation and print it.",
    )
    command.add_argument("--model", required=True, nargs="+", help="name; others stand beside it")
    command.add_argument("--dataset", required=True, help=DATASET_HELP)
    command.add_argument("--snapshot", help="digest of one in the store, not what is listed now")
    command.add_argument("--split", choices=("test", "val", "train", "all"), default="test")
    command.add_argument("--alone", action="store_true", help="without the TriBERT's baselines")
    command.add_argument("--skip-seen", action="store_true", help="leave out videos it has seen")
    command.add_argument("--skip-unknown", action="store_true", help="leave out other classes")
    command.add_argument("--any-class", action="store_true", help="separate other classes, too")
    command.add_argument(
        "--compute", action="store_true", help="compute what the model reads of the dataset first"
    )
    command.add_argument(
        "--protocol", choices=sorted(evaluation_presets), default="paper", help="of separation"
    )
    command.add_argument("--set", default="{}", help="settings on top of the protocol, as JSON")
    add_json(command)
    command.set_defaults(run=_run)


def _run(arguments: argparse.Namespace) -> int:
    from model.train.errors import TrainingError
    from storage.models import evaluation_complete, read_evaluation
    from tasks.child import run_module

    try:
        job, layout = _job(arguments)
    except TrainingError as error:
        raise SettingsError(f"evaluate: {error}") from error
    if not evaluation_complete(layout, job.name):
        job_file = job.to_json(job.out_dir / "job.json")
        run_module("model.evaluate_main", job_file, log=job.out_dir / "evaluate.log")
    results = read_evaluation(layout, job.name)
    if arguments.json:
        print_json({"evaluation": job.name, "results": results})
        return 0
    print(f"{layout.evaluation(job.name)}\n{_text(results)}", end="")
    return 0


def _job(arguments: argparse.Namespace) -> tuple[EvaluateJob, Layout]:
    from storage.layout import open_store
    from storage.store import FeatureStore
    from tasks import other_data

    settings = load_settings()
    layout = open_store(settings.run.root)
    model, *others = arguments.model
    record, served = other_data.described(layout, model)
    models = [model, *others]
    if record.recipe == "tribert" and not arguments.alone:
        models += other_data.published_baselines(layout, model)
    listed, name = _items(arguments, layout, record, other_data.recipe_of(served))
    items = other_data.test_items(listed, served, arguments.split, arguments.dataset)
    limits = other_data.Limits(
        skip_seen=arguments.skip_seen,
        skip_unknown=arguments.skip_unknown,
        any_class=arguments.any_class and record.recipe != "avvp",
    )
    items = other_data.allowed_items(layout, list(dict.fromkeys(models)), items, limits)
    if arguments.compute:
        _compute(arguments, record, other_data.recipe_of(served))
    items = other_data.present_items(FeatureStore(layout.root), record, items, arguments.dataset)
    version, configuration = _settings(arguments, record.recipe)
    job = other_data.job_on(
        layout,
        record,
        list(dict.fromkeys(models)),
        items,
        name,
        version=version,
        configuration=configuration,
        device=settings.run.device,
    )
    return job, layout


def _items(
    arguments: argparse.Namespace, layout: Layout, record: ModelRecord, recipe: str
) -> tuple[list[DatasetItem], str]:
    """Return the items of the dataset or snapshot, and the dataset's name in the store."""
    from tasks.context import load_context
    from tasks.other_data import snapshot_items
    from tasks.splits import items_with_splits

    if arguments.snapshot:
        if arguments.compute:
            raise SettingsError("evaluate: --compute computes a dataset; leave out --snapshot")
        name = arguments.dataset.replace(":", "-")
        return snapshot_items(layout, name, arguments.snapshot), name
    _read_poses_as(record)
    context = load_context(arguments.dataset, recipe)
    return items_with_splits(context), context.name


def _read_poses_as(record: ModelRecord) -> None:
    """Let the dataset's poses be embedded by the ST-GCN that the model knows, as in fine-tuning."""
    from luigi.configuration import get_config

    from tasks.context import POSE_EMBED

    if POSE_EMBED in record.stages:
        get_config().set("tribert", "initial", record.name)


def _compute(arguments: argparse.Namespace, record: ModelRecord, recipe: str) -> None:
    """Run the stages of the dataset; a failure says why and ends the command."""
    import luigi

    from tasks import cluster
    from tasks.context import POSE_EMBED
    from tasks.failures import quieten_luigi
    from tasks.features import Features
    from tasks.training import PoseEmbeddings

    cluster.prepare()
    quieten_luigi()
    kind = PoseEmbeddings if POSE_EMBED in record.stages else Features
    task = kind(dataset=arguments.dataset, recipe=recipe)
    if not luigi.build([task], local_scheduler=True, log_level="WARNING"):
        raise SettingsError(
            f"evaluate: the features of {arguments.dataset} could not be computed; see above"
        )


def _settings(arguments: argparse.Namespace, recipe: str) -> tuple[int, dict[str, Any]]:
    """Return the version of the figures and how they are taken."""
    from model.settings import settings_of_text

    given = settings_of_text(arguments.set)
    if recipe == "avvp":
        from model.avvp.config import EVALUATION_VERSION as PARSING_VERSION

        if given:
            raise SettingsError("evaluate: --set has no settings for parsing; leave it out")
        return PARSING_VERSION, {}
    if recipe == "retrieval":
        from model.retrieval.config import EVALUATION_VERSION as RETRIEVAL_VERSION
        from model.retrieval.config import EvaluationConfig as RetrievalConfig

        return RETRIEVAL_VERSION, RetrievalConfig.from_json(given).as_json()
    values = evaluation_presets[arguments.protocol].as_json() | given
    return EVALUATION_VERSION, EvaluationConfig.from_json(values).as_json()


def _text(results: dict[str, Any]) -> str:
    """Return the figures as lines of text."""
    if results["kind"] == "separation":
        from model.separation.table import table

        return table([results])
    if results["kind"] == "retrieval":
        from model.retrieval.evaluate import table as ranks

        return ranks(results) + "\n"
    lines = [results["note"]] if results["note"] else []
    for name, levels in results["rows"].items():
        for level, figures in levels.items():
            said = ", ".join(f"{key} {value:.1f}" for key, value in figures.items())
            lines.append(f"{name}, {level} level: {said}")
    return "\n".join(lines) + "\n"
