"""Features out of the store into the layout in which LLP's authors publish theirs.

In: the stages to read and the dataset's items. Out: `<folder>/<name>.npy`, float32 (rows, width),
and how many files were written. Rows that were imported come out byte for byte as they went in.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from pipeline.datasets.base import SourceItem
from pipeline.npy_features import FOLDERS, feature_name, npy_bytes
from storage.atomic import replace_file
from storage.errors import ItemNotFound, StageNotFound
from storage.store import FeatureStore

WRITTEN, KEPT, DIFFERS, NO_ROWS = "written", "kept", "differs", "no_rows"
OTHER_SHAPE = "other_shape"


def export_features(
    store: FeatureStore,
    stages: Mapping[str, str],
    entries: Sequence[SourceItem],
    folder: Path,
    *,
    overwrite: bool = False,
) -> dict[str, dict[str, int]]:
    """Write features as .npy files; return how many, by folder and by what was done.

    Parameters
    ----------
    store
        Where the rows are.
    stages
        'vggish', 'resnet152', 'r2plus1d' or some of them -> `<stage>-<fingerprint>`.
    entries
        The dataset's items; those without rows are counted as 'no_rows'.
    folder
        Made when it does not exist. A file of the same bytes is kept, one of other bytes is kept
        and counted as 'differs', unless `overwrite` is set. 'other_shape' counts, besides, arrays
        that have other numbers of rows than the published ones.
    """
    return {
        FOLDERS[stage].folder: dict(
            _export_stage(store, stage, name, entries, folder, overwrite=overwrite)
        )
        for stage, name in stages.items()
    }


def _export_stage(
    store: FeatureStore,
    stage: str,
    name: str,
    entries: Sequence[SourceItem],
    folder: Path,
    *,
    overwrite: bool,
) -> Counter[str]:
    published = FOLDERS[stage]
    counts: Counter[str] = Counter()
    for entry in entries:
        try:
            rows = np.asarray(store.rows(name, entry.item.item_id), np.float32)
        except (ItemNotFound, StageNotFound):
            counts[NO_ROWS] += 1
            continue
        path = folder / published.folder / f"{feature_name(entry)}.npy"
        counts[_write(path, npy_bytes(rows), overwrite=overwrite)] += 1
        counts[OTHER_SHAPE] += rows.shape != (published.rows, published.width)
    return +counts


def _write(path: Path, content: bytes, *, overwrite: bool) -> str:
    """Return what was done: a file that is there with the same bytes stays as it is."""
    if path.exists():
        if path.read_bytes() == content:
            return KEPT
        if not overwrite:
            return DIFFERS
    replace_file(path, lambda temp: _fill(temp, content))
    return WRITTEN


def _fill(path: Path, content: bytes) -> None:
    path.write_bytes(content)
