"""Music Gesture: who is absent is masked, both inputs count, and each video has its own mask."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from model.separation.config import Config, GestureConfig, of_system
from model.separation.gesture import Ablated, MusicGesture, PoseFeatures, TokenAttention
from model.separation.module import build_network, parameter_groups
from model.settings import ConfigError
from model.tribert.batch import Batch
from model.tribert.config import VisionConfig
from model.tribert.errors import SeparationError
from model.tribert.losses import mask_loss
from pipeline.networks.stgcn_config import NetworkConfig as GraphConfig

HEADS = ("music_gesture", "music_gesture_plain")
GRAPH = GraphConfig(channels=(4, 6), strides=(2, 2), kernel_rows=3)


def small(system: str) -> Config:
    config = of_system("tiny", system)
    return replace(
        config,
        network=replace(config.network, widths=(4, 8), maps=3),
        vision=VisionConfig(backbone="small", small_widths=(4, 6)),
        gesture=GestureConfig(graph=GRAPH, context_width=5),
    )


def network_of(system: str, seed: int = 0) -> MusicGesture:
    torch.manual_seed(seed)
    network = build_network(small(system), 2)
    assert isinstance(network, MusicGesture)
    return network.eval()


@pytest.fixture
def batch(noise_batch: Batch) -> Batch:
    """The second person of every video is absent."""
    joints = torch.rand(2, 2, 8, 2, 68, 3, generator=torch.Generator().manual_seed(1)) - 0.5
    joints[..., 2] = 0.9
    joints[:, :, :, 1] = 0
    return replace(noise_batch, joints_BNRPVK=joints)


def test_attention_rows_add_up_to_one() -> None:
    torch.manual_seed(0)
    audio, tokens = torch.randn(3, 4, 8), torch.randn(3, 6, 8)
    valid = torch.rand(3, 6) < 0.6
    valid[:, 0] = True
    attention = TokenAttention(8)
    weights = attention.weights(audio, tokens, valid)
    torch.testing.assert_close(weights.sum(2), torch.ones(3, 4))
    assert not weights[~valid[:, None].expand(-1, 4, -1)].any()
    expected = torch.softmax(audio[0, 1] @ tokens[0, valid[0]].T, dim=0)
    torch.testing.assert_close(weights[0, 1, valid[0]], expected)
    hidden = audio + weights @ tokens
    torch.testing.assert_close(attention(audio, tokens, valid), hidden + attention.mlp(hidden))


def test_absent_persons_are_masked(batch: Batch) -> None:
    torch.manual_seed(0)
    poses = PoseFeatures(GRAPH).eval()
    poses.norm = torch.nn.Identity()
    joints = batch.joints_BNRPVK[0]
    feature, anyone = poses(joints)
    assert feature.shape == (2, 2, 68, 6)
    assert anyone.all()
    torch.testing.assert_close(poses(joints[:, :, :1])[0], feature)
    moved = joints.clone()
    moved[:, :, 1, :, :2] = 7.0
    torch.testing.assert_close(poses(moved)[0], feature)
    both = joints.clone()
    both[:, :, 1] = joints[:, :, 0].flip(0)
    torch.testing.assert_close(poses(both)[0], (feature + feature.flip(0)) / 2)


def test_steps_without_anybody_are_not_asked(batch: Batch) -> None:
    network = network_of("music_gesture")
    joints = batch.joints_BNRPVK[0].clone()
    joints[0, 4:] = 0
    joints[1] = 0
    tokens, valid = network.seen(joints, batch.frames_BNTHWC[0])
    assert tokens.shape == (2, 2 * 68, 4 * 2)
    assert valid[0].unflatten(0, (2, 68)).tolist() == [[True] * 68, [False] * 68]
    assert valid[1].all(), "nobody at all: the context alone"
    both = torch.stack([joints, joints])
    assert torch.isfinite(network(replace(batch, joints_BNRPVK=both)).masks_BNQF).all()


@pytest.mark.parametrize("system", HEADS)
def test_swapping_the_videos_swaps_the_masks(batch: Batch, system: str) -> None:
    network = network_of(system)
    masks = network(batch).masks_BNQF
    assert masks.shape == (2, 2, 16, 16)
    torch.testing.assert_close(network(batch.swapped()).masks_BNQF, masks.flip(1))
    assert (masks[:, 0] - masks[:, 1]).abs().max() > 1e-5


@pytest.mark.parametrize("system", HEADS)
def test_a_mask_does_not_depend_on_the_other_video(batch: Batch, system: str) -> None:
    network = network_of(system)
    frames, joints = batch.frames_BNTHWC.clone(), batch.joints_BNRPVK.clone()
    frames[:, 1], joints[:, 1] = 0, 0
    alone = network(replace(batch, frames_BNTHWC=frames, joints_BNRPVK=joints)).masks_BNQF
    torch.testing.assert_close(alone[:, 0], network(batch).masks_BNQF[:, 0])


@pytest.mark.parametrize("system", HEADS)
def test_pose_and_context_count_by_comparable_amounts(batch: Batch, system: str) -> None:
    changes = {"pose": 0.0, "context": 0.0}
    for seed in range(4):
        network = network_of(system, seed)
        logits = network(batch).mask_logits_BNQF
        for zeroed in changes:
            without = Ablated(network, zeroed)(batch).mask_logits_BNQF
            changes[zeroed] += float((without - logits).detach().abs().mean())
    assert min(changes.values()) > 1e-3
    if system == "music_gesture":
        assert 0.2 < changes["pose"] / changes["context"] < 5, changes


def test_a_gesture_alone_can_tell_the_videos_apart(batch: Batch) -> None:
    torch.manual_seed(0)
    network = build_network(small("music_gesture"), 2)
    frames = batch.frames_BNTHWC[:, :1].expand(-1, 2, -1, -1, -1, -1)
    halves = torch.zeros(2, 2, 16, 16)
    halves[:, 0, :8] = halves[:, 1, 8:] = 1
    batch = replace(batch, frames_BNTHWC=frames, masks_BNQF=halves)
    optimiser = torch.optim.AdamW(network.parameters(), lr=1e-2)
    for _ in range(60):
        optimiser.zero_grad()
        loss = mask_loss(network(batch).mask_logits_BNQF, halves, torch.ones(2, 1, 16, 16))
        loss.backward()
        optimiser.step()
    assert float(loss.detach()) < 0.1


def test_joints_are_required(noise_batch: Batch) -> None:
    with pytest.raises(SeparationError, match=r"set data\.joint_frames"):
        network_of("music_gesture")(noise_batch)
    config = of_system("tiny", "music_gesture")
    with pytest.raises(ConfigError, match=r"data\.joint_frames=0"):
        replace(config, data=replace(config.data, joint_frames=0))


def test_settings_and_groups() -> None:
    paper = of_system("paper", "music_gesture")
    assert (paper.data.joint_frames, paper.data.mask) == (48, "dominant")
    assert paper.network.widths == (64, 128, 256, 512)
    assert paper.gesture.graph.stride == 4
    assert Config.from_json(paper.as_json()) == paper
    for system in HEADS:
        network = network_of(system)
        held = [id(p) for g in parameter_groups(network, paper.optim) for p in g["params"]]
        assert sorted(held) == sorted(id(p) for p in network.parameters())
