"""One row of `bench.modern`: a TriBERT trained, its validation pairs separated, a step timed.

In: a store's dataset, a configuration. Out: figures as JSON values; nothing enters the store.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from model.ground import chosen_dataset, stages_of
from model.jobs import TrainJob
from model.separation.output import per_pair
from model.separation.scoring import Estimate, Judged, judges
from model.train.fit import Device, FitResult, fit
from model.train.parts import TrainParts
from model.train.resume import seed_everything
from model.tribert.batch import Batch, collate
from model.tribert.clips import find_clips, spectrogram_config, stages_read
from model.tribert.config import RECIPE_VERSION, Config, PoseConfig, steps_override
from model.tribert.errors import SeparationError
from model.tribert.evaluate import MIXTURE, ORACLE, SWAPPED, choose_pairs
from model.tribert.evaluation_config import EvaluationConfig
from model.tribert.losses import loss_terms
from model.tribert.metrics import silent
from model.tribert.module import TriBERTModule
from model.tribert.published import Published
from model.tribert.recipe import RECIPE, build
from model.tribert.separation import MixReader, joined_windows, predict_masks, separate
from storage.catalog import list_stages
from storage.layout import open_store
from storage.records import DatasetItem
from storage.store import FeatureStore
from storage.views import read_dataset_view

STAGES = ("frames", "stft", "pose_embed")
HEARD = "vggish"
"""Named where the store has it for every item: a row hears the mixture with its network."""
MODEL = "model"
TIMED_STEPS = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """A dataset of a store, without its test items."""

    store: FeatureStore
    dataset: str
    stages: Mapping[str, str]
    items: tuple[DatasetItem, ...]
    pose: PoseConfig
    """Sizes of the stored embeddings."""


def find_place(root: Path, dataset: str) -> Place:
    """Return the dataset that is named, or the only one.

    Raises
    ------
    RecipeError
        The store has several datasets and none is named, or sources that read different stages.
    SeparationError
        The dataset has no validation item.
    StoreError
        There is no such store, dataset or stage.
    """
    layout = open_store(root)
    name = chosen_dataset(layout, dataset)
    items = [
        item
        for item in read_dataset_view(layout, name)
        if item.split != "test" and (not item.tasks or RECIPE in item.tasks)
    ]
    if not any(item.split == "val" for item in items):
        raise SeparationError(
            f"{name}: {len(items)} items for training and none for validation, which rows are "
            "judged by; give the list a split 'val'"
        )
    store = FeatureStore(root)
    stages = stages_of(store, items, STAGES)
    if list_stages(layout, HEARD):
        heard = stages_of(store, items, [HEARD])
        if {item.item_id for item in items} <= set(store.items(heard[HEARD])):
            stages |= heard
    persons, channels, joints = store.schema(stages["pose_embed"])["embedding"].row_shape
    return Place(
        store=store,
        dataset=name,
        stages=stages,
        items=tuple(items),
        pose=PoseConfig(channels=channels, joints=joints, persons=persons),
    )


def make_row(
    place: Place, config: Config, options: argparse.Namespace, *, run_dir: Path
) -> dict[str, Any]:
    """Train in `run_dir`, which goes on where it was stopped, and return the row's figures."""
    if options.steps:
        values = steps_override(options.steps)["optim"]
        config = replace(config, optim=replace(config.optim, **values))
    job = TrainJob(
        recipe=RECIPE,
        recipe_version=RECIPE_VERSION,
        configuration=config.as_json(),
        seed=options.seed,
        stages=place.stages,
        snapshot="",
        dataset=place.dataset,
        store_root=place.store.layout.root,
        run_dir=run_dir,
        device=options.device,
        weights_dir=options.weights_dir,
    )
    seed_everything(options.seed)
    parts = build(job, place.store, place.items)
    result = fit(
        parts,
        run_dir,
        seed=options.seed,
        loader_workers=options.workers,
        device=options.device,
    )
    device = torch.device(Device.parse(options.device).kind)
    module = parts.module
    if not isinstance(module, TriBERTModule):
        raise TypeError(f"expected a TriBERTModule, got {type(module).__name__}")
    module.to(device).eval()
    settings = EvaluationConfig(pairs=options.pairs, seed=options.seed)
    judged = separated(place, module, settings, device)
    return {
        **figures(judged),
        **losses(result),
        **step_time(module, parts, device),
        "parameters": sum(p.numel() for p in module.network.parameters()),
        "best_step": result.best_step,
        "train_s": result.wall_s,
    }


def separated(
    place: Place,
    module: TriBERTModule | Published,
    settings: EvaluationConfig,
    device: torch.device,
) -> list[Judged]:
    """Return the scores of fixed pairs of validation clips of different classes."""
    data = module.config.data
    stages = stages_read(
        place.store, place.stages, data.spectrogram, sound_patches=data.sound_patches
    )
    held_out = [item for item in place.items if item.split == "val"]
    found = find_clips(place.store, stages, held_out, data)
    sizes = spectrogram_config(place.store, stages, data)
    reader = MixReader(
        store=place.store,
        stages=stages,
        classes=module.classes,
        data=data,
        sizes=sizes,
        span_frames=settings.span_frames,
    )
    with judges() as pool:
        for pair in choose_pairs(found, settings):
            mix = reader.read([found.clips[n] for n in pair])
            if any(silent(mix.references_NS)):
                continue
            masks = {
                MODEL: predict_masks(module.network, mix.batch, device),
                SWAPPED: predict_masks(module.network, mix.batch.swapped(), device),
                ORACLE: mix.batch.masks_BNQF,
            }
            estimates = {
                name: Estimate(
                    waves_NS=separate(
                        mix.mixture_LT, joined_windows(each), settings.mask_application, sizes
                    )
                )
                for name, each in masks.items()
            }
            mixture = np.broadcast_to(mix.mixture_S, mix.references_NS.shape)
            names = tuple(clip.item_id for clip in mix.clips)
            pool.submit(
                names,
                mix.references_NS,
                mix.mixture_S,
                {**estimates, MIXTURE: Estimate(waves_NS=mixture)},
            )
        judged = pool.results()
    if not judged:
        raise SeparationError(f"{place.dataset}: no validation pair has sound in its middle")
    return judged


def figures(judged: list[Judged]) -> dict[str, Any]:
    """Return mean SDRs, and that of every pair."""
    sdr = {name: per_pair(judged, name, "sdr") for name in (MODEL, SWAPPED, MIXTURE, ORACLE)}
    return {
        "sdr": statistics.fmean(sdr[MODEL]),
        "sdr_swapped": statistics.fmean(sdr[SWAPPED]),
        "sdr_mixture": statistics.fmean(sdr[MIXTURE]),
        "sdr_oracle": statistics.fmean(sdr[ORACLE]),
        "sdr_pairs": sdr[MODEL],
        "pairs": [list(each.pair) for each in judged],
    }


def losses(result: FitResult) -> dict[str, float]:
    """Return the mask losses on validation mixes at the step whose weights were kept."""
    seen = [row for row in result.history if "val/mask_loss" in row]
    if not seen:
        raise SeparationError("no validation mix could be made: add val clips of two classes")
    kept = next((row for row in seen if row["step"] == result.best_step), seen[-1])
    return {
        "mask_loss": kept["val/mask_loss"],
        "mask_loss_swapped": kept["val/mask_loss_swapped"],
    }


def step_time(module: TriBERTModule, parts: TrainParts, device: torch.device) -> dict[str, float]:
    """Return seconds of a step (forward, backward, optimiser) on one batch, the median of a few."""
    module.train()
    optimiser = module.configure_optimizers()["optimizer"]
    keys = range(min(parts.batch_size, len(parts.train)))
    batch = collate([parts.train[(0, index)] for index in keys]).to(device)
    seconds, cpu_seconds = [], []
    for _ in range(1 + TIMED_STEPS):
        began, cpu_began = time.perf_counter(), time.process_time()
        _step(module, optimiser, batch, device, short=parts.precision == "bf16-mixed")
        seconds.append(time.perf_counter() - began)
        cpu_seconds.append(time.process_time() - cpu_began)
    return {
        "step_s": statistics.median(seconds[1:]),
        "step_cpu_s": statistics.median(cpu_seconds[1:]),
    }


def _step(
    module: TriBERTModule,
    optimiser: torch.optim.Optimizer,
    batch: Batch,
    device: torch.device,
    *,
    short: bool,
) -> None:
    optimiser.zero_grad(set_to_none=True)
    with torch.autocast(device.type, dtype=torch.bfloat16, enabled=short):
        outputs = module.named_alike(module.network(batch))
        loss = loss_terms(outputs, batch, module.config.loss).total
    loss.backward()
    optimiser.step()
    if device.type == "cuda":
        torch.cuda.synchronize()
