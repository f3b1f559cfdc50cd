"""Raw joints of a sample: rows of the pose stage around its middle picture, only when asked for."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch

from model.separation.config import presets
from model.tribert.batch import collate
from model.tribert.clips import find_clips, stages_read
from model.tribert.pictures import ViewReader
from pipeline.pose.normalise import normalise_poses
from storage.store import FeatureStore

TINY = presets["tiny"].data
DATA = replace(TINY, picture_px=32, spec_frames=32, joint_frames=6)


def first_clip(tone_store, data):
    store = FeatureStore(tone_store.layout.root)
    stages = stages_read(store, tone_store.stages)
    clip = find_clips(store, stages, tone_store.split("train"), data).clips[0]
    return store, stages, clip


def test_joints_are_normalised_rows_around_the_middle_picture(tone_store) -> None:
    store, stages, clip = first_clip(tone_store, DATA)
    joints_RPVK = ViewReader(store, stages, DATA).read(clip, 10).joints_RPVK
    rows = [
        np.asarray(store.rows(stages["pose"], clip.item_id, name, 7, 13))
        for name in ("keypoints", "frame_size", "present")
    ]
    np.testing.assert_array_equal(joints_RPVK, normalise_poses(*rows).transpose(1, 3, 2, 0))
    assert joints_RPVK.shape == (6, 2, 68, 3)
    assert joints_RPVK.dtype == np.float32
    assert joints_RPVK[:, 0].any()
    assert not joints_RPVK[:, 1].any(), "nobody is in the second slot"


def test_beyond_the_ends_nobody_is_there(tone_store) -> None:
    long = replace(DATA, joint_frames=48)
    store, stages, clip = first_clip(tone_store, long)
    joints_RPVK = ViewReader(store, stages, long).read(clip, 10).joints_RPVK
    seen_R = joints_RPVK[:, 0].any(axis=(1, 2))
    assert np.flatnonzero(seen_R).tolist() == list(range(14, 38)), "24 rows are in the store"


def test_joints_follow_their_video_and_are_optional(tone_store, noise_batch) -> None:
    store, stages, clip = first_clip(tone_store, TINY)
    assert ViewReader(store, stages, TINY).read(clip, 10).joints_RPVK is None
    assert "joints_BNRPVK" not in noise_batch.swapped().tensors()
    joints = torch.rand(2, 2, 4, 2, 68, 3)
    with_joints = replace(noise_batch, joints_BNRPVK=joints)
    assert torch.equal(with_joints.swapped().joints_BNRPVK, joints.flip(1))
    assert torch.equal(collate([with_joints, with_joints]).joints_BNRPVK, torch.cat([joints] * 2))
