"""ST-GCN against the published code's numbers, and what masks must not change."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch

from pipeline.networks.graph import hop_distances, normalised_adjacency, spatial_partition
from pipeline.networks.stgcn import Block, Stgcn
from pipeline.networks.stgcn_config import NetworkConfig
from pipeline.pose.joints68 import CENTRE, EDGES, N_JOINTS

GOLDEN = Path(__file__).parents[2].parent / "shared" / "golden"
SMALL = NetworkConfig(channels=(8, 8, 12), strides=(1, 2, 2), kernel_rows=5)


@pytest.fixture(scope="module")
def values() -> dict[str, Any]:
    if not GOLDEN.is_dir():
        pytest.skip("the golden numbers (shared/golden) are not here")
    return json.loads((GOLDEN / "stgcn" / "values.json").read_text())


@pytest.fixture(scope="module")
def arrays(values: dict[str, Any]) -> Any:
    return np.load(GOLDEN / "stgcn" / "stgcn.npz")


@pytest.fixture(scope="module")
def fill(values: dict[str, Any]) -> ModuleType:
    spec = importlib.util.spec_from_file_location("golden_fill", GOLDEN / "golden_fill.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def our_name(reference: str) -> str:
    """Name of our tensor that plays the role of the reference's."""
    for old, new in (
        ("data_bn.", "input_norm."),
        ("st_gcn_networks.", "blocks."),
        ("gcn.conv.", "spatial.conv."),
        ("tcn.0.", "spatial_norm."),
        ("tcn.2.", "temporal."),
        ("tcn.3.", "temporal_norm."),
        ("edge_importance.", "importance."),
        ("fcn.", "classifier."),
    ):
        reference = reference.replace(old, new)
    return reference


def load(module: torch.nn.Module, parameters: list[dict[str, Any]], fill: ModuleType) -> None:
    state = module.state_dict()
    filled = {}
    for row in parameters:
        name = our_name(row["name"])
        if name == "A":
            continue
        if row["name"].startswith("edge_importance."):
            value = fill.tensor(row["name"], tuple(row["shape"]), 0.1, 1.0)
        else:
            value = fill.param(row["name"], tuple(row["shape"]))
        filled[name] = torch.from_numpy(np.array(value)).reshape(state[name].shape)
    module.load_state_dict(filled)


def test_partition_equals_the_true_distance_golden(values: Any, arrays: Any) -> None:
    edges, centre = values["edges"], values["center"]
    partition = spatial_partition(edges, 18, centre)
    np.testing.assert_allclose(partition, arrays["A_spatial_true_distance"], atol=1e-12)
    np.testing.assert_allclose(partition.sum(0), arrays["A_uniform"][0], atol=1e-12)
    np.testing.assert_allclose(arrays["A_spatial"].sum(0), partition.sum(0), atol=1e-12)
    np.testing.assert_allclose(hop_distances(edges, 18), arrays["hop_distance_full"])


def test_our_graph_has_an_inward_and_an_outward_subset_for_each_edge() -> None:
    partition = spatial_partition(EDGES, N_JOINTS, CENTRE)
    assert [int((subset > 0).sum()) for subset in partition] == [68, 67, 67]
    np.testing.assert_allclose(partition.sum(0), normalised_adjacency(EDGES, N_JOINTS))
    assert hop_distances(EDGES, N_JOINTS)[CENTRE].max() == 8


@pytest.mark.parametrize(
    "name, channels, stride, residual",
    [
        ("blockA_3to8_s1_res", (3, 8), 1, True),
        ("blockB_3to8_s2_res", (3, 8), 2, True),
        ("blockC_8to8_s1_identity", (8, 8), 1, True),
        ("blockD_3to8_nores", (3, 8), 1, False),
    ],
)
def test_block_equals_golden(
    name: str,
    channels: tuple[int, int],
    stride: int,
    residual: bool,
    values: Any,
    arrays: Any,
    fill: ModuleType,
) -> None:
    block = Block(*channels, stride=stride, residual=residual).eval()
    load(block, values[name]["parameters"], fill)
    x = torch.from_numpy(fill.tensor(f"stgcn:x{channels[0]}", (2, channels[0], 16, 18)))
    adjacency = torch.tensor(arrays["A_spatial"], dtype=torch.float32)
    importance = torch.from_numpy(fill.tensor("stgcn:importance", (3, 18, 18), 0.1, 1.0))
    with torch.no_grad():
        np.testing.assert_allclose(block(x, adjacency), arrays[name], atol=1e-5)
        weighted = block(x, adjacency * importance)
        np.testing.assert_allclose(weighted, arrays[f"{name}_importance"], atol=1e-5)
        spatial = block.spatial(x, adjacency)
        np.testing.assert_allclose(spatial, arrays[f"{name}_gcn_only"], atol=1e-5)


def test_network_equals_golden(values: Any, arrays: Any, fill: ModuleType) -> None:
    network = Stgcn(NetworkConfig(), arrays["A_spatial"], n_classes=21).eval()
    load(network, values["model"]["parameters"], fill)
    clip = torch.from_numpy(fill.tensor("stgcn:clip", (2, 3, 32, 18, 2)))
    everywhere = torch.ones((2, 32, 2))
    with torch.no_grad():
        for present in (None, everywhere):
            feature, _ = network.extract_feature(clip, present)
            assert feature.shape == (2, 256, 8, 18, 2)
            np.testing.assert_allclose(
                feature[:, ::8], arrays["model_feature_ch_every8"], atol=2e-5
            )
            np.testing.assert_allclose(
                feature.mean((2, 3)), arrays["model_feature_mean_TV"], atol=2e-5
            )
            logits = network(clip, present)
            np.testing.assert_allclose(logits, arrays["model_logits"], atol=2e-5)


def small_network(n_classes: int = 4) -> Stgcn:
    torch.manual_seed(0)
    network = Stgcn(SMALL, spatial_partition(EDGES, N_JOINTS, CENTRE), n_classes)
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm1d | torch.nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.2)
            module.running_var.uniform_(0.5, 2)
            torch.nn.init.normal_(module.bias, 0.0, 0.5)
    return network.eval()


def clip_of(rows: int, persons: int = 2) -> torch.Tensor:
    return torch.randn((1, 3, rows, N_JOINTS, persons), generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("rows", [1, 5, 16, 19])
def test_padding_with_absence_changes_nothing(rows: int) -> None:
    network, clip = small_network(), clip_of(rows)
    present = torch.ones((1, rows, 2))
    longer = torch.zeros((1, 3, rows + 13, N_JOINTS, 2))
    longer[:, :, :rows] = clip
    longer_present = torch.zeros((1, rows + 13, 2))
    longer_present[:, :rows] = 1
    with torch.no_grad():
        feature, steps = network.extract_feature(clip, present)
        padded, padded_steps = network.extract_feature(longer, longer_present)
        assert feature.shape[2] == -(-rows // SMALL.stride)
        torch.testing.assert_close(padded[:, :, : feature.shape[2]], feature)
        assert padded_steps[:, feature.shape[2] :].sum() == 0
        assert padded[:, :, feature.shape[2] :].abs().sum() == 0
        assert steps.min() == 1
        torch.testing.assert_close(network(longer, longer_present), network(clip, present))


def test_an_absent_second_person_changes_nothing() -> None:
    network, clip = small_network(), clip_of(16, persons=1)
    two = torch.cat([clip, torch.zeros_like(clip)], dim=-1)
    present = torch.tensor([1.0, 0.0]).expand(1, 16, 2)
    with torch.no_grad():
        torch.testing.assert_close(network(two, present), network(clip))
        feature, _ = network.extract_feature(two, present)
        assert feature[..., 1].abs().sum() == 0
        assert torch.isfinite(network(two, torch.zeros((1, 16, 2)))).all()


def test_features_depend_on_no_row_out_of_reach() -> None:
    network, clip = small_network(), clip_of(64)
    changed = clip.clone()
    changed[:, :, 40:] += 1.0
    with torch.no_grad():
        difference = (network.extract_feature(clip)[0] - network.extract_feature(changed)[0]).abs()
    moved = torch.nonzero(difference.amax(dim=(0, 1, 3, 4)) > 1e-6)[:, 0] * SMALL.stride
    assert int(moved.min()) >= 40 - SMALL.reach_rows
    assert int(moved.min()) < 40
    assert NetworkConfig().reach_rows == 76


def test_training_step_with_a_single_row_and_with_nobody() -> None:
    network = small_network().train()
    present = torch.zeros((2, 8, 2))
    loss = network(clip_of(8).expand(2, -1, -1, -1, -1), present).square().sum()
    loss.backward()
    present[0, 3, 0] = 1
    network(clip_of(8).expand(2, -1, -1, -1, -1), present).square().sum().backward()
    assert all(torch.isfinite(p.grad).all() for p in network.parameters() if p.grad is not None)


def test_configuration_refuses_what_cannot_work() -> None:
    with pytest.raises(ValueError, match="one of each"):
        NetworkConfig(channels=(8, 8), strides=(1,))
    with pytest.raises(ValueError, match="odd"):
        NetworkConfig(channels=(8,), strides=(1,), kernel_rows=4)
    assert NetworkConfig.from_json({"channels": [8], "strides": [2]}).stride == 2
