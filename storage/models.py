"""Snapshots, models, pins and evaluations: each has an address computed from what made it.

In: the items and settings of a training, a finished folder. Out: published, immutable folders.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from storage.atomic import publish_directory, publish_file, replace_json, write_json
from storage.errors import InvalidRecord, ItemNotFound, StoreDamaged, StoreError
from storage.fingerprint import FINGERPRINT_DIGITS, json_differences, plain_json, sha256_json
from storage.layout import Layout
from storage.records import DatasetItem
from storage.views import items_as_jsonl, items_from_jsonl

MODEL_FILE = "model.json"
RESULTS_FILE = "results.json"


def snapshot_text(items: Sequence[DatasetItem]) -> str:
    """Return the canonical JSONL of a snapshot: sorted by item id, each id once."""
    ids = [item.item_id for item in items]
    if len(set(ids)) != len(ids):
        twice = sorted({i for i in ids if ids.count(i) > 1})
        raise InvalidRecord(f"snapshot: {len(twice)} items appear twice, the first is {twice[0]}")
    return items_as_jsonl(sorted(items, key=lambda item: item.item_id))


def snapshot_digest(items: Sequence[DatasetItem]) -> str:
    """Return the 12 hex digits that name a snapshot of these items."""
    return hashlib.sha256(snapshot_text(items).encode()).hexdigest()[:FINGERPRINT_DIGITS]


def write_snapshot(layout: Layout, dataset: str, items: Sequence[DatasetItem]) -> str:
    """Keep the exact ids, labels and splits of a training; return their digest."""
    text = snapshot_text(items)
    digest = hashlib.sha256(text.encode()).hexdigest()[:FINGERPRINT_DIGITS]

    def write(temp: Path) -> None:
        temp.write_text(text, encoding="utf-8")

    path = layout.snapshot(dataset, digest)
    if not path.exists():
        publish_file(path, write)
    return digest


def read_snapshot(layout: Layout, dataset: str, digest: str) -> list[DatasetItem]:
    """Return the items of a snapshot, by item id. Raises ItemNotFound, StoreDamaged."""
    path = layout.snapshot(dataset, digest)
    try:
        items = items_from_jsonl(path)
    except FileNotFoundError as error:
        raise ItemNotFound(
            f"snapshot {digest} of {dataset!r}: not in {layout.root}; "
            f"there are {list_snapshots(layout, dataset)}"
        ) from error
    if snapshot_digest(items) != digest:
        raise StoreDamaged(f"{path}: its contents have another digest; it was changed by hand")
    return items


def list_snapshots(layout: Layout, dataset: str) -> list[str]:
    """Return the digests of a dataset's snapshots, sorted."""
    return sorted(path.stem for path in layout.snapshots(dataset).glob("*.jsonl"))


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelRecord:
    """Everything that decides a trained model. `stages` maps a stage to `<stage>-<fingerprint>`.

    The dataset's name is kept but not fingerprinted: the snapshot says what it was trained on.
    """

    recipe: str
    recipe_version: int
    configuration: Mapping[str, Any] = field(default_factory=dict)
    seed: int = 0
    stages: Mapping[str, str] = field(default_factory=dict)
    snapshot: str = ""
    dataset: str = ""

    def __post_init__(self) -> None:
        for name in ("configuration", "stages"):
            object.__setattr__(self, name, plain_json(getattr(self, name)))

    def as_json(self) -> dict[str, Any]:
        """Return JSON values; `from_json` reads them back."""
        return {
            "recipe": self.recipe,
            "recipe_version": self.recipe_version,
            "configuration": dict(self.configuration),
            "seed": self.seed,
            "stages": dict(self.stages),
            "snapshot": self.snapshot,
            "dataset": self.dataset,
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> ModelRecord:
        """Return the record that `as_json` described."""
        return cls(**value)

    @property
    def fingerprint(self) -> str:
        """The first 12 hex digits of the sha256 of everything but the dataset's name."""
        value = self.as_json()
        del value["dataset"]
        return sha256_json(value)[:FINGERPRINT_DIGITS]

    @property
    def name(self) -> str:
        """`<recipe>-<fingerprint>`, the model's folder."""
        return f"{self.recipe}-{self.fingerprint}"

    def differences(self, new: ModelRecord) -> list[str]:
        """Return the fields in which `new` differs from this (older) record, one line each."""
        return json_differences(self.as_json(), new.as_json())


def publish_model(
    layout: Layout, record: ModelRecord, prepared_dir: Path, extra: Mapping[str, Any]
) -> bool:
    """Publish a folder with a model's files; False when the model was published before.

    Writes `model.json` = {"record": ..., **extra} into it first. `extra["weights_sha256"]`, when
    given, is the digest of `weights.safetensors`, which `verify` checks.
    """
    if "record" in extra:
        raise InvalidRecord(f"{record.name}: extra must not hold 'record'")
    write_json(Path(prepared_dir) / MODEL_FILE, {"record": record.as_json(), **extra})
    return _publish_folder(layout.model(record.name), Path(prepared_dir), MODEL_FILE)


def model_complete(layout: Layout, name: str) -> bool:
    """Whether a model is published."""
    return (layout.model(name) / MODEL_FILE).is_file()


def read_model(layout: Layout, name: str) -> dict[str, Any]:
    """Return a published model's `model.json`. Raises ItemNotFound."""
    return _read_marker(layout.model(name) / MODEL_FILE, list_models(layout))


def list_models(layout: Layout) -> list[str]:
    """Return the names of the published models, sorted."""
    return _list_folders(layout.models(), MODEL_FILE)


def publish_evaluation(layout: Layout, name: str, prepared_dir: Path) -> bool:
    """Publish a folder that holds `results.json`; False when it was published before."""
    if not (Path(prepared_dir) / RESULTS_FILE).is_file():
        raise StoreError(f"{prepared_dir}: has no {RESULTS_FILE}, so {name} is not finished")
    return _publish_folder(layout.evaluation(name), Path(prepared_dir), RESULTS_FILE)


def evaluation_complete(layout: Layout, name: str) -> bool:
    """Whether an evaluation is published."""
    return (layout.evaluation(name) / RESULTS_FILE).is_file()


def read_evaluation(layout: Layout, name: str) -> dict[str, Any]:
    """Return a published evaluation's `results.json`. Raises ItemNotFound."""
    return _read_marker(layout.evaluation(name) / RESULTS_FILE, list_evaluations(layout))


def list_evaluations(layout: Layout) -> list[str]:
    """Return the names of the published evaluations, sorted."""
    return _list_folders(layout.evaluations(), RESULTS_FILE)


def read_pins(layout: Layout, dataset: str) -> dict[str, str]:
    """Return key -> model name of a dataset's pins; empty when nothing is pinned."""
    try:
        return dict(json.loads(layout.pins(dataset).read_text(encoding="utf-8")))
    except FileNotFoundError:
        return {}


def pin(layout: Layout, dataset: str, key: str, model_name: str) -> None:
    """Let the learned stage `key` (`<stage>:<digest>`) of a dataset use a model from now on."""
    with _exclusive(layout.dataset(dataset) / ".pins.lock"):
        replace_json(layout.pins(dataset), read_pins(layout, dataset) | {key: model_name})


@contextmanager
def _exclusive(path: Path) -> Iterator[None]:
    """Hold a lock that the kernel frees with the process; none where locks are unsupported."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as file:
        with suppress(OSError):
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _publish_folder(final: Path, prepared: Path, marker: str) -> bool:
    if publish_directory(final, prepared):
        return True
    if not (final / marker).is_file():
        raise StoreDamaged(f"{final}: exists without {marker}; remove the folder and run again")
    return False


def _read_marker(path: Path, known: Sequence[str]) -> dict[str, Any]:
    try:
        return dict(json.loads(path.read_text(encoding="utf-8")))
    except FileNotFoundError as error:
        raise ItemNotFound(f"{path.parent.name}: not published; there are {list(known)}") from error
    except ValueError as error:
        raise StoreDamaged(f"{path}: not JSON ({error}); remove the folder, run again") from error


def _list_folders(folder: Path, marker: str) -> list[str]:
    return sorted(path.parent.name for path in folder.glob(f"[!.]*/{marker}"))
