"""Mixtures a second: our loader from shards, against one that reads files the published way.

    python -m bench.loader [--clips 20] [--seconds 60] [--batches 16] [--workers 0 2] [--json]

Both make mixes of two of the same videos, three 224-pixel pictures and 256 x 256 spectra each, in
batches of 20, with as many processes. Ours come with pose embeddings, boxes, warped spectra and
masks, ready for the step; the peer (`bench.loader_peer`) leaves warp and masks to the step, which
is not counted. The first batches, which start the workers, are not counted; the rate is the best of
`--rounds`. Files lie in the page cache.

Memory: what all processes together hold (proportional set size) after each of two epochs of ours
with `--memory-workers` workers. Two epochs before them are not counted: in them the workers get
pages of their own of what they were forked with.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
import warnings
from itertools import islice
from pathlib import Path
from typing import Any

import psutil
import torch
from rich.console import Console
from rich.table import Table
from torch.utils.data import DataLoader

from bench.loader_data import CLASSES, Videos, make_videos
from bench.loader_peer import PeerDataset
from model.train.loader_worker import WorkerStart
from model.train.sampler import BatchPlan
from model.tribert.batch import collate
from model.tribert.clips import find_clips, spectrogram_config, stages_read
from model.tribert.config import presets
from model.tribert.data import MixDataset
from storage.store import FeatureStore

BATCH = 20
EPOCHS_BEFORE = 2
DATA = presets["paper"].data


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--clips", type=int, default=20)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--batches", type=int, default=16)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--workers", type=int, nargs="+", default=[0, 2])
    parser.add_argument("--memory-workers", type=int, default=4)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    warnings.filterwarnings("ignore", message="This DataLoader will create .* worker processes")
    with tempfile.TemporaryDirectory(prefix="bench-loader-") as folder:
        made = make_videos(Path(folder), clips=arguments.clips, seconds=arguments.seconds)
        found = measured(made, arguments)
    if arguments.json:
        print(json.dumps({"loader": found}))
        return
    table = Table("mixtures a second", "peer", "ours", "faster")
    for workers in map(str, arguments.workers):
        peer, ours = found["peer_mixtures_per_s"][workers], found["mixtures_per_s"][workers]
        faster = f"{found['speedup'][workers]:.2f}x"
        table.add_row(f"{workers} workers", f"{peer:.0f}", f"{ours:.0f}", faster)
    growth = found["rss_growth_mb"]
    table.caption = f"memory of all processes grew by {growth:.0f} MB over an epoch"
    Console(width=100).print(table)


def measured(made: Videos, arguments: argparse.Namespace) -> dict[str, Any]:
    count, rounds = arguments.batches, arguments.rounds
    ours: dict[str, float] = {}
    peer: dict[str, float] = {}
    for workers in arguments.workers:
        rates = [
            (rate(peer_loader(made, count, workers)), rate(our_loader(made, count, workers)))
            for _ in range(rounds)
        ]
        peer[str(workers)], ours[str(workers)] = (max(each) for each in zip(*rates, strict=True))
    return {
        "speedup": {workers: ours[workers] / peer[workers] for workers in ours},
        "mixtures_per_s": ours,
        "peer_mixtures_per_s": peer,
        "rss_growth_mb": growth_mb(made, count, arguments.memory_workers),
        "clips": len(made.items),
        "pictures": made.pictures,
        "batch": BATCH,
    }


def our_loader(made: Videos, batches: int, workers: int) -> DataLoader[Any]:
    store = FeatureStore(made.layout.root)
    stages = stages_read(store, made.stages)
    dataset = MixDataset(
        store=store,
        stages=stages,
        clips=find_clips(store, stages, made.items, DATA).clips,
        classes=CLASSES,
        data=DATA,
        sizes=spectrogram_config(store, stages, DATA),
        seed=0,
        augment=True,
    )
    plan = BatchPlan(items=len(dataset), batch_size=BATCH, batches=batches, seed=0)
    return DataLoader(
        dataset,
        batch_sampler=plan,
        collate_fn=collate,
        num_workers=workers,
        multiprocessing_context="fork" if workers else None,
        persistent_workers=workers > 0,
        worker_init_fn=WorkerStart(os.getpid()),  # as the trainer's own
    )


def peer_loader(made: Videos, batches: int, workers: int) -> DataLoader[Any]:
    dataset = PeerDataset(
        made.files, videos=len(made.items), pictures=made.pictures, mixes=batches * BATCH
    )
    return DataLoader(
        dataset,
        batch_size=BATCH,
        num_workers=workers,
        multiprocessing_context="fork" if workers else None,
        persistent_workers=workers > 0,
    )


def rate(loader: DataLoader[Any]) -> float:
    """Return mixtures a second, after the first batch of every worker."""
    batches = iter(loader)
    skipped = max(1, loader.num_workers)
    for _ in islice(batches, skipped):
        pass
    began = time.perf_counter()
    counted = sum(1 for _ in batches)
    return BATCH * counted / (time.perf_counter() - began)


def growth_mb(made: Videos, batches: int, workers: int) -> float:
    """Return how much more memory all processes hold after an epoch than after the one before."""
    loader = our_loader(made, batches, workers)
    held = []
    for _ in range(EPOCHS_BEFORE + 2):
        for _batch in loader:
            pass
        held.append(held_mb())
    return held[-1] - held[-2]


def held_mb() -> float:
    own = psutil.Process(os.getpid())
    processes = [own, *own.children(recursive=True)]
    return sum(process.memory_full_info().pss for process in processes) / 2**20


if __name__ == "__main__":
    main()
