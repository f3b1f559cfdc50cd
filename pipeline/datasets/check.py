"""A folder of published lists in, a JSON account of it out: files, counts, dirt, problems, leaks.

A list is what it should be when its bytes are the published ones and it holds what is known of it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from pipeline.datasets.audioset import read_audioset
from pipeline.datasets.base import Dataset, DatasetError
from pipeline.datasets.leaks import leak_report, readers
from pipeline.datasets.list_folder import ListFolder, changed, missing
from pipeline.datasets.llp import AUDIO_LISTS, WEAK_LISTS, read_llp
from pipeline.datasets.music_lists import MUSIC21_SOLOS, MUSIC_SOLOS, read_official
from pipeline.datasets.music_splits import Parts, shared_ids
from pipeline.datasets.published import FACTS, PUBLISHED
from pipeline.datasets.tables import read_lines

Json = dict[str, Any]

LLP_FULL = "llp/AVVP_dataset_full.csv"

_AUDIOSET = ("balanced_train_segments.csv", "eval_segments.csv")
"""The short lists; the third has two million rows and is read when it is used."""


def check_lists(lists: Path) -> Json:
    """Return an account of the published lists below a folder, as JSON values.

    `ok` is false when a source of which a file is there lacks another, when a file differs from
    the published one or cannot be read, when counts are wrong, or when no source is there at all.
    `sources` has, for each source,
    `found`, `files` (name, path, sha256, published), `items`, `classes`, `splits` (split -> part ->
    ids as published, and their overlap of training and test), `irregularities` by kind, and
    `problems`. `leaks` names every training and test list that share videos.

    Raises
    ------
    DatasetError
        No such folder.
    """
    folder = ListFolder(lists)
    splits: dict[str, Parts] = {}
    problems: dict[str, list[str]] = {
        source: list(_files_wrong(folder, source)) for source in FACTS
    }
    for name, read in readers(folder).items():
        try:
            splits[name] = read()
        except DatasetError as error:
            problems[name.partition("/")[0]].append(str(error))
    counted = {
        "music21": _music("music21", MUSIC21_SOLOS, folder, splits, problems["music21"]),
        "music": _music("music", MUSIC_SOLOS, folder, splits, problems["music"]),
        "llp": _llp(folder, problems["llp"]),
    }
    sources: dict[str, Json] = {}
    for source, counts in counted.items():
        problems[source].extend(_counts_wrong(source, counts))
        files = list(_files(folder, source))
        found = any(file["path"] for file in files)
        distinct = list(dict.fromkeys(problems[source])) if found else []
        sources[source] = {"found": found, "files": files, **counts, "problems": distinct}
    sources["audioset"] = _audioset(lists)
    return {
        "ok": not any(source["problems"] for source in sources.values())
        and any(source["found"] for source in sources.values()),
        "sources": sources,
        "leaks": _leaks(splits),
    }


def _files(folder: ListFolder, source: str) -> Iterator[Json]:
    for file in PUBLISHED:
        if source in file.sources:
            found = folder.find(file.name)
            yield {
                "name": file.name,
                "path": str(found.path) if found else "",
                "sha256": found.sha256 if found else "",
                "published": found is not None and found.published,
            }


def _files_wrong(folder: ListFolder, source: str) -> Iterator[str]:
    for file in PUBLISHED:
        if source in file.sources:
            found = folder.find(file.name)
            if found is None:
                yield f"{folder.folder}: {missing(file.name)}"
            elif not found.published:
                yield changed(found)


def _music(
    source: str, solos: str, folder: ListFolder, splits: Mapping[str, Parts], problems: list[str]
) -> Json:
    try:
        known = {i: labels for each in read_official(folder, solos) for i, labels in each.items()}
    except DatasetError as error:
        problems.append(str(error))
        known = {}
    own = {
        name.partition("/")[2]: parts
        for name, parts in splits.items()
        if name.startswith(f"{source}/")
    }
    return {
        "items": len(known),
        "solos": sum(len(labels) == 1 for labels in known.values()),
        "duets": sum(len(labels) == 2 for labels in known.values()),
        "classes": len({label for labels in known.values() for label in labels}),
        "splits": {split: _part_counts(parts) for split, parts in own.items()},
        "irregularities": {
            f"{split}_in_{first}_and_{second}": len(ids)
            for split, parts in own.items()
            for (first, second), ids in shared_ids(parts).items()
        },
    }


def _part_counts(parts: Parts) -> Json:
    both = shared_ids(parts).get(("train", "test"), ())
    return {**{part: len(ids) for part, ids in parts.items()}, "overlap": len(both)}


def _llp(folder: ListFolder, problems: list[str]) -> Json:
    """Read both editions; the counts are those of the first that can be read."""
    read: dict[str, Dataset] = {}
    for edition in AUDIO_LISTS:
        try:
            read[edition] = read_llp(folder.folder, audio_edition=edition)
        except DatasetError as error:
            problems.append(str(error))
    problems.extend(_full_list_wrong(folder))
    items = [s.item for dataset in list(read.values())[:1] for s in dataset.items]
    counts = {split: sum(item.split == split for item in items) for split in WEAK_LISTS}
    return {
        "items": len(items),
        "classes": len({label for item in items for label in item.labels}),
        "splits": {"official": {**counts, "overlap": 0}} if items else {},
        "irregularities": dict(next(iter(read.values())).irregularities) if read else {},
        "irregularities_by_edition": {
            edition: dict(dataset.irregularities) for edition, dataset in read.items()
        },
    }


def _full_list_wrong(folder: ListFolder) -> Iterator[str]:
    """Yield what is wrong with the list of everything: it is the three parts, one after another."""
    found = [folder.find(name) for name in (LLP_FULL, *WEAK_LISTS.values())]
    paths = [each.path for each in found if each is not None]
    if len(paths) < len(found):
        return
    try:
        full, *parts = [read_lines(path, delimiter="\t")[1:] for path in paths]
    except DatasetError as error:
        yield str(error)
        return
    joined = [fields for part in parts for _, fields in part]
    for (line, fields), expected in zip(full, joined, strict=False):
        if fields != expected:
            yield (
                f"{paths[0]}, row at line {line}: {' '.join(fields)!r}; expected "
                f"{' '.join(expected)!r}, as in the lists of the parts; restore the published file"
            )
            return
    if len(full) != len(joined):
        yield f"{paths[0]}: {len(full)} rows; expected {len(joined)}, the parts' together"


def _counts_wrong(source: str, counts: Json) -> Iterator[str]:
    facts = FACTS[source]
    for what, expected in (("items", facts.items), ("classes", facts.classes)):
        if counts[what] and counts[what] != expected:
            yield f"{source}: {counts[what]} {what} were read; expected {expected}"
    for split, parts in facts.splits.items():
        wanted = {**parts, "overlap": facts.overlap.get(split, 0)}
        got = counts["splits"].get(split, {})
        if got and got != wanted:
            yield f"{source}: the split {split} has {_said(got)}; expected {_said(wanted)}"


def _said(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{part} {count}" for part, count in counts.items())


def _audioset(lists: Path) -> Json:
    """Return the account of AudioSet's short lists, when they lie in the folder or one below it."""
    paths = [path for name in _AUDIOSET for path in _beside(lists, name)]
    account: Json = {
        "found": bool(paths), "files": [], "items": 0, "classes": 0,
        "splits": {}, "irregularities": {}, "problems": [],
    }  # fmt: skip
    if not paths:
        return account
    names = _beside(lists, "class_labels_indices.csv")
    try:
        dataset = read_audioset(paths, names=names[0] if names else None)
    except DatasetError as error:
        return {**account, "problems": [str(error)]}
    short = dataset.irregularities.get("missing_segment", 0)
    return {
        **account,
        "files": [
            {"name": path.name, "path": str(path), "sha256": dataset.list_files[path.name],
             "published": None}
            for path in (*paths, *names)
        ],
        "items": len(dataset.items),
        "classes": len({label for s in dataset.items for label in s.item.labels}),
        "irregularities": dict(dataset.irregularities),
        "problems": [f"AudioSet: {short} segments fewer than the lists promise"] if short else [],
    }  # fmt: skip


def _beside(lists: Path, name: str) -> list[Path]:
    return sorted([*lists.glob(name), *lists.glob(f"*/{name}")])[:1]


def _leaks(splits: Mapping[str, Parts]) -> list[Json]:
    """Return the leaks of all training lists into all test lists, as JSON values."""
    of: dict[str, dict[str, tuple[str, ...]]] = {"train": {}, "test": {}}
    for name, parts in splits.items():
        for part, by_name in of.items():
            by_name[f"{name}/{part}"] = parts[part]
    return [
        {"train": leak.train, "test": leak.test, "count": len(leak.ids), "ids": list(leak.ids)}
        for leak in leak_report(of["train"], of["test"])
    ]
