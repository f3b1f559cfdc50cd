"""AudioSet's segment lists as a dataset: windows of YouTube videos with their class names.

A segment row is `id, start_seconds, end_seconds, "mid,mid,..."`; lines that start with '#' are
comments. Names come from `class_labels_indices.csv` or `ontology.json`.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from pipeline.datasets.base import Dataset, DatasetError, SourceItem
from pipeline.datasets.classes import order_classes
from pipeline.datasets.tables import Row, iterate_lines, read_table, read_text
from pipeline.datasets.youtube import is_video_id, source_item

_PROMISED = re.compile(r"num_segs=(\d+)")


def read_audioset(
    files: Sequence[Path],
    *,
    names: Path | None = None,
    classes: Sequence[str] = (),
    exclude: Collection[str] = (),
) -> Dataset:
    """Return the segments of AudioSet's lists; splits are still to be drawn.

    Segments of a file whose name begins with 'eval' are test items.

    Parameters
    ----------
    files
        `balanced_train_segments.csv` and the like.
    names
        `class_labels_indices.csv` or `ontology.json`; without it labels are the machine ids.
    classes
        Names (or machine ids) to keep: a segment stays if it has one of them, and loses its other
        labels. Empty: all.
    exclude
        Video ids to leave out, such as LLP's test videos.

    Raises
    ------
    DatasetError
        No file given, a malformed row, a segment twice, a label or class without a name.
    """
    if not files:
        raise DatasetError("AudioSet: no segment list given; expected one CSV file or more")
    name_of = {} if names is None else read_names(names)
    wanted = _wanted(classes, name_of)
    kinds, seen, items = Counter[str](), dict[str, Row](), list[SourceItem]()
    excluded = frozenset(exclude)
    for path in files:
        for row, values in _segments(path, kinds):
            item = _item(row, values, name_of, wanted)
            if item is None:
                kinds["without_wanted_class"] += 1
                continue
            first = seen.setdefault(item.item.item_id, row)
            if first is not row:
                raise row.error(
                    f"this segment of {values[0]} is already at line {first.line} of "
                    f"{first.path.name}; take one of them out"
                )
            if values[0] in excluded:
                kinds["excluded"] += 1
            else:
                items.append(item)
    return Dataset(
        name="audioset",
        items=tuple(items),
        classes=order_classes(label for item in items for label in item.item.labels),
        notes=tuple(_notes(kinds)),
        list_files={p.name: _sha256(p) for p in (*files, *([names] if names else []))},
        irregularities={k: n for k, n in kinds.items() if n and k == "missing_segment"},
    )


def read_names(path: Path) -> Mapping[str, str]:
    """Return machine id -> display name of `class_labels_indices.csv` or `ontology.json`.

    Raises
    ------
    DatasetError
        Not a file of either form, or one name for two ids.
    """
    if path.suffix.lower() == ".json":
        pairs = _ontology(path)
    else:
        rows = read_table(path, required=("index", "mid", "display_name"))
        pairs = [(row["mid"], row["display_name"]) for row in rows]
    name_of: dict[str, str] = {}
    for mid, name in pairs:
        if not mid or not name or name_of.setdefault(mid, name) != name:
            raise DatasetError(f"{path}: class {mid!r} with name {name!r}; expected one name each")
    return name_of


def _ontology(path: Path) -> list[tuple[str, str]]:
    try:
        return [(entry["id"], entry["name"]) for entry in json.loads(read_text(path))]
    except (ValueError, TypeError, KeyError) as error:
        raise DatasetError(
            f"{path}: not AudioSet's ontology ({error}); expected a list of classes with id and "
            "name, as in ontology.json"
        ) from error


def _wanted(classes: Sequence[str], name_of: Mapping[str, str]) -> frozenset[str] | None:
    """Return the labels to keep, or None for all; a class may be given by either of its names."""
    if not classes:
        return None
    if not name_of:
        return frozenset(classes)
    unknown = [c for c in classes if c not in name_of and c not in name_of.values()]
    if unknown:
        raise DatasetError(
            f"AudioSet: unknown class {unknown[0]!r}; expected a display name or machine id of its "
            "list of classes, such as 'Speech' (capitals count)"
        )
    return frozenset(name_of.get(c, c) for c in classes)


def _segments(path: Path, kinds: Counter[str]) -> Iterator[tuple[Row, list[str]]]:
    promised, count = 0, 0
    for line, values in iterate_lines(path, skip_initial_space=True):
        if not any(values):
            continue
        if values[0].startswith("#"):
            match = _PROMISED.search(",".join(values))
            promised = int(match[1]) if match else promised
            continue
        row = Row(path=path, line=line, values={})
        if len(values) != 4:
            raise row.error(
                f'{len(values)} fields; expected 4, like --PJHxphWEs, 30.000, 40.000, "/m/09x0r"; '
                "complete the row or take it out"
            )
        count += 1
        yield row, values
    kinds["missing_segment"] += max(0, promised - count)


def _item(
    row: Row, values: Sequence[str], name_of: Mapping[str, str], wanted: frozenset[str] | None
) -> SourceItem | None:
    """Return the item of a row, or None where it has no wanted label."""
    video_id, mids = values[0], [mid.strip() for mid in values[3].split(",") if mid.strip()]
    if not is_video_id(video_id):
        raise row.error(
            f"{video_id!r} is not a YouTube id; expected 11 letters, digits, '-' or '_'"
        )
    if not mids:
        raise row.error("no label; expected one machine id or more, such as /m/09x0r")
    unknown = [mid for mid in mids if name_of and mid not in name_of]
    if unknown:
        raise row.error(
            f"label {unknown[0]!r} has no name in the list of classes; use the list that belongs "
            "to these segments"
        )
    labels = dict.fromkeys(name_of.get(mid, mid) for mid in mids)
    kept = tuple(label for label in labels if wanted is None or label in wanted)
    if not kept:
        return None
    return source_item(
        video_id,
        window_ms=_window_ms(row, values),
        labels=kept,
        split="test" if row.path.name.startswith("eval") else "",
    )


def _window_ms(row: Row, values: Sequence[str]) -> tuple[int, int]:
    times = Row(path=row.path, line=row.line, values={"start": values[1], "end": values[2]})
    start_ms, end_ms = (round(times.seconds(key) * 1000) for key in ("start", "end"))
    if start_ms >= end_ms:
        raise row.error(f"start {values[1]} is not before end {values[2]}; correct the times")
    return start_ms, end_ms


def _notes(kinds: Mapping[str, int]) -> Iterable[str]:
    sentences = {
        "excluded": "segments of excluded videos are left out",
        "without_wanted_class": "segments have none of the wanted classes and are left out",
        "missing_segment": "segments fewer than the list's first lines promise: was it cut?",
    }
    return (f"{kinds[kind]} {text}" for kind, text in sentences.items() if kinds.get(kind))


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
