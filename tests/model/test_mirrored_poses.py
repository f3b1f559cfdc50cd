"""Why mirrored poses are embedded anew: their embedding is no rearrangement of the other."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from pipeline.networks.graph import spatial_partition
from pipeline.networks.stgcn import Stgcn
from pipeline.networks.stgcn_config import NetworkConfig
from pipeline.pose.joints68 import CENTRE, EDGES, MIRROR, N_JOINTS
from pipeline.pose.normalise import mirror_poses

SMALL = NetworkConfig(channels=(16, 16, 24), strides=(1, 2, 2), kernel_rows=5)


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_mirrored_poses_have_another_embedding(seed: int) -> None:
    """It is about as far off as the embedding of any other clip, joints exchanged or not.

    Distances are in deviations of the features between clips, in which two clips are 1.4 apart. The
    weights are random: training with mirrored windows may bring the two nearer.
    """
    torch.manual_seed(seed)
    network = Stgcn(SMALL, spatial_partition(EDGES, N_JOINTS, CENTRE), 3).eval()
    rng = np.random.default_rng(seed)
    clips = rng.uniform(-0.5, 0.5, (16, 3, 1, N_JOINTS, 1)) + 0.05 * rng.normal(
        size=(16, 3, 12, N_JOINTS, 1)
    )
    clips[:, 2] = 1.0
    mirrored = np.stack([mirror_poses(clip) for clip in clips])
    with torch.no_grad():
        plain, wanted = (
            network.extract_feature(torch.from_numpy(poses).float())[0]
            for poses in (clips, mirrored)
        )
    spread = (plain - plain.mean(0)).square().mean().sqrt()
    for guess in (plain, plain[:, :, :, torch.from_numpy(MIRROR.copy())]):
        error = (guess - wanted).square().mean().sqrt()
        assert error > spread


def test_mirroring_twice_changes_nothing() -> None:
    poses = np.random.default_rng(0).normal(size=(3, 5, N_JOINTS, 2))
    np.testing.assert_array_equal(mirror_poses(mirror_poses(poses)), poses)
