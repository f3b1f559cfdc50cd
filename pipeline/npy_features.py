"""Published LLP features: folders of .npy files flow in and become stages; the same flow out.

The authors of LLP (Tian et al., ECCV 2020) publish `vggish/<name>.npy`, `res152/<name>.npy` and
`r2plus1d_18/<name>.npy`, one array a clip, under the clip's name in their lists. Imported rows are
a stage of their own: its fingerprint is the digest of the files, whatever our extractors do.
"""

from __future__ import annotations

import io
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path

import numpy as np

from pipeline.datasets.base import DatasetError, SourceItem
from pipeline.datasets.youtube import clip_name
from pipeline.failures import ItemFailure
from pipeline.stages import IMPORTED, STAGES, ResolvedStage, resolve
from storage.fingerprint import sha256_file, sha256_json
from storage.layout import Layout
from storage.plan import PlanShard, extend_plan, read_plan
from storage.records import OK, ArraySpec, ItemId, Outcome, StageSchema, TimeBase
from storage.shard_writer import write_shard
from storage.staging import ItemWriter, stage_failure

DIGEST_DIGITS = 16
NO_FILE, INVALID_FILE = "no_feature_file", "invalid_feature_file"
_MEDIA_BYTES_A_CLIP = 1.8e6
"""What ten seconds take in the largest computed stage: shards are planned for that, too."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FeatureFolder:
    """One of the published folders, and the stage that its arrays become.

    Arrays have the shape (rows, width), float32; with fewer rows than `least_rows` an array cannot
    be used. Row i lies at i * hop_s. The authors' readers pad 72 to 79 pictures with the last one
    and cut what is beyond 80; rows are kept as they are here, so that they can be written back.
    """

    stage: str
    folder: str
    array: str
    rows: int
    least_rows: int
    width: int
    hop_s: float
    anchor: str

    @property
    def schema(self) -> StageSchema:
        """The contract of the stage's rows: float32, as they were published."""
        spec = ArraySpec(
            name=self.array,
            dtype="float32",
            row_shape=(self.width,),
            dims=("time", "channel"),
            chunk_rows=self.rows // 2,
        )
        return StageSchema(arrays=(spec,), anchor=self.anchor)


FOLDERS: Mapping[str, FeatureFolder] = {
    found.stage: found
    for found in (
        FeatureFolder(
            stage="vggish",
            folder="vggish",
            array="embedding",
            rows=10,
            least_rows=10,
            width=128,
            hop_s=1.0,
            anchor="start",
        ),
        FeatureFolder(
            stage="resnet152",
            folder="res152",
            array="feature",
            rows=80,
            least_rows=72,
            width=2048,
            hop_s=0.125,
            anchor="instant",
        ),
        FeatureFolder(
            stage="r2plus1d",
            folder="r2plus1d_18",
            array="feature",
            rows=10,
            least_rows=10,
            width=512,
            hop_s=1.0,
            anchor="start",
        ),
    )
}
"""By stage."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ImportedSet:
    """What became of one folder.

    `setting` is the value of the stage's `weights` with which runs read these rows. `counts` are
    the clips with a file, by outcome; `examples` up to five of the files that cannot be used;
    `unlisted` counts files of clips that the dataset does not have, `other_header` arrays whose
    file numpy would write with another header (their export has equal values, not equal bytes).
    """

    stage: str
    name: str
    setting: str
    counts: Mapping[str, int]
    absent: int
    unlisted: int
    other_header: int
    examples: tuple[str, ...] = ()


@dataclass(slots=True, kw_only=True)
class _Files:
    """A folder's files of the dataset's clips, by item; each with its sha256."""

    folder: FeatureFolder
    paths: dict[str, Path]
    unlisted: int
    sha256: dict[str, str] = field(default_factory=dict)


def feature_name(entry: SourceItem) -> str:
    """Return the name of an item's files, without extension."""
    return entry.clip_name or clip_name(ItemId.parse(entry.item.item_id))


def import_features(
    layout: Layout, entries: Sequence[SourceItem], folder: Path
) -> list[ImportedSet]:
    """Put published features into the store; return what became of each folder that is there.

    Clips with a file in any of the folders are planned, with or without a video. A file that
    cannot be used becomes a typed outcome. What an earlier, killed import finished is kept.

    Parameters
    ----------
    layout
        The store.
    entries
        The dataset's items.
    folder
        Holds `vggish`, `res152` or `r2plus1d_18`, itself or in `feats`.

    Raises
    ------
    DatasetError
        None of these folders, or no file of the dataset's clips in them.
    """
    found = [_list_files(entries, f, place) for f, place in _places(folder)]
    if not any(files.paths for files in found):
        names = ", ".join(f"{f.folder}/{feature_name(entries[0])}.npy" for f in FOLDERS.values())
        raise DatasetError(
            f"{folder}: no features of the dataset's {len(entries)} clips; expected files such as "
            f"{names}, in this folder or in 'feats' in it"
        )
    with_file = {item_id for files in found for item_id in files.paths}
    _plan(layout, [e.item.item_id for e in entries if e.item.item_id in with_file])
    return [_import_folder(layout, files) for files in found if files.paths]


def imported_stage(stage: str, digest: str) -> ResolvedStage:
    """Return the stage that the files of a digest are."""
    config = STAGES[stage].config(weights=f"{IMPORTED}:{digest}")
    return resolve({stage: config})[stage]


def npy_bytes(rows: np.ndarray) -> bytes:
    """Return rows as numpy saves them."""
    file = io.BytesIO()
    np.save(file, np.ascontiguousarray(rows), allow_pickle=False)
    return file.getvalue()


def read_npy(path: Path, folder: FeatureFolder) -> np.ndarray:
    """Return a published array, float32 (rows, width).

    Raises
    ------
    ItemFailure
        'invalid_feature_file': no array of numpy's, or another dtype or shape, or not finite.
    """
    expected = f"expected float32 ({folder.rows}, {folder.width})"
    try:
        rows = np.load(path, allow_pickle=False)
    except (ValueError, EOFError, OSError) as error:
        raise ItemFailure(INVALID_FILE, f"{path}: {error}; {expected}") from error
    if not isinstance(rows, np.ndarray):
        rows.close()
        raise ItemFailure(INVALID_FILE, f"{path}: an archive of arrays; {expected}")
    fits = rows.ndim == 2 and rows.shape[1] == folder.width
    if not fits or len(rows) < folder.least_rows or rows.dtype != np.dtype("<f4"):
        raise ItemFailure(INVALID_FILE, f"{path}: {rows.dtype} {rows.shape}; {expected}")
    if not np.isfinite(rows).all():
        raise ItemFailure(INVALID_FILE, f"{path}: not all values are finite; {expected}")
    return rows


def _places(folder: Path) -> Iterator[tuple[FeatureFolder, Path]]:
    for found in FOLDERS.values():
        for place in (folder / found.folder, folder / "feats" / found.folder):
            if place.is_dir():
                yield found, place
                break


def _list_files(entries: Sequence[SourceItem], folder: FeatureFolder, place: Path) -> _Files:
    here = {path.stem: path for path in place.iterdir() if path.suffix == ".npy"}
    wanted = {feature_name(entry): entry.item.item_id for entry in entries}
    paths = {item_id: here[name] for name, item_id in wanted.items() if name in here}
    return _Files(folder=folder, paths=paths, unlisted=len(here) - len(paths))


def _plan(layout: Layout, item_ids: Sequence[str]) -> None:
    for source in dict.fromkeys(ItemId.parse(i).source for i in item_ids):
        mine = [(i, _MEDIA_BYTES_A_CLIP) for i in item_ids if ItemId.parse(i).source == source]
        extend_plan(layout, source, mine)


def _import_folder(layout: Layout, files: _Files) -> ImportedSet:
    files.sha256 = {item_id: _digest(path) for item_id, path in files.paths.items()}
    digest = sha256_json(sorted(files.sha256.items()))[:DIGEST_DIGITS]
    stage = imported_stage(files.folder.stage, digest)
    outcomes: list[Outcome] = []
    other_header = 0
    sources = dict.fromkeys(ItemId.parse(i).source for i in files.paths)
    for source in sources:
        for shard in read_plan(layout, source):
            if files.paths.keys() & set(shard.item_ids):
                done, rewritten = _import_shard(layout, stage, shard, files)
                outcomes += done
                other_header += rewritten
    bad = [o.detail for o in outcomes if o.reason == INVALID_FILE]
    absent = sum(o.reason == NO_FILE for o in outcomes)
    return ImportedSet(
        stage=stage.name,
        name=stage.record.name,
        setting=stage.config.weights,
        counts=dict(Counter(o.reason for o in outcomes if o.reason != NO_FILE)),
        absent=absent,
        unlisted=files.unlisted,
        other_header=other_header,
        examples=tuple(bad[:5]),
    )


def _digest(path: Path) -> str:
    try:
        return sha256_file(path)
    except OSError as error:
        raise DatasetError(
            f"{path}: cannot be read ({error.strerror}); mend that and import again"
        ) from error


def _import_shard(
    layout: Layout, stage: ResolvedStage, shard: PlanShard, files: _Files
) -> tuple[list[Outcome], int]:
    """Publish one shard, unless it is there; return outcomes, and how many headers are unusual."""
    name = stage.record.name
    published = layout.shard(name, shard.source, shard.number).exists()
    outcomes, other_header = [], 0
    for item_id in shard.item_ids:
        staged = layout.staged_item(name, shard.source, shard.number, item_id)
        outcome, usual = _import_item(item_id, files, None if published else staged)
        outcomes.append(outcome)
        other_header += not usual
    if not published:
        write_shard(
            layout,
            stage.record,
            shard.source,
            shard.number,
            shard.item_ids,
            provenance={"imported": files.folder.folder, "soundstage": version("soundstage")},
            schema=files.folder.schema,
        )
    return outcomes, other_header


def _import_item(item_id: str, files: _Files, staged: Path | None) -> tuple[Outcome, bool]:
    """Stage an item's rows or its failure; return the outcome, and whether numpy's own header
    stands before the rows. Without a place to stage it, the file is only checked."""
    path, digest = files.paths.get(item_id), files.sha256.get(item_id, "")
    try:
        if path is None:
            raise ItemFailure(NO_FILE, f"no {files.folder.folder} file was imported for it")
        rows = read_npy(path, files.folder)
    except ItemFailure as failure:
        outcome = Outcome(item_id=item_id, reason=failure.reason, detail=failure.detail)
        if staged is not None:
            stage_failure(staged, outcome, digest)
        return outcome, True
    if staged is not None:
        base = TimeBase(0.0, files.folder.hop_s)
        writer = ItemWriter(staged, files.folder.schema, base, digest, item_id=item_id)
        with writer:
            writer.append({files.folder.array: rows})
    return Outcome(item_id=item_id, reason=OK), npy_bytes(rows) == path.read_bytes()
