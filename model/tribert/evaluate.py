"""Evaluation of separation: fixed test mixes, scored beside the bounds that make sense of a score.

In: an `EvaluateJob` with a published TriBERT or baseline, and any number of others to stand beside
it on the same mixes. Out: `results.json`, `pairs.csv` and the examples' files in the job's
`out_dir`. Rows: the model; the mixture itself (lower bound); the target mask (upper bound); the
model with each video's pictures and poses given to the other one, which tells what the
conditioning is worth; the other models.

Every pair counts, also where a prediction is empty (it counts as the mixture; the published way,
which skips it, stands beside); pairs are averaged one by one, not by batch (tribert.md section 7).
"""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from model.jobs import EvaluateJob
from model.separation.nmf import NMF_ORACLE_ROW, NMF_ROW, nmf_masks, oracle_groups
from model.separation.oracle import oracle_row, oracle_waves
from model.separation.output import differences, pair_json, summary, write_pairs
from model.separation.published import PUBLISHED_ROWS
from model.separation.scoring import Estimate, judges
from model.separation.systems import System, load_system, row_names
from model.train.fit import Device
from model.tribert.clips import (
    Clip,
    ClipSet,
    find_clips,
    spectrogram_config,
    stages_read,
)
from model.tribert.described import seen_of
from model.tribert.errors import SeparationError
from model.tribert.evaluation_config import EvaluationConfig
from model.tribert.example_arrays import write_example
from model.tribert.metrics import silent
from model.tribert.recipe import RECIPE
from model.tribert.separation import Mix, MixReader, joined_windows, predict_masks, separate
from model.tribert.spectrogram import istft
from pipeline.datasets.pairs import disjoint_pairs, official_pairs
from storage.layout import Layout
from storage.models import read_snapshot
from storage.records import DatasetItem
from storage.store import FeatureStore

logger = logging.getLogger(__name__)

MIXTURE, ORACLE, SWAPPED = "mixture", "oracle mask", "swapped pictures and poses"


def evaluate(job: EvaluateJob) -> dict[str, Any]:
    """Separate the job's test mixes, write the results into `job.out_dir`, and return them.

    Raises
    ------
    SeparationError
        No test mix can be read, or the model was trained or validated on a test video.
    """
    store = FeatureStore(job.store_root)
    settings = EvaluationConfig.from_json(job.configuration)
    test = _test_items(store, job)
    for name in job.models:
        refuse_seen(store.layout, test, name)
    systems = [load_system(store.layout, name) for name in job.models]
    refuse_other_mixes(systems)
    found = common_clips(store, job, test, systems)
    pairs = choose_pairs(found, settings)
    readers = [mix_reader(store, job, system, settings) for system in systems]
    device = torch.device(Device.parse(job.device).kind)
    run = _Run(systems, readers, settings, device, job.out_dir)
    published = systems[0].published
    results = {
        "kind": "separation",
        "model": job.models[0],
        "models": dict(zip(run.names, job.models, strict=True)),
        "initial": published.get("summary", {}).get("initial"),
        "settings": settings.as_json(),
        "left_out": dict(found.left_out),
        **run.separate_all([[found.clips[n] for n in pair] for pair in pairs]),
    }
    (job.out_dir / "results.json").write_text(json.dumps(results, indent=1) + "\n")
    return results


def common_clips(
    store: FeatureStore, job: EvaluateJob, test: Sequence[DatasetItem], systems: Sequence[System]
) -> ClipSet:
    """Return the test clips that every system can read, and why the others are left out."""
    sets = []
    for system in systems:
        stages = _stages(store, job, system)
        sets.append(find_clips(store, stages, test, system.data))
    left_out = {key: why for each in sets for key, why in each.left_out.items()}
    kept = tuple(clip for clip in sets[0].clips if clip.item_id not in left_out)
    return ClipSet(clips=kept, left_out=left_out)


def refuse_other_mixes(systems: Sequence[System]) -> None:
    """Raise SeparationError where a system cannot be judged on the mixes of the first one."""
    for name in ("videos", "spec_frames", "spec_rows", "spectrogram"):
        values = {system.model: getattr(system.data, name) for system in systems}
        if len(set(values.values())) > 1:
            raise SeparationError(
                f"models of one table separate the same mixes, but data.{name} differs: {values}; "
                "evaluate them one by one, or train the baseline as a twin of the other"
            )


def _stages(store: FeatureStore, job: EvaluateJob, system: System) -> dict[str, str]:
    data = system.data
    return stages_read(store, job.stages, data.spectrogram, sound_patches=data.sound_patches)


def mix_reader(
    store: FeatureStore, job: EvaluateJob, system: System, settings: EvaluationConfig
) -> MixReader:
    """Return what reads a system's mixes, with its own pictures."""
    stages = _stages(store, job, system)
    return MixReader(
        store=store,
        stages=stages,
        classes=system.published["classes"],
        data=system.data,
        sizes=spectrogram_config(store, stages, system.data),
        span_frames=settings.span_frames,
    )


def _test_items(store: FeatureStore, job: EvaluateJob) -> list[DatasetItem]:
    items = read_snapshot(store.layout, job.dataset, job.snapshot)
    return [
        item for item in items if item.split == "test" and (not item.tasks or RECIPE in item.tasks)
    ]


def refuse_seen(layout: Layout, test: Sequence[DatasetItem], model: str) -> None:
    """Raise SeparationError when the model's training or validation read a test video.

    So it is when a model that it started from did, unless its own settings allow that.
    """
    if leak := seen_of(layout, model, [item.item_id for item in test], admitted=False):
        raise SeparationError(
            f"{model} was trained or validated on {len(leak.ids)} of the test videos (the first: "
            f"{leak.ids[0]}): evaluate it on its own snapshot, or train again on this one"
        )


def choose_pairs(found: ClipSet, settings: EvaluationConfig) -> list[tuple[int, int]]:
    """Return positions in `found.clips` of the videos of each mix.

    Raises
    ------
    SeparationError
        There is none.
    """
    if len(found.clips) < 2:
        missing = [f"{item_id}: {why}" for item_id, why in list(found.left_out.items())[:5]]
        raise SeparationError(
            f"{len(found.clips)} test clips can be read, a mix needs two; left out are "
            f"{len(found.left_out)} (the first: {missing})"
        )
    count = settings.pairs or len(found.clips)
    if settings.pair_rule == "official":
        return official_pairs(len(found.clips))[:count]
    pairs = disjoint_pairs([clip.labels for clip in found.clips], count, seed=settings.seed)
    if not pairs:
        raise SeparationError(
            f"test pairs: {len(found.clips)} clips, and no two without a common label: "
            "add clips of another class, or set pair_rule = 'official'"
        )
    return pairs


class _Run:
    """Separates and judges mixes: the networks one by one, the metric in processes beside them."""

    def __init__(
        self,
        systems: Sequence[System],
        readers: Sequence[MixReader],
        settings: EvaluationConfig,
        device: torch.device,
        out_dir: Path,
    ) -> None:
        self.systems = systems
        self.readers = readers
        self.names = row_names(systems)
        for system in systems:
            system.network.to(device)
        self.settings = settings
        self.device = device
        self.out_dir = out_dir

    def separate_all(self, pairs: Sequence[Sequence[Clip]]) -> dict[str, Any]:
        """Return the results of all pairs, as JSON values."""
        self.out_dir.mkdir(parents=True, exist_ok=True)
        examples: list[dict[str, Any]] = []
        skipped: dict[str, str] = {}
        with judges() as pool:
            for number, clips in enumerate(pairs):
                mix = self.readers[0].read(clips)
                if any(silent(mix.references_NS)):
                    skipped[" + ".join(_ids(mix))] = "a source is silent in its middle"
                    continue
                masks_NQT, estimates = self.estimates(mix)
                pool.submit(tuple(_ids(mix)), mix.references_NS, mix.mixture_S, estimates)
                if len(examples) < self.settings.examples:
                    examples.append(self._example(len(examples), mix, masks_NQT, estimates))
                logger.info("separated %d of %d", number + 1, len(pairs))
            judged = pool.results()
        if not judged:
            raise SeparationError(f"no test mix could be scored: {skipped}")
        write_pairs(self.out_dir, judged)
        return {
            "pairs": [pair_json(each, self.names[0]) for each in judged],
            "summary": summary(judged, seed=self.settings.seed),
            "differences": differences(judged, self.names[0], seed=self.settings.seed),
            "published": [row.as_json() for row in PUBLISHED_ROWS],
            "skipped": skipped,
            "examples": examples,
        }

    def estimates(self, mix: Mix) -> tuple[torch.Tensor, dict[str, Estimate]]:
        """Return the first model's masks (N, Q, T), and what each row gives back."""
        first, *others = self.names
        masks_NQT, rows = self._predicted(0, mix)
        mixture = np.broadcast_to(mix.mixture_S, mix.references_NS.shape)
        own = self._waves(mix, joined_windows(mix.batch.masks_BNQF))
        rows = {
            first: rows.pop(first),
            MIXTURE: Estimate(waves_NS=mixture),
            ORACLE: Estimate(waves_NS=own),
            **rows,
        }
        for number in range(1, len(others) + 1):
            rows |= self._predicted(number, self._seen_by(number, mix))[1]
        sizes = self.readers[0].sizes
        for target in self.settings.oracles:
            waves = oracle_waves(mix.sources_NLT, mix.mixture_LT, target, sizes)
            rows[oracle_row(target)] = Estimate(waves_NS=waves)
        if self.settings.nmf:
            rows |= self._factorised(mix)
        return masks_NQT, rows

    def _factorised(self, mix: Mix) -> dict[str, Estimate]:
        """Return the rows that need no training: components grouped by timbre, and by truth."""
        sizes, sources = self.readers[0].sizes, len(mix.clips)
        masks_NLT, factors = nmf_masks(
            mix.mixture_LT.numpy(), sources, sizes, seed=self.settings.seed
        )
        truth_NLT = factors.masks(oracle_groups(factors, mix.sources_NLT.numpy()), sources)
        blind, told = (
            istft(mix.mixture_LT * torch.from_numpy(masks), sizes).numpy()
            for masks in (masks_NLT, truth_NLT)
        )
        return {
            NMF_ROW: Estimate(waves_NS=blind, permutation="best"),
            NMF_ORACLE_ROW: Estimate(waves_NS=told),
        }

    def _predicted(self, number: int, mix: Mix) -> tuple[torch.Tensor, dict[str, Estimate]]:
        """Return a model's masks (N, Q, T) and its rows: as it is and, where it sees, swapped."""
        system, name = self.systems[number], self.names[number]
        masks_NQT = joined_windows(predict_masks(system.network, mix.batch, self.device))
        waves = self._waves(mix, masks_NQT, soft=system.soft)
        rows = {name: Estimate(waves_NS=waves, permutation=system.permutation)}
        if system.sees_video:
            swapped = predict_masks(system.network, mix.batch.swapped(), self.device)
            row = SWAPPED if number == 0 else f"{name}, {SWAPPED}"
            waves = self._waves(mix, joined_windows(swapped), soft=system.soft)
            rows[row] = Estimate(waves_NS=waves)
        for without, network in system.ablations.items():
            masks = joined_windows(predict_masks(network, mix.batch, self.device))
            waves = self._waves(mix, masks, soft=system.soft)
            rows[f"{name}, {without}"] = Estimate(waves_NS=waves)
        return masks_NQT, rows

    def _waves(self, mix: Mix, masks_NQT: torch.Tensor, *, soft: bool = False) -> np.ndarray:
        apply = "soft" if soft else self.settings.mask_application
        return separate(mix.mixture_LT, masks_NQT, apply, self.readers[0].sizes)

    def _seen_by(self, number: int, mix: Mix) -> Mix:
        """Return the mix as a model reads it: other pictures, where its settings differ."""
        same = self.systems[number].data == self.systems[0].data
        return mix if same else self.readers[number].read(mix.clips)

    def _example(
        self, number: int, mix: Mix, masks_NQT: torch.Tensor, estimates: Mapping[str, Estimate]
    ) -> dict[str, Any]:
        system = self.systems[0]
        return write_example(
            self.out_dir,
            number,
            system=system,
            reader=self.readers[0],
            mix=mix,
            masks_NQF=masks_NQT,
            estimates_NS=estimates[self.names[0]].waves_NS,
            application="soft" if system.soft else self.settings.mask_application,
            device=self.device,
        )


def _ids(mix: Mix) -> list[str]:
    return [clip.item_id for clip in mix.clips]
