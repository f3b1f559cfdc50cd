"""Examples of a published model on any pairs of its snapshot, without scores.

In: a model's name, and ids of items or a number of pairs. Out: an example's files for each pair, as
`model.tribert.examples` writes them, and the JSON that names them.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from model.jobs import EvaluateJob
from model.separation.systems import System, load_system
from model.train.fit import Device
from model.tribert.clips import Clip
from model.tribert.errors import SeparationError
from model.tribert.evaluate import choose_pairs, common_clips, mix_reader
from model.tribert.evaluation_config import EVALUATION_VERSION, EvaluationConfig
from model.tribert.example_arrays import write_example
from model.tribert.separation import joined_windows, predict_masks, separate
from storage.layout import Layout
from storage.models import ModelRecord, read_snapshot
from storage.records import DatasetItem
from storage.store import FeatureStore


def show(
    layout: Layout,
    model: str,
    out_dir: Path,
    *,
    pairs: Sequence[tuple[str, str]] = (),
    settings: EvaluationConfig,
    device: str = "auto",
) -> list[dict[str, Any]]:
    """Separate pairs of a model's snapshot and write an example of each into `out_dir`.

    Parameters
    ----------
    pairs
        Ids of items of any split, or parts of ids that name one item each; none: so many test
        pairs as `settings.pairs` says, chosen by its rule.

    Raises
    ------
    storage.errors.ItemNotFound
        There is no such model.
    SeparationError
        The model separates nothing, a name fits no item or several, or an item cannot be read.
    """
    store = FeatureStore(layout.root)
    system = load_system(layout, model)
    record = ModelRecord.from_json(system.published["record"])
    job = EvaluateJob.beside(
        layout, record, what="separation", version=EVALUATION_VERSION, models=[model], device=device
    )
    items = read_snapshot(layout, record.dataset, record.snapshot)
    mixes = _named(store, job, system, items, pairs) or _drawn(store, job, system, items, settings)
    reader = mix_reader(store, job, system, settings)
    where = torch.device(Device.parse(device).kind)
    system.network.to(where)
    application = "soft" if system.soft else settings.mask_application
    out_dir.mkdir(parents=True, exist_ok=True)
    examples = []
    for number, clips in enumerate(mixes):
        mix = reader.read(clips)
        masks_NQF = joined_windows(predict_masks(system.network, mix.batch, where))
        examples.append(
            write_example(
                out_dir,
                number,
                system=system,
                reader=reader,
                mix=mix,
                masks_NQF=masks_NQF,
                estimates_NS=separate(mix.mixture_LT, masks_NQF, application, reader.sizes),
                application=application,
                device=where,
            )
        )
    return examples


def _named(
    store: FeatureStore,
    job: EvaluateJob,
    system: System,
    items: Sequence[DatasetItem],
    pairs: Sequence[tuple[str, str]],
) -> list[list[Clip]]:
    """Return the clips of the pairs that were named."""
    chosen = [[_item(items, name) for name in pair] for pair in pairs]
    wanted = {item.item_id: item for pair in chosen for item in pair}
    found = common_clips(store, job, list(wanted.values()), [system])
    clips = {clip.item_id: clip for clip in found.clips}
    for item_id, why in found.left_out.items():
        raise SeparationError(f"{item_id} cannot be shown: {why}; name another item")
    return [[clips[item.item_id] for item in pair] for pair in chosen]


def _item(items: Sequence[DatasetItem], name: str) -> DatasetItem:
    fitting = [i for i in items if i.item_id == name] or [i for i in items if name in i.item_id]
    if len(fitting) != 1:
        said = ", ".join(i.item_id for i in (fitting or items)[:8])
        raise SeparationError(
            f"pair: {name!r} fits {len(fitting)} items of the model's snapshot, expected one; "
            f"there are {said}{' and others' if len(fitting or items) > 8 else ''}"
        )
    return fitting[0]


def _drawn(
    store: FeatureStore,
    job: EvaluateJob,
    system: System,
    items: Sequence[DatasetItem],
    settings: EvaluationConfig,
) -> list[list[Clip]]:
    test = [item for item in items if item.split == "test"]
    found = common_clips(store, job, test, [system])
    return [[found.clips[n] for n in pair] for pair in choose_pairs(found, settings)]
