"""[tribert] initial reaches the trainer, with the ST-GCN that the model knows."""

from __future__ import annotations

import json
from typing import Any

import pytest

from storage.errors import ItemNotFound
from storage.fingerprint import StageRecord
from storage.models import ModelRecord, publish_model
from tasks.context import load_context
from tasks.models import configuration, draft_job
from tasks.pins import pinned_model
from tasks.settings import SettingsError, load_settings


def context_with(desk: Any, text: str) -> Any:
    desk.list([("a.mp4", "violin", "train"), ("b.mp4", "tuba", "train")])
    desk.parser.read_string(f"[tribert]\n{text}\n")
    return load_context(desk.name, "tribert")


def publish(context: Any, recipe: str, **fields: Any) -> str:
    record = ModelRecord(recipe=recipe, recipe_version=1, **fields)
    folder = context.layout.root / f"prepared-{recipe}"
    folder.mkdir()
    publish_model(context.layout, record, folder, {})
    return record.name


def test_nothing_is_fine_tuned_by_default(desk: Any) -> None:
    context = context_with(desk, "preset = tiny")
    assert context.settings.tribert.initial == ""
    assert configuration(context, "tribert")["initial"]["model"] == ""
    assert pinned_model(context) is None


def test_settings_reach_the_configuration_and_the_fingerprint(desk: Any) -> None:
    context = context_with(
        desk,
        "preset = paper\nmax_steps = 40\ninitial = tribert-0123456789ab\ninitial_maps = swap\n"
        "initial_overlap = allow",
    )
    values = configuration(context, "tribert")
    assert values["initial"] == {
        "model": "tribert-0123456789ab",
        "maps": "swap",
        "overlap": "allow",
    }
    assert values["optim"]["lr_unet"] == 1e-7
    assert values["optim"]["max_steps"] == 40


def test_the_models_own_stgcn_embeds_the_poses(desk: Any) -> None:
    context = context_with(desk, "preset = tiny")
    embedder = publish(context, "stgcn", seed=3)
    record = StageRecord(stage="pose_embed", stage_version=1, parameters={"model": embedder})
    path = context.layout.stage_meta(record.name)
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps(record.as_json()))
    source = publish(context, "tribert", stages={"pose_embed": record.name})
    load_context.cache_clear()
    tuned = context_with(desk, f"initial = {source}")
    assert pinned_model(tuned) == embedder
    other = publish(context, "avvp")
    load_context.cache_clear()
    wrong = context_with(desk, f"initial = {other}")
    with pytest.raises(LookupError, match=r"initial = avvp-.*\(none\) are not in"):
        pinned_model(wrong)
    load_context.cache_clear()
    with pytest.raises(ItemNotFound, match="tribert-000000000000"):
        draft_job(context_with(desk, "initial = tribert-000000000000"), "tribert")


@pytest.mark.parametrize(
    "text, said",
    [
        ("initial_maps = drop", "'drop': expected one of keep, swap"),
        ("initial_overlap = yes", "'yes': expected one of refuse, allow"),
    ],
)
def test_other_words_are_refused(desk: Any, text: str, said: str) -> None:
    desk.parser.read_string(f"[tribert]\n{text}\n")
    with pytest.raises(SettingsError, match=said):
        load_settings()
