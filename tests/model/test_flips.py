"""Mirrored clips: pictures, boxes, joints and embeddings change sides together, or not at all."""

from __future__ import annotations

import shutil
from dataclasses import replace

import numpy as np
import pytest

from model.settings import ConfigError
from model.tribert.clips import find_clips, stages_read
from model.tribert.config import presets
from model.tribert.errors import SeparationError
from model.tribert.pictures import PictureCrop, ViewReader, training_crop
from model.tribert.recipe import refuse_unmirrored
from pipeline.pose.config import MIRRORED_EMBEDDING
from pipeline.pose.joints68 import MIRROR
from storage.fingerprint import StageRecord
from storage.layout import open_store
from storage.records import StageSchema
from storage.shard_writer import write_shard
from storage.staging import ItemWriter
from storage.store import FeatureStore

DATA = replace(presets["tiny"].data, picture_px=32, spec_frames=32, joint_frames=6)
OFF_CENTRE = PictureCrop(scale=0.7, x=0.2, y=0.4)


@pytest.fixture(scope="module")
def stages(tone_store, tmp_path_factory) -> tuple[FeatureStore, dict[str, str]]:
    """A copy of the store in which embeddings of mirrored poses, made up, stand beside."""
    root = tmp_path_factory.mktemp("mirrored") / "store"
    shutil.copytree(tone_store.layout.root, root)
    layout, store = open_store(root), FeatureStore(root)
    old = tone_store.stages["pose_embed"]
    (spec,) = store.schema(old).arrays
    schema = StageSchema(arrays=(spec, replace(spec, name=MIRRORED_EMBEDDING)))
    record = StageRecord(
        stage="pose_embed",
        stage_version=1,
        parameters={"model": "stgcn-x", "mirrored": True},
        upstream={"pose": tone_store.stages["pose"].removeprefix("pose-")},
    )
    ids = store.items(old)
    for item_id in ids:
        path = layout.staged_item(record.name, "tones", 0, item_id)
        path.parent.mkdir(parents=True, exist_ok=True)
        base, rows = store.time_base(old, item_id), store.rows(old, item_id)
        with ItemWriter(path, schema, base, "0" * 64, item_id=item_id) as writer:
            writer.append({spec.name: rows, MIRRORED_EMBEDDING: -rows})
    write_shard(layout, record, "tones", 0, ids, provenance={}, schema=schema)
    named = {**tone_store.stages, "pose_embed": record.name}
    return FeatureStore(root), stages_read(FeatureStore(root), named)


def test_a_flip_mirrors_all_that_a_view_shows(stages, tone_store) -> None:
    store, names = stages
    clip = find_clips(store, names, tone_store.split("train"), DATA).clips[0]
    reader = ViewReader(store, names, DATA)
    plain, flipped = (
        reader.read(clip, 8, crop) for crop in (OFF_CENTRE, replace(OFF_CENTRE, flip=True))
    )
    np.testing.assert_array_equal(flipped.frames_THWC, plain.frames_THWC[:, :, ::-1])
    np.testing.assert_array_equal(flipped.pose_TPKV, -plain.pose_TPKV)
    np.testing.assert_array_equal(flipped.present_TP, plain.present_TP)
    x1, y1, x2, y2, area = plain.box_TP5[:, 0].T
    expected = np.stack([1 - x2, y1, 1 - x1, y2, area], axis=1)
    np.testing.assert_allclose(flipped.box_TP5[:, 0], expected, atol=1e-6)
    assert not flipped.box_TP5[:, 1].any(), "nobody is in the second slot"
    mirrored = plain.joints_RPVK[:, :, MIRROR] * [-1, 1, 1]
    np.testing.assert_allclose(flipped.joints_RPVK, mirrored)


def test_so_many_clips_are_flipped_and_other_draws_stay() -> None:
    none, half = replace(DATA, flip=0.0), replace(DATA, flip=0.5)
    draws = [training_crop(half, np.random.default_rng(seed)) for seed in range(400)]
    assert 160 < sum(crop.flip for crop in draws) < 240
    for seed, crop in enumerate(draws[:20]):
        assert training_crop(none, np.random.default_rng(seed)) == replace(crop, flip=False)


def test_flips_without_mirrored_embeddings_are_refused(stages, tone_store) -> None:
    store, names = stages
    refuse_unmirrored(store, names["pose_embed"])
    with pytest.raises(SeparationError, match=r"no embeddings of mirrored poses.*flip"):
        refuse_unmirrored(store, tone_store.stages["pose_embed"])
    with pytest.raises(ConfigError, match="flip"):
        replace(DATA, flip=1.5)
