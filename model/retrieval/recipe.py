"""The recipe `retrieval`: from a published TriBERT and a snapshot to what the trainer needs.

In: a `TrainJob`, a feature store, the snapshot's items. Out: `TrainParts` with choices among the
training clips, rankings of the validation clips, and a `RetrievalModule`. Test items are only
looked at to make sure that the TriBERT has not seen them.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch

from model.jobs import TrainJob
from model.retrieval.config import Config
from model.retrieval.data import Choices, Rows, collate
from model.retrieval.embeddings import ClipReader, Embeddings, embed
from model.retrieval.errors import RetrievalError
from model.retrieval.module import RetrievalModule
from model.train.fit import Device
from model.train.parts import TrainParts
from model.tribert.clips import ClipSet, find_clips, stages_read
from model.tribert.described import RECIPE as TRIBERT
from model.tribert.described import seen_of
from model.tribert.published import Published, load_published
from storage.layout import open_store
from storage.records import DatasetItem
from storage.store import FeatureStore


def build(job: TrainJob, store: FeatureStore, items: Sequence[DatasetItem]) -> TrainParts:
    """Return everything that training the scorers needs.

    Raises
    ------
    RetrievalError
        No TriBERT is named, it saw test videos of this snapshot, it read another pose_embed, or
        there are too few clips.
    storage.errors.ItemNotFound
        The TriBERT is not in the store.
    """
    config = Config.from_json(job.configuration)
    served = [item for item in items if not item.tasks or TRIBERT in item.tasks]
    published = tribert_of(store, config.tribert, job)
    refuse_seen(store, config.tribert, served)
    data = published.config.data
    stages = stages_read(store, job.stages, data.spectrogram, sound_patches=data.sound_patches)
    found = {
        split: find_clips(store, stages, [i for i in served if i.split == split], data)
        for split in ("train", "val")
    }
    reader = ClipReader(store, stages, published.config.data)
    train, val = (
        embeddings_of(found[split], published, reader, config, job.device)
        for split in ("train", "val")
    )
    if train is None:
        raise RetrievalError(
            f"{job.name}: no training clip can be read, left out are "
            f"{dict(list(found['train'].left_out.items())[:3])}; run the stages, or add clips"
        )
    ranked = val if val is not None and len(val) > 1 else None  # one clip is always found
    module = RetrievalModule(config, train, ranked)
    return TrainParts(
        module=module,
        train=Choices(train.item_ids, train.vectors["vision"], config, job.seed),
        val=Rows(len(ranked)) if ranked else None,
        collate=collate,
        batch_size=config.batch_size,
        max_steps=config.max_steps,
        val_every_steps=config.val_every_steps,
        monitor="val/mrr" if ranked else None,
        mode="max",
        export=module.scorers.state_dict,
        classes=published.classes,
        ids_used={split: [clip.item_id for clip in each.clips] for split, each in found.items()},
        ids_missing={key: why for each in found.values() for key, why in each.left_out.items()},
        summary={
            "tribert": published.name,
            "sizes": train.sizes(),
            "tokens": train.tokens,
            "parameters": sum(p.numel() for p in module.scorers.parameters()),
        },
    )


def tribert_of(store: FeatureStore, name: str, job: TrainJob) -> Published:
    """Return the TriBERT whose embeddings the job reads.

    Raises
    ------
    RetrievalError
        None is named, or it was trained on poses embedded in another way.
    """
    if not name:
        raise RetrievalError(
            "retrieval.tribert is empty: name the published TriBERT whose embeddings are to be "
            "searched"
        )
    published = load_published(open_store(store.layout.root), name)
    expected, got = published.stages.get("pose_embed"), job.stages.get("pose_embed")
    if expected != got:
        raise RetrievalError(
            f"stages: {name} was trained on {expected}, the job names {got}; embeddings of poses "
            "from another ST-GCN mean nothing to it: name the same stage"
        )
    return published


def refuse_seen(store: FeatureStore, name: str, items: Sequence[DatasetItem]) -> None:
    """Raise RetrievalError when a model, or one that it builds on, saw a test video of `items`."""
    test = [item.item_id for item in items if item.split == "test"]
    if leak := seen_of(store.layout, name, test):
        raise RetrievalError(
            f"{name} was trained or validated on {len(leak.ids)} of the test videos (the first: "
            f"{leak.ids[0]}), so that it would find them by heart; train a TriBERT on this "
            "snapshot, or judge it on its own"
        )


def embeddings_of(
    found: ClipSet, published: Published, reader: ClipReader, config: Config, device: str
) -> Embeddings | None:
    """Return the embeddings of the clips that were found, or None where there are none."""
    if not found.clips:
        return None
    return embed(
        published.network,
        reader,
        found.clips,
        embedding=config.embedding,
        protocol=config.protocol,
        device=torch.device(Device.parse(device).kind),
    )
