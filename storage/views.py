"""Views: which stages a source's last run used, and what a dataset is made of.

In: names of stages, dataset items. Out: numbered, immutable files; the highest number counts.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from storage.atomic import publish_file, publish_json
from storage.errors import ItemNotFound, StoreDamaged
from storage.fingerprint import canonical_json
from storage.layout import Layout, split_stage_name
from storage.records import DatasetItem


def write_source_view(layout: Layout, source: str, stages: Mapping[str, str]) -> None:
    """Record which fingerprint of each stage readers of `source` get; other stages keep theirs.

    `stages` maps a stage's name to its fingerprint (or to `<stage>-<fingerprint>`).
    """
    given = {stage: name.removeprefix(f"{stage}-") for stage, name in stages.items()}
    for stage, fingerprint in given.items():
        split_stage_name(f"{stage}-{fingerprint}")
    while True:
        latest = read_source_view(layout, source)
        if latest | given == latest:
            return
        revision = _last_revision(layout.source_views(source), r"(\d{5,})\.json") + 1
        path = layout.source_views(source) / f"{revision:05d}.json"
        if publish_json(path, {"stages": latest | given}):
            return


def read_source_view(layout: Layout, source: str) -> dict[str, str]:
    """Return stage -> fingerprint of the latest view; empty when no run has finished."""
    revision = _last_revision(layout.source_views(source), r"(\d{5,})\.json")
    if not revision:
        return {}
    path = layout.source_views(source) / f"{revision:05d}.json"
    return dict(json.loads(path.read_text(encoding="utf-8"))["stages"])


def write_dataset_view(layout: Layout, name: str, items: Sequence[DatasetItem]) -> str:
    """Write a dataset's items, if they or their order changed; return the revision."""
    text = items_as_jsonl(items)
    while True:
        revision = _last_revision(layout.dataset(name), r"items-(\d{5,})\.jsonl")
        if revision and _view(layout, name, revision).read_text(encoding="utf-8") == text:
            return f"{revision:05d}"
        path = _view(layout, name, revision + 1)
        if publish_file(path, lambda temp: _write_text(temp, text)):
            return f"{revision + 1:05d}"


def read_dataset_view(layout: Layout, name: str) -> list[DatasetItem]:
    """Return the items of a dataset's latest view. Raises ItemNotFound when there is none."""
    revision = _last_revision(layout.dataset(name), r"items-(\d{5,})\.jsonl")
    if not revision:
        raise ItemNotFound(
            f"dataset {name!r}: not in {layout.root}; there are {list_datasets(layout)}"
        )
    return items_from_jsonl(_view(layout, name, revision))


def list_datasets(layout: Layout) -> list[str]:
    """Return the names of the datasets in the store, sorted."""
    folder = layout.datasets()
    return sorted(p.name for p in folder.iterdir() if p.is_dir()) if folder.is_dir() else []


def items_as_jsonl(items: Iterable[DatasetItem]) -> str:
    """Return one canonical JSON line an item."""
    return "".join(canonical_json(item.as_json()) + "\n" for item in items)


def items_from_jsonl(path: Path) -> list[DatasetItem]:
    """Return the items of a JSONL file. Raises StoreDamaged naming the line that is none."""
    items = []
    # Not splitlines(): labels may hold characters that it takes for ends of lines.
    for number, line in enumerate(path.read_text(encoding="utf-8").split("\n")[:-1], start=1):
        try:
            items.append(DatasetItem.from_json(json.loads(line)))
        except (ValueError, KeyError, TypeError) as error:
            raise StoreDamaged(f"{path}, line {number}: not a dataset item ({error})") from error
    return items


def _view(layout: Layout, name: str, revision: int) -> Path:
    return layout.dataset(name) / f"items-{revision:05d}.jsonl"


def _write_text(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8")


def _last_revision(folder: Path, pattern: str) -> int:
    """Return the highest number among the folder's files of this pattern; 0 when there is none."""
    if not folder.is_dir():
        return 0
    matches = (re.fullmatch(pattern, path.name) for path in folder.iterdir())
    return max((int(match[1]) for match in matches if match), default=0)
