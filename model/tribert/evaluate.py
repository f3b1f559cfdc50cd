"""Evaluation of separation: fixed test mixes, scored beside the bounds that make sense of a score.

In: an `EvaluateJob` with a published TriBERT. Out: `results.json`, `pairs.csv` and the examples'
files in the job's `out_dir`. Rows: the model; the mixture itself (lower bound); the target mask
(upper bound); the model with each video's pictures and poses given to the other one, which tells
what the conditioning is worth.

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
from model.separation.oracle import oracle_row, oracle_waves
from model.separation.output import differences, pair_json, summary, write_pairs
from model.separation.published import PUBLISHED_ROWS
from model.separation.scoring import Estimate, judges
from model.train.fit import Device
from model.tribert.clips import (
    Clip,
    ClipSet,
    find_clips,
    spectrogram_config,
    stages_read,
)
from model.tribert.config import Config
from model.tribert.errors import SeparationError
from model.tribert.evaluation_config import EvaluationConfig
from model.tribert.examples import save_example, thumbnails
from model.tribert.metrics import silent
from model.tribert.network import TriBERT
from model.tribert.published import load_published, seen_of
from model.tribert.recipe import RECIPE
from model.tribert.separation import Mix, MixReader, joined_windows, predict_masks, separate
from pipeline.datasets.pairs import disjoint_pairs, official_pairs
from storage.layout import Layout
from storage.models import read_model, read_snapshot
from storage.records import DatasetItem
from storage.store import FeatureStore

logger = logging.getLogger(__name__)

PREDICTED, MIXTURE, ORACLE, SWAPPED = (
    "TriBERT",
    "mixture",
    "oracle mask",
    "swapped pictures and poses",
)
ROWS = (PREDICTED, MIXTURE, ORACLE, SWAPPED)


def evaluate(job: EvaluateJob) -> dict[str, Any]:
    """Separate the job's test mixes, write the results into `job.out_dir`, and return them.

    Raises
    ------
    SeparationError
        No test mix can be read, or the model was trained or validated on a test video.
    """
    store = FeatureStore(job.store_root)
    published = read_model(store.layout, job.models[0])
    config = Config.from_json(published["record"]["configuration"])
    settings = EvaluationConfig.from_json(job.configuration)
    test = _test_items(store, job)
    refuse_seen(store.layout, test, job.models[0])
    stages = stages_read(store, job.stages, config.data.spectrogram)
    found = find_clips(store, stages, test, config.data)
    pairs = choose_pairs(found, settings)
    reader = MixReader(
        store=store,
        stages=stages,
        classes=published["classes"],
        data=config.data,
        sizes=spectrogram_config(store, stages, config.data),
        span_frames=settings.span_frames,
    )
    run = _Run(
        reader,
        load_published(store.layout, job.models[0]).network,
        settings,
        torch.device(Device.parse(job.device).kind),
        job.out_dir,
    )
    results = {
        "kind": "separation",
        "model": job.models[0],
        "initial": published.get("summary", {}).get("initial"),
        "settings": settings.as_json(),
        "left_out": dict(found.left_out),
        **run.separate_all([[found.clips[n] for n in pair] for pair in pairs]),
    }
    (job.out_dir / "results.json").write_text(json.dumps(results, indent=1) + "\n")
    return results


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
    """Separates and judges mixes: the network one by one, the metric in processes beside it."""

    def __init__(
        self,
        reader: MixReader,
        network: TriBERT,
        settings: EvaluationConfig,
        device: torch.device,
        out_dir: Path,
    ) -> None:
        self.reader = reader
        self.network = network.to(device)
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
                mix = self.reader.read(clips)
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
            "pairs": [pair_json(each, PREDICTED) for each in judged],
            "summary": summary(judged, seed=self.settings.seed),
            "differences": differences(judged, PREDICTED, seed=self.settings.seed),
            "published": [row.as_json() for row in PUBLISHED_ROWS],
            "skipped": skipped,
            "examples": examples,
        }

    def estimates(self, mix: Mix) -> tuple[torch.Tensor, dict[str, Estimate]]:
        """Return the predicted masks (N, Q, T), and what each row gives back."""
        masks_NQT = joined_windows(predict_masks(self.network, mix.batch, self.device))
        swapped = predict_masks(self.network, mix.batch.swapped(), self.device)
        by_row = {
            PREDICTED: masks_NQT,
            ORACLE: joined_windows(mix.batch.masks_BNQF),
            SWAPPED: joined_windows(swapped),
        }
        apply, sizes = self.settings.mask_application, self.reader.sizes
        waves = {
            row: separate(mix.mixture_LT, masks, apply, sizes) for row, masks in by_row.items()
        }
        waves[MIXTURE] = np.broadcast_to(mix.mixture_S, mix.references_NS.shape)
        rows = {row: waves[row] for row in ROWS} | {
            oracle_row(target): oracle_waves(mix.sources_NLT, mix.mixture_LT, target, sizes)
            for target in self.settings.oracles
        }
        return masks_NQT, {row: Estimate(waves_NS=each) for row, each in rows.items()}

    def _example(
        self, number: int, mix: Mix, masks_NQT: torch.Tensor, estimates: Mapping[str, Estimate]
    ) -> dict[str, Any]:
        reader = self.reader
        return save_example(
            self.out_dir,
            number,
            mix=mix,
            masks_NQT=masks_NQT,
            estimates_NS=estimates[PREDICTED].waves_NS,
            rate_hz=reader.sizes.rate_hz,
            pictures=thumbnails(reader.store, reader.stages, mix, reader.data),
        )


def _ids(mix: Mix) -> list[str]:
    return [clip.item_id for clip in mix.clips]
