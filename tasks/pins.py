"""Which ST-GCN embeds the poses of a dataset: pinned once, so that new items never retrain it.

The pin's key holds what decides the network (recipe version, configuration, seed) and the
fingerprint of the pose stage, but not the items: put a setting back, and the old pin is found.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from pipeline.stages import STAGES, ResolvedStage, resolve_pose_embed_stage
from storage.fingerprint import StageRecord, sha256_json
from storage.layout import Layout
from storage.models import model_complete, pin, read_model
from tasks.context import POSE_EMBED
from tasks.models import POSE_MODEL, draft_job

if TYPE_CHECKING:
    from tasks.context import Context


def pin_key(context: Context) -> str:
    """Return the key under which the dataset's ST-GCN is pinned."""
    record = draft_job(context, POSE_MODEL).record
    decisive = {
        "version": record.recipe_version,
        "configuration": dict(record.configuration),
        "seed": record.seed,
        "stages": dict(record.stages),
    }
    return f"pose_embed:{sha256_json(decisive)[:12]}"


def pinned_model(context: Context) -> str | None:
    """Return the name of the pinned ST-GCN, or None while there is none.

    A TriBERT that is fine-tuned brings its own: embeddings of another would mean nothing to it.
    """
    if source := context.settings.tribert.initial:
        return embedder_of(context.layout, source)
    name = context.pins().get(pin_key(context))
    return name if name is not None and model_complete(context.layout, name) else None


def embedder_of(layout: Layout, tribert: str) -> str:
    """Return the name of the ST-GCN whose embeddings a published TriBERT was trained on.

    Raises
    ------
    storage.errors.ItemNotFound
        There is no such TriBERT.
    LookupError
        It is no TriBERT, or what it read is not in this store.
    """
    stage = read_model(layout, tribert)["record"]["stages"].get(POSE_EMBED, "")
    path = layout.stage_meta(stage) if stage else None
    if path is None or not path.is_file():
        raise LookupError(
            f"[tribert] initial = {tribert}: the pose embeddings that it was trained on "
            f"({stage or 'none'}) are not in {layout.root}; name a TriBERT of this store"
        )
    record = StageRecord.from_json(json.loads(path.read_text(encoding="utf-8")))
    return str(record.parameters["model"])


def pin_model(context: Context, name: str) -> None:
    """Pin a published ST-GCN for this dataset and these settings."""
    pin(context.layout, context.name, pin_key(context), name)


def resolve_pose_embed(context: Context) -> ResolvedStage:
    """Return the pose_embed stage through the pinned model.

    Raises
    ------
    LookupError
        No ST-GCN is pinned yet.
    """
    name = pinned_model(context)
    if name is None:
        raise LookupError(
            f"pose_embed of {context.dataset.name} waits for its ST-GCN, which is not trained yet"
        )
    settings = context.settings.stages["pose_embed"]
    mirrored = context.settings.tribert.flip > 0
    config = STAGES["pose_embed"].config(**settings, model=name, mirrored=mirrored)
    digest = read_model(context.layout, name)["weights_sha256"]
    return resolve_pose_embed_stage(config, weights_sha256=digest, pose=context.stages["pose"])
