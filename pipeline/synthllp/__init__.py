"""LLP without its videos: features drawn from the real annotations, rows of the published layout.

In: LLP's lists as `pipeline.datasets.llp` reads them, a size, a seed. Out: a dataset whose items
are real clips' labels and events, and its rows in a store, as imported stages. Figures on it show
how methods compare under LLP's label noise; they say nothing about real video.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from pipeline.datasets.base import Dataset
from pipeline.npy_features import DIGEST_DIGITS, FOLDERS
from pipeline.stages import IMPORTED
from pipeline.synthllp.features import described
from pipeline.synthllp.plan import SIZES, SynthClip, check_lists, plan_clips
from storage.fingerprint import sha256_json
from storage.records import ItemId

VERSION = 1
"""Raised when the code draws other rows from the same lists, numbers and seed."""

CLEAN = "-clean"
SPECS = tuple(f"{size}{end}" for size in SIZES for end in ("", CLEAN))
"""What `--dataset synthllp:` takes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SynthLlp:
    """The dataset, what is on in each of its clips, and where its rows belong."""

    dataset: Dataset
    clips: tuple[SynthClip, ...]
    source: str
    digest: str
    seed: int


def read_synthllp(llp: Dataset, spec: str = "small", *, seed: int = 0) -> SynthLlp:
    """Return a synthetic LLP; nothing is written.

    Validation and test items have LLP's labels and events. Training items have LLP's labels; when
    each label is heard and seen is drawn from the validation and test clips that have it, and with
    that how often it is only heard or only seen. Names ending in '-clean' draw from the clips in
    which it is both: no label of a training clip is wrong for a modality.

    Parameters
    ----------
    llp
        LLP as `read_llp` returns it.
    spec
        One of `SPECS`: 'micro' (84 clips, for tests), 'small' (2 200, all 1 200 test clips among
        them) or 'full' (11 849), with or without '-clean'.
    seed
        Decides which clips, their seconds and their features.

    Raises
    ------
    pipeline.datasets.base.DatasetError
        Another spec, or lists that are not LLP's in full.
    """
    check_lists(llp, spec, SPECS)
    size = spec.removesuffix(CLEAN)
    content = {
        "version": VERSION,
        "spec": spec,
        "sizes": dict(SIZES[size]),
        "seed": seed,
        "lists": dict(llp.list_files),
        "features": described(),
    }
    digest = sha256_json(content)[:DIGEST_DIGITS]
    source = f"synthllp-{spec}"
    clips = plan_clips(llp, size=size, clean=spec != size, seed=seed)
    entries = {entry.item.item_id: entry for entry in llp.items}
    moved = tuple(
        replace(clip, item_id=str(replace(ItemId.parse(clip.item_id), source=source)))
        for clip in clips
    )
    items = tuple(
        replace(
            entries[clip.item_id],
            url="",
            path=None,
            item=replace(entries[clip.item_id].item, item_id=own.item_id, tasks=("avvp",)),
        )
        for clip, own in zip(clips, moved, strict=True)
    )
    weights = {"weights": f"{IMPORTED}:{digest}"}
    dataset = Dataset(
        name=source,
        items=items,
        classes=llp.classes,
        notes=("features drawn from LLP's annotations: figures say nothing about video",),
        preset=dict.fromkeys(FOLDERS, weights),
        list_files=llp.list_files,
        irregularities=llp.irregularities,
    )
    return SynthLlp(dataset=dataset, clips=moved, source=source, digest=digest, seed=seed)
