"""Evaluation of retrieval: every test clip is looked for among all test clips.

In: an `EvaluateJob` with published scorers. Out: `results.json`, `ranks.csv` and `pictures.npz` in
the job's `out_dir`: one row a scorer and variant, chance, and the paper's printed figures, which
are marked so (TriBERT Table 3; tribert.md section 8).

`python -m model.retrieval.evaluate STORE SCORER ... ` prints the same as JSON for scorers of one
snapshot, without publishing anything.
"""

from __future__ import annotations

import argparse
import csv
import json
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from model.jobs import EvaluateJob
from model.retrieval.config import PRINTED, RECIPE, Config, EvaluationConfig
from model.retrieval.embeddings import ClipReader, Embeddings
from model.retrieval.errors import RetrievalError
from model.retrieval.jobs import job_for
from model.retrieval.metrics import TOP, chance, figures, ranks
from model.retrieval.recipe import embeddings_of, refuse_seen
from model.retrieval.scorer import Scorers
from model.train.errors import TrainingError
from model.train.publish import read_weights
from model.tribert.clips import Clip, ClipSet, find_clips, stages_read
from model.tribert.examples import pictures_of
from model.tribert.published import load_published
from storage.errors import StoreError
from storage.layout import open_store
from storage.models import read_model, read_snapshot
from storage.records import DatasetItem
from storage.store import FeatureStore


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One line of the table: which candidates each query found, best first, and its rank."""

    variant: str
    embedding: str
    protocol: str
    model: str
    clips: tuple[Clip, ...]
    stages: Mapping[str, str]
    left_out: dict[str, str]
    order_NN: torch.Tensor
    ranks_N: torch.Tensor

    @property
    def item_ids(self) -> tuple[str, ...]:
        """The ids of the clips."""
        return tuple(clip.item_id for clip in self.clips)


def evaluate(job: EvaluateJob) -> dict[str, Any]:
    """Rank the test clips with every scorer of the job, write the results, and return them.

    Raises
    ------
    RetrievalError
        A model is no scorer, saw a test video, or fewer than two test clips can be read.
    """
    store = FeatureStore(job.store_root)
    settings = EvaluationConfig.from_json(job.configuration)
    items = read_snapshot(store.layout, job.dataset, job.snapshot)
    rows = [row for name in job.models for row in rank_all(store, job, name, items)]
    pool = pool_of(rows)
    results: dict[str, Any] = {
        "kind": "retrieval",
        "pool": pool,
        "settings": settings.as_json(),
        "protocol": {
            "clip": "each clip's own sound, not mixed, and its pictures and poses, at its middle",
            "joint": "all streams in one pass, as in the paper: the embedding of a stream has "
            "attended to the two others of its own video",
            "alone": "each stream encoded with the two others set to zero",
        },
        "rows": [_row_json(row, settings) for row in rows],
        "chance": chance(pool),
        "printed": {"source": "TriBERT, Table 3, pool of 210; not computed here", "rows": PRINTED},
        "left_out": rows[0].left_out,
    }
    job.out_dir.mkdir(parents=True, exist_ok=True)
    results["pictures"] = save_pictures(job.out_dir, store, rows[0], results["rows"])
    (job.out_dir / "results.json").write_text(json.dumps(results, indent=1) + "\n")
    _write_ranks(job.out_dir / "ranks.csv", rows)
    return results


def pool_of(rows: Sequence[Row]) -> int:
    """Return how many clips each row was ranked among.

    Raises
    ------
    RetrievalError
        The rows have different clips, so that their figures cannot stand in one table.
    """
    for row in rows:
        if row.item_ids != rows[0].item_ids:
            raise RetrievalError(
                f"{row.model} ranks {len(row.item_ids)} clips, {rows[0].model} "
                f"{len(rows[0].item_ids)} or others: their TriBERTs read crops of another length; "
                "evaluate them one by one"
            )
    return len(rows[0].item_ids)


def rank_all(
    store: FeatureStore, job: EvaluateJob, name: str, items: Sequence[DatasetItem]
) -> list[Row]:
    """Return the rows of one published scorer model."""
    described = read_model(store.layout, name)
    if described["record"]["recipe"] != RECIPE:
        raise RetrievalError(
            f"{name}: expected a model of the recipe {RECIPE!r}, it is one of "
            f"{described['record']['recipe']!r}"
        )
    refuse_seen(store, name, items)
    config = Config.from_json(described["record"]["configuration"])
    embeddings, found, stages = test_embeddings(store, job, config, items)
    scorers = Scorers(config.variants, embeddings.sizes(), embeddings.tokens, config.hidden)
    scorers.load_state_dict(read_weights(store.layout, name))
    every_N = torch.arange(len(embeddings))
    rows = []
    for variant in config.variants:
        with torch.no_grad():
            logits_NN = scorers.score_all(variant, embeddings.vectors, every_N)
        rows.append(
            Row(
                variant=variant,
                embedding=config.embedding,
                protocol=config.protocol,
                model=name,
                clips=found.clips,
                stages=stages,
                left_out=dict(found.left_out),
                order_NN=logits_NN.argsort(dim=1, descending=True, stable=True),
                ranks_N=ranks(logits_NN, every_N),
            )
        )
    return rows


def test_embeddings(
    store: FeatureStore, job: EvaluateJob, config: Config, items: Sequence[DatasetItem]
) -> tuple[Embeddings, ClipSet, Mapping[str, str]]:
    """Return the embeddings of the test clips, the clips, and the stages they were read from.

    Raises
    ------
    RetrievalError
        Fewer than two can be read.
    """
    published = load_published(store.layout, config.tribert)
    data = published.config.data
    stages = stages_read(store, job.stages, data.spectrogram, sound_patches=data.sound_patches)
    test = [i for i in items if i.split == "test" and (not i.tasks or "tribert" in i.tasks)]
    found = find_clips(store, stages, test, data)
    reader = ClipReader(store, stages, data)
    embeddings = embeddings_of(found, published, reader, config, job.device)
    if embeddings is None or len(embeddings) < 2:
        raise RetrievalError(
            f"{len(found.clips)} test clips can be read, a pool needs two; left out are "
            f"{len(found.left_out)} (the first: {list(found.left_out.items())[:3]})"
        )
    return embeddings, found, stages


def _row_json(row: Row, settings: EvaluationConfig) -> dict[str, Any]:
    shown = row.order_NN[: settings.examples, : settings.shown]
    return {
        "variant": row.variant,
        "embedding": row.embedding,
        "protocol": row.protocol,
        "model": row.model,
        **figures(row.ranks_N.numpy(), resamples=settings.resamples, seed=settings.seed),
        "examples": [
            {
                "query": row.item_ids[query],
                "rank": int(row.ranks_N[query]),
                "found": [row.item_ids[candidate] for candidate in candidates],
            }
            for query, candidates in enumerate(shown.tolist())
        ],
    }


def save_pictures(
    folder: Path, store: FeatureStore, row: Row, rows: Sequence[Mapping[str, Any]]
) -> dict[str, Any]:
    """Write `pictures.npz`: what the queries and candidates that the rows list look like.

    It holds `frames`, uint8 (M, 1, H, W, 3) RGB, and `poses`, float32 (M, 1, P, 68, 3) in pixels of
    them, of the middles of M clips. Returns what the results say of it: ids and labels, in order.
    """
    examples = [example for each in rows for example in each["examples"]]
    wanted = {item for each in examples for item in (each["query"], *each["found"])}
    clips = [clip for clip in row.clips if clip.item_id in wanted]
    if not clips:
        return {"items": [], "labels": []}
    middles = [(clip, [clip.centres.middle]) for clip in clips]
    np.savez_compressed(folder / "pictures.npz", **pictures_of(store, row.stages, middles))  # type: ignore[arg-type]
    return {
        "items": [clip.item_id for clip in clips],
        "labels": [list(clip.labels) for clip in clips],
    }


def _write_ranks(path: Path, rows: Sequence[Row]) -> None:
    """Write one line a query and row."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["variant", "embedding", "protocol", "model", "query", "rank", "pool"])
        for row in rows:
            for item_id, rank in zip(row.item_ids, row.ranks_N.tolist(), strict=True):
                writer.writerow(
                    [
                        *(row.variant, row.embedding, row.protocol, row.model),
                        *(item_id, rank, len(row.item_ids)),
                    ]
                )


def table(results: dict[str, Any]) -> str:
    """Return the results' rows as lines of text, chance last."""
    lines = [f"pool of {results['pool']}; top-1, top-5, top-10 in percent"]
    named = [(f"{r['variant']} {r['embedding']} {r['protocol']}", r) for r in results["rows"]]
    for name, row in [*named, ("chance", results["chance"])]:
        lines.append(f"{name:45s}" + "".join(f"{row[f'top{top}']:8.2f}" for top in TOP))
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the results of published scorers as JSON, and as a table on stderr."""
    parser = argparse.ArgumentParser(prog="python -m model.retrieval.evaluate")
    parser.add_argument("store", type=Path, help="directory of the feature store")
    parser.add_argument("models", nargs="+", help="names of published retrieval models")
    parser.add_argument("--device", default="auto")
    options = parser.parse_args(arguments)
    try:
        with tempfile.TemporaryDirectory() as folder:
            job = job_for(open_store(options.store), options.models, device=options.device)
            results = evaluate(replace(job, out_dir=Path(folder)))
    except (TrainingError, StoreError) as error:
        print(f"evaluation failed: {error}", file=sys.stderr)
        return 1
    print(json.dumps(results, indent=1))
    print(table(results), file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main())
