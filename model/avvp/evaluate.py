"""Parsing figures of trained models on the test items of a snapshot, beside what they must beat.

In: an `EvaluateJob` for 'parsing'; its first model is the one under test. Out: `results.json` in
the job's folder, with rows of figures, F of every class and timelines to look at.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import ceil
from typing import Any

import numpy as np

from model.avvp import baselines
from model.avvp.config import row_name
from model.avvp.data import Clip, event_array, load_clips
from model.avvp.metrics import LEVELS, class_f, parsing_scores
from model.avvp.parse import MODALITIES, Model, event_list, load_model, parse_clips, stacked
from model.avvp.views import GATES, class_views
from model.jobs import EvaluateJob
from model.train.errors import RecipeError
from pipeline.datasets.base import video_of
from storage.models import RESULTS_FILE, read_snapshot
from storage.records import DatasetItem, Event
from storage.store import FeatureStore

EXAMPLES = 6
ORACLE = "weak-tag oracle"
NOTHING = "predict nothing"

Answers = Sequence[np.ndarray]
"""Events per clip, uint8 (modality, class, second)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TestSet:
    """The clips to answer for, their items, and which could not be read."""

    clips: list[Clip]
    items: list[DatasetItem]
    missing: dict[str, str]
    classes: tuple[str, ...]
    training_items: list[DatasetItem]

    @property
    def dense(self) -> bool:
        """Whether the clips have dense events to compare with."""
        return bool(self.items) and self.items[0].events is not None


def evaluate(job: EvaluateJob) -> dict[str, Any]:
    """Compute the job's results, write them into `job.out_dir`, and return them.

    Test items without dense events are left out where others have some; where none has, there are
    no figures, but a note that says so, and the predictions of the examples.

    Raises
    ------
    RecipeError
        No test clip can be used, the models do not know the same classes, or one of them learnt
        from a test video.
    ItemNotFound
        A model is not published.
    """
    store = FeatureStore(job.store_root)
    models = [load_model(store.layout, name) for name in job.models]
    test = _test_set(job, store, models)
    answers = {_row(model, models[0]): parse_clips(model, test.clips) for model in models}
    named = {_row(model, models[0]): model.name for model in models}
    figures = _figures(test, answers | _baselines(test)) if test.dense else {}
    views = {_row(model, models[0]): _views(test, model) for model in models} if test.dense else {}
    results = {
        "kind": "parsing",
        "models": named,
        "classes": list(test.classes),
        "rows": figures.get("rows", {}),
        "per_class": figures.get("per_class", {}),
        "views": views,
        "note": _note(test),
        "gate": models[0].config.gate,
        "items": [clip.item_id for clip in test.clips],
        "missing": test.missing,
        "examples": _examples(test, answers[_row(models[0], models[0])]),
    }
    job.out_dir.mkdir(parents=True, exist_ok=True)
    text = json.dumps(results, indent=1, allow_nan=False)
    (job.out_dir / RESULTS_FILE).write_text(text + "\n")
    return results


def _row(model: Model, first: Model) -> str:
    """Return the name of a model's row: what it is, or its published name."""
    if model.config.label_permutation:
        return f"{row_name(model.config)}, permuted labels"
    return row_name(model.config) if model is first else model.name


def _test_set(job: EvaluateJob, store: FeatureStore, models: Sequence[Model]) -> TestSet:
    classes = models[0].classes
    for model in models[1:]:
        if model.classes != classes:
            raise RecipeError(
                f"{model.name} knows the classes {', '.join(model.classes)}, {models[0].name} "
                f"{', '.join(classes)}: compare models of one snapshot"
            )
    items = [
        item
        for item in read_snapshot(store.layout, job.dataset, job.snapshot)
        if not item.tasks or "avvp" in item.tasks
    ]
    test = [item for item in items if item.split == "test"]
    chosen = [item for item in test if item.events is not None] or test
    _check_labels(chosen, classes, models[0].name)
    for model in models:
        _check_unseen(chosen, model)
    clips, missing = load_clips(store, job.stages, chosen, classes)
    if not clips:
        said = next((f": {item}: {why}" for item, why in missing.items()), "; the split is empty")
        raise RecipeError(f"{job.name}: no test clip can be used{said}")
    by_id = {item.item_id: item for item in chosen}
    return TestSet(
        clips=clips,
        items=[by_id[clip.item_id] for clip in clips],
        missing=missing,
        classes=classes,
        training_items=[item for item in items if item.split == "train"],
    )


def _check_labels(items: Sequence[DatasetItem], classes: Sequence[str], model: str) -> None:
    for item in items:
        named = {event.label for event in item.events or ()}
        if unknown := sorted(named - set(classes)):
            raise RecipeError(
                f"{item.item_id}: its events name {', '.join(unknown)}, which {model} does not "
                f"know ({', '.join(classes)}): evaluate it on its own snapshot"
            )


def _check_unseen(items: Sequence[DatasetItem], model: Model) -> None:
    seen = {video_of(item_id) for item_id in model.learnt_from}
    if known := [item.item_id for item in items if video_of(item.item_id) in seen]:
        raise RecipeError(
            f"{model.name} was trained or selected on {len(known)} of the {len(items)} test clips' "
            f"videos, such as {known[0]}: evaluate it on its own snapshot"
        )


def _baselines(test: TestSet) -> dict[str, Answers]:
    clips, classes = test.clips, test.classes
    rows: dict[str, Answers] = {NOTHING: baselines.nothing(clips, classes)}
    commonest = baselines.commonest_label(test.training_items, classes)
    if commonest is not None:
        rows[f"always {commonest}"] = baselines.always(commonest, clips, classes)
    rows[ORACLE] = baselines.tag_oracle(clips)
    return rows


def _figures(test: TestSet, answers: Mapping[str, Answers]) -> dict[str, Any]:
    """Return every row's figures at both levels and its F of every class, in percent."""
    truth = _truth(test)
    rows: dict[str, Any] = {}
    per_class: dict[str, Any] = {}
    for name, given in answers.items():
        found = stacked(given, truth.shape[-1])
        compared = (found[:, 0], found[:, 1], truth[:, 0], truth[:, 1])
        rows[name] = {lv: parsing_scores(*compared, level=lv).as_json() for lv in LEVELS}
        scores = class_f(*compared)
        per_class[name] = {
            label: None if np.isnan(f) else float(f)
            for label, f in zip(test.classes, scores, strict=True)
        }
    return {"rows": rows, "per_class": per_class}


def _views(test: TestSet, model: Model) -> dict[str, Any]:
    """Return a model's figures: gate -> view -> level -> figure."""
    truth = _truth(test)
    return {
        gate: class_views(
            stacked(parse_clips(model, test.clips, gate=gate), truth.shape[-1]),
            truth,
            test.classes,
        )
        for gate in GATES
    }


def _truth(test: TestSet) -> np.ndarray:
    """Return the dense events of the clips, uint8 (clip, modality, class, second)."""
    seconds = max(_seconds(*pair) for pair in zip(test.clips, test.items, strict=True))
    return np.stack([event_array(item.events or (), test.classes, seconds) for item in test.items])


def _seconds(clip: Clip, item: DatasetItem) -> int:
    """Return how long a clip is, by its features or by its last event."""
    return max([len(clip), *(ceil(event.offset_s) for event in item.events or ())])


def _note(test: TestSet) -> str:
    if not test.dense:
        return (
            f"None of the {len(test.clips)} test clips has dense events (when each label is heard "
            "and seen), so there is nothing to compare with: no figures, predictions only."
        )
    return f"{len(test.missing)} test clips could not be read." if test.missing else ""


def _examples(test: TestSet, answers: Answers) -> list[dict[str, Any]]:
    """Return a few clips, spread over the test set, with what is true and what was predicted."""
    count = min(EXAMPLES, len(test.clips))
    chosen = np.linspace(0, len(test.clips) - 1, count).round().astype(int)
    examples = []
    for i in chosen:
        item = test.items[i]
        examples.append(
            {
                "item": item.item_id,
                "seconds": _seconds(test.clips[i], item),
                "tags": list(item.labels),
                "truth": None if item.events is None else _timeline(item.events),
                "prediction": _timeline(event_list(answers[i], test.classes)),
            }
        )
    return examples


def _timeline(events: Sequence[Event]) -> dict[str, list[list[Any]]]:
    """Return modality -> [label, onset, offset] of its events."""
    return {
        modality: [[e.label, e.onset_s, e.offset_s] for e in events if e.modality == modality]
        for modality in MODALITIES
    }
