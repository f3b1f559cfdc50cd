"""Evaluation of separation: fixed test mixes, scored beside the bounds that make sense of a score.

In: an `EvaluateJob` with a published TriBERT. Out: `results.json` and the examples' files in the
job's `out_dir`. Rows: the model; the mixture itself (lower bound); the target mask (upper bound);
the model with each video's pictures and poses given to the other one, which tells what the
conditioning is worth.

Every pair counts, also where a prediction is empty (it counts as the mixture); pairs are averaged
one by one, not by batch (tribert.md section 7).
"""

from __future__ import annotations

import json
import logging
import os
from collections import Counter
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from model.jobs import EvaluateJob
from model.train.fit import Device
from model.train.publish import read_weights
from model.tribert.clips import (
    Clip,
    ClipSet,
    find_clips,
    spectrogram_config,
    stages_read,
    videos_of,
)
from model.tribert.config import Config
from model.tribert.errors import SeparationError
from model.tribert.evaluation_config import EvaluationConfig
from model.tribert.examples import save_example, thumbnails
from model.tribert.metrics import Scores, mean, score, silent
from model.tribert.network import TriBERT
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

MOST_WAITING = 32
"""Mixes that wait for the metric at most: each holds its waveforms."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Judged:
    """Scores of one mix, by row; `silent` tells which predictions of the model were empty."""

    pair: tuple[str, ...]
    rows: Mapping[str, Scores]
    silent: tuple[bool, ...]


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
    refuse_seen(published, test, job.models[0])
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
        load_network(store.layout, job.models[0], config, published["classes"]),
        settings,
        torch.device(Device.parse(job.device).kind),
        job.out_dir,
    )
    results = {
        "kind": "separation",
        "model": job.models[0],
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


def refuse_seen(published: Mapping[str, Any], test: Sequence[DatasetItem], model: str) -> None:
    """Raise SeparationError when the model's training or validation read a test video."""
    used = published["ids_used"]
    seen = videos_of([*used.get("train", ()), *used.get("val", ())])
    if shared := sorted(seen & videos_of(item.item_id for item in test)):
        raise SeparationError(
            f"{model} was trained or validated on {len(shared)} of the test videos (the first: "
            f"{shared[0]}): evaluate it on its own snapshot, or train again on this one"
        )


def load_network(layout: Layout, name: str, config: Config, classes: Sequence[str]) -> TriBERT:
    """Return a published network with its weights, in evaluation mode."""
    network = TriBERT(config, len(classes))
    network.load_state_dict(read_weights(layout, name))
    return network.eval()


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
    """Separates and judges mixes: the network one by one, the slow metric in threads beside it."""

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
        judged: list[Future[Judged]] = []
        with ThreadPoolExecutor(os.cpu_count()) as threads:
            for number, clips in enumerate(pairs):
                mix = self.reader.read(clips)
                if any(silent(mix.references_NS)):
                    skipped[" + ".join(_ids(mix))] = "a source is silent in its middle"
                    continue
                masks_NQT, estimates = self.estimates(mix)
                judged.append(threads.submit(judge, mix, estimates))
                if len(judged) > MOST_WAITING:
                    judged[-MOST_WAITING].result()
                if len(examples) < self.settings.examples:
                    examples.append(self._example(len(examples), mix, masks_NQT, estimates))
                logger.info("separated %d of %d", number + 1, len(pairs))
            scored = [future.result() for future in judged]
        if not scored:
            raise SeparationError(f"no test mix could be scored: {skipped}")
        return {
            "pairs": [_pair_json(each) for each in scored],
            "summary": summary(scored),
            "skipped": skipped,
            "examples": examples,
        }

    def estimates(self, mix: Mix) -> tuple[torch.Tensor, dict[str, np.ndarray]]:
        """Return the predicted masks (N, Q, T), and waveforms (N, S) by row."""
        masks_NQT = joined_windows(predict_masks(self.network, mix.batch, self.device))
        swapped = predict_masks(self.network, mix.batch.swapped(), self.device)
        by_row = {
            PREDICTED: masks_NQT,
            ORACLE: joined_windows(mix.batch.masks_BNQF),
            SWAPPED: joined_windows(swapped),
        }
        waves = {
            row: separate(mix.mixture_LT, masks, self.settings.mask_application, self.reader.sizes)
            for row, masks in by_row.items()
        }
        waves[MIXTURE] = np.broadcast_to(mix.mixture_S, mix.references_NS.shape)
        return masks_NQT, waves

    def _example(
        self, number: int, mix: Mix, masks_NQT: torch.Tensor, estimates: Mapping[str, np.ndarray]
    ) -> dict[str, Any]:
        reader = self.reader
        return save_example(
            self.out_dir,
            number,
            mix=mix,
            masks_NQT=masks_NQT,
            estimates_NS=estimates[PREDICTED],
            rate_hz=reader.sizes.rate_hz,
            pictures=thumbnails(reader.store, reader.stages, mix, reader.data),
        )


def judge(mix: Mix, estimates: Mapping[str, np.ndarray]) -> Judged:
    """Return the scores of every row of one mix."""
    scored = {
        row: score(mix.references_NS, estimates[row], mix.mixture_S)
        for row in (PREDICTED, MIXTURE, ORACLE, SWAPPED)
    }
    return Judged(
        pair=tuple(_ids(mix)),
        rows={row: scores for row, (scores, _) in scored.items()},
        silent=scored[PREDICTED][1],
    )


def summary(judged: Sequence[Judged]) -> dict[str, dict[str, float]]:
    """Return for each row the mean over pairs, and how many pairs and empty predictions it has."""
    rows = list(judged[0].rows)
    empty = Counter({PREDICTED: sum(sum(each.silent) for each in judged)})
    return {
        row: {
            **mean([each.rows[row] for each in judged]),
            "pairs": len(judged),
            "silent": empty[row],
        }
        for row in rows
    }


def _ids(mix: Mix) -> list[str]:
    return [clip.item_id for clip in mix.clips]


def _pair_json(each: Judged) -> dict[str, Any]:
    first, second = each.pair
    return {
        "a": first,
        "b": second,
        "rows": {row: scores.as_json() for row, scores in each.rows.items()},
        "silent": list(each.silent),
    }
