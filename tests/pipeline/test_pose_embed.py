"""Embedding poses with a published model: windows, masks, times, and weights that are not right."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file

from pipeline.extractors import pose_embed
from pipeline.extractors.pose_embed import windows
from pipeline.failures import WeightsMissing
from pipeline.media import POSE_SIDECAR
from pipeline.networks.graph import spatial_partition
from pipeline.networks.stgcn import Stgcn
from pipeline.networks.stgcn_config import NetworkConfig
from pipeline.pose.config import MIRRORED_EMBEDDING
from pipeline.pose.joints68 import CENTRE, EDGES, N_JOINTS
from pipeline.pose.normalise import mirror_poses, normalise_poses
from pipeline.stages import (
    PoseConfig,
    PoseEmbedConfig,
    ResolvedStage,
    resolve,
    resolve_pose_embed_stage,
)
from storage.fingerprint import sha256_file
from storage.models import ModelRecord, publish_model

NETWORK = NetworkConfig(channels=(6, 8, 10), strides=(2, 1, 2), kernel_rows=9)
SECONDS, FPS = 70, 8


@given(
    st.integers(1, 3000),
    st.sampled_from([1, 2, 4]),
    st.integers(0, 150),
    st.integers(16, 400),
)
def test_windows_keep_every_step_once_with_all_that_it_sees(
    n_rows: int, stride: int, reach_rows: int, window_rows: int
) -> None:
    steps = []
    for window in windows(n_rows, stride=stride, reach_rows=reach_rows, window_rows=window_rows):
        assert window.start % stride == 0
        first = window.start // stride
        kept = range(first + window.keep.start, first + window.keep.stop)
        steps += kept
        assert window.start <= max(kept[0] * stride - reach_rows, 0)
        assert window.stop >= min(kept[-1] * stride + reach_rows, n_rows)
    assert steps == list(range(-(-n_rows // stride)))


def publish_random_model(layout: Any, folder: Path) -> tuple[str, str]:
    """Name and weights' sha256 of a published model with random weights."""
    torch.manual_seed(0)
    network = Stgcn(NETWORK, spatial_partition(EDGES, N_JOINTS, CENTRE), n_classes=3)
    folder.mkdir()
    save_file(network.state_dict(), folder / "weights.safetensors")
    digest = sha256_file(folder / "weights.safetensors")
    configuration = {
        "network": {"channels": [6, 8, 10], "strides": [2, 1, 2], "kernel_rows": 9},
        "persons": 2,
    }
    record = ModelRecord(
        recipe="stgcn",
        recipe_version=1,
        configuration=configuration,
        seed=0,
        stages={},
        snapshot="0" * 12,
        dataset="lab",
    )
    publish_model(layout, record, folder, {"weights_sha256": digest})
    return record.name, digest


class EmbedLab:
    """A long clip whose person is away for a while, its poses, and a model to embed them with."""

    def __init__(self, laboratory: Any, clip: Path, folder: Path) -> None:
        self.laboratory = laboratory
        sidecar = folder / "poses.json"
        sidecar.write_text(json.dumps(self._entries()))
        self.item = laboratory.add(clip, sidecars={POSE_SIDECAR: sidecar})
        self.pose = resolve({"pose": PoseConfig(backend="alphapose-json")})["pose"]
        outcomes = laboratory.run({"pose": self.pose.config}, [self.item])
        assert outcomes["pose"][self.item].ok
        self.model, digest = publish_random_model(laboratory.layout, folder / "model")
        self.stage = self._resolve(digest)

    def _resolve(self, digest: str, *, mirrored: bool = False) -> ResolvedStage:
        config = PoseEmbedConfig(model=self.model, mirrored=mirrored)
        return resolve_pose_embed_stage(config, weights_sha256=digest, pose=self.pose)

    @staticmethod
    def _entries() -> list[dict[str, Any]]:
        rng = np.random.default_rng(0)
        figure = rng.uniform(10, 80, (68, 2))
        return [
            {
                "image_id": f"{k}.jpg",
                "keypoints": np.concatenate(
                    [figure + 8 * np.sin(k / 3 + np.arange(68))[:, None], np.full((68, 1), 0.9)],
                    axis=1,
                )
                .ravel()
                .tolist(),
            }
            for k in range(SECONDS * FPS)
            if not 200 <= k < 290
        ]

    def rows(self, name: str, array: str) -> np.ndarray:
        return self.laboratory.store.rows(name, self.item, array)

    def whole(self, *, mirrored: bool = False) -> np.ndarray:
        """Embedding of the whole clip in one pass."""
        network = Stgcn(NETWORK, spatial_partition(EDGES, N_JOINTS, CENTRE), n_classes=3)
        folder = self.laboratory.layout.model(self.model)
        network.load_state_dict(load_file(folder / "weights.safetensors"))
        present = self.rows(self.pose.record.name, "present")
        x_CTVM = normalise_poses(
            self.rows(self.pose.record.name, "keypoints"),
            self.rows(self.pose.record.name, "frame_size"),
            present,
        )
        x_CTVM = mirror_poses(x_CTVM) if mirrored else x_CTVM
        with torch.inference_mode():
            feature, _ = network.eval().extract_feature(
                torch.from_numpy(x_CTVM)[None], torch.from_numpy(present.astype(np.float32))[None]
            )
        return feature[0].permute(1, 3, 0, 2).numpy()


@pytest.fixture
def lab(laboratory: Any, clips: Any, tmp_path: Path) -> EmbedLab:
    clip = clips.numbered("minute.mp4", count=SECONDS * FPS, fps=FPS)
    folder = tmp_path / "made"
    folder.mkdir()
    return EmbedLab(laboratory, clip, folder)


def test_windows_give_the_features_of_the_whole_clip(
    lab: EmbedLab, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pose_embed, "WINDOW_ROWS", 128)
    outcome = lab.laboratory.run_stage(lab.stage, [lab.item])[lab.item]
    assert outcome.ok, outcome
    name = lab.stage.record.name
    embedding = lab.rows(name, "embedding")
    assert embedding.dtype == np.float16
    assert embedding.shape == (SECONDS * FPS // 4, 2, 10, 68)
    np.testing.assert_allclose(embedding, lab.whole(), rtol=2e-3, atol=1e-5)
    assert embedding.std() > 0.01
    present = lab.rows(name, "present")
    np.testing.assert_array_equal(present[:, 0], [not 200 <= 4 * k < 290 - 3 for k in range(140)])
    assert not embedding[present == 0].any()
    base = lab.laboratory.store.time_base(name, lab.item)
    assert (base.t0_s, base.hop_s) == (0.0, 0.5)


def test_mirrored_poses_are_embedded_beside_the_others(lab: EmbedLab) -> None:
    weights = lab.stage.record.weights["model"]
    stage = lab._resolve(weights, mirrored=True)
    assert stage.record.name != lab.stage.record.name
    assert "mirrored" not in lab.stage.record.parameters, "the default's fingerprint is the old one"
    assert lab.laboratory.run_stage(stage, [lab.item])[lab.item].ok
    plain, mirrored = (
        lab.rows(stage.record.name, array) for array in ("embedding", MIRRORED_EMBEDDING)
    )
    np.testing.assert_allclose(plain, lab.whole(), rtol=2e-3, atol=1e-5)
    np.testing.assert_allclose(mirrored, lab.whole(mirrored=True), rtol=2e-3, atol=1e-5)
    assert np.abs(plain - mirrored).max() > 0.01


def test_changed_weights_stop_the_run(lab: EmbedLab) -> None:
    stage = lab._resolve("0" * 64)
    with pytest.raises(WeightsMissing, match="was changed"):
        lab.laboratory.run_stage(stage, [lab.item])


def test_a_model_that_is_not_there_stops_the_run(lab: EmbedLab) -> None:
    config = PoseEmbedConfig(model="stgcn-000000000000")
    stage = resolve_pose_embed_stage(config, weights_sha256="0" * 64, pose=lab.pose)
    with pytest.raises(WeightsMissing, match="not published"):
        lab.laboratory.run_stage(stage, [lab.item])


def test_an_unplaced_stage_says_what_is_missing(lab: EmbedLab) -> None:
    with pytest.raises(WeightsMissing, match=lab.model):
        pose_embed.build(lab.stage)
