"""The acceptance list of the specification (tribert.md section 14), line by line."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from mir_eval.separation import bss_eval_sources

from model.tribert import spectrogram as sg
from model.tribert.attention import CoBlock, SelfBlock
from model.tribert.config import presets
from model.tribert.masks import half_masks
from model.tribert.metrics import bss_eval, silent
from model.tribert.mixing import mean_mixture
from model.tribert.network import TriBERT
from pipeline.datasets.pairs import official_pairs
from pipeline.networks.graph import hop_distances, normalised_adjacency, spatial_partition
from pipeline.networks.stgcn import Stgcn
from pipeline.networks.stgcn_config import NetworkConfig
from pipeline.pose.joints68 import CENTRE, EDGES, N_JOINTS

SIZES = sg.SpectrogramConfig()


pytestmark = pytest.mark.filterwarnings("ignore:mir_eval.separation:FutureWarning")


@pytest.fixture(scope="module")
def released() -> TriBERT:
    with torch.device("meta"):
        return TriBERT(presets["released"], classes=21)


def test_warping_a_smooth_spectrum_there_and_back_changes_little() -> None:
    bins = torch.linspace(0, 1, SIZES.bins)
    smooth = (1 + torch.cos(2 * torch.pi * bins))[:, None].expand(-1, 16)[None].contiguous()
    back = sg.unwarp(sg.warp(smooth, SIZES.rows), SIZES.bins)
    assert (back - smooth).abs().max() < 1e-3


def test_warp_positions_follow_the_formula() -> None:
    t = np.linspace(0, 1, 256)
    np.testing.assert_allclose(sg.warp_positions(256), (21**t - 1) / 20, atol=1e-12)


def test_sizes_of_the_spectrum_and_of_its_inverse() -> None:
    assert SIZES.crop_samples == 65535
    spectrum = sg.stft(torch.zeros(65535), SIZES)
    assert spectrum.shape == (512, 256)
    assert sg.istft(spectrum, SIZES).shape == (65280,)


def test_the_true_masks_separate_two_tones_and_the_mixture_does_not() -> None:
    time_s = torch.arange(65535) / SIZES.rate_hz
    tones = 0.5 * torch.stack([torch.sin(2 * torch.pi * f * time_s) for f in (440.0, 1760.0)])
    sources, mixture = mean_mixture(tones)
    mixed = sg.stft(mixture, SIZES)
    warped = sg.warp(torch.cat([sg.stft(sources, SIZES).abs(), mixed.abs()[None]]), SIZES.rows)
    masks = sg.unwarp(half_masks(warped[:-1], warped[-1]), SIZES.bins).gt(0.5)
    kept = sources[:, :65280].numpy()
    assert min(bss_eval(kept, sg.istft(mixed * masks, SIZES).numpy()).sdr) > 15
    unseparated = bss_eval(kept, mixture[None, :65280].expand(2, -1).numpy())
    assert max(np.abs(unseparated.sdr)) < 0.5


def test_co_attention_and_self_attention_take_turns(released: TriBERT) -> None:
    order = [
        "C" if isinstance(module, CoBlock) else "S"
        for module in released.encoder.modules()
        if isinstance(module, CoBlock | SelfBlock)
    ]
    assert "".join(order) == "CSSS" * 6


def test_released_has_the_published_number_of_parameters(released: TriBERT) -> None:
    """Within 1 % where the original's layers that never learn are left out of its count."""
    sizes = {
        name: sum(tensor.numel() for tensor in child.parameters())
        for name, child in released.named_children()
    }
    separation = sizes.pop("unet") + sizes.pop("fusion")
    assert separation == pytest.approx(51.3e6, rel=0.01)
    never_used = 6 * (2 * (512 * 1024 + 1024) + 512 * 512 + 512) + 5 * 512 + 512 + 512 * 2 + 2
    assert sum(sizes.values()) == pytest.approx(223.2e6 - never_used, rel=0.01)
    parts = {
        "backbone": released.vision.trunk,
        "convolution": released.vision.segmentation.features,
        "pose": released.pose.embedding,
        "co-attention": torch.nn.ModuleList(each.co_block for each in released.encoder.layers),
    }
    counts = {name: sum(p.numel() for p in part.parameters()) for name, part in parts.items()}
    assert counts["backbone"] == pytest.approx(23.5e6, rel=0.01)
    assert counts["convolution"] == pytest.approx(18.9e6, rel=0.01)
    assert counts["pose"] == pytest.approx(17.8e6, rel=0.01)
    unused_queries = 6 * (2 * (512 * 1024 + 1024) + 512 * 512 + 512)
    assert counts["co-attention"] == pytest.approx(63.1e6 - unused_queries, rel=0.01)


@pytest.mark.parametrize(("preset", "width"), [("paper", 512), ("released", 256)])
def test_keys_of_co_attention_have_the_presets_width(preset: str, width: int) -> None:
    with torch.device("meta"):
        network = TriBERT(presets[preset], classes=21)
    for layer in network.encoder.layers:
        attention = layer.co_block.attention
        assert {linear.out_features for linear in (*attention.key, *attention.value)} == {width}


def test_the_skeleton_is_one_piece_and_its_subsets_sum_to_the_adjacency() -> None:
    assert N_JOINTS == 68
    assert np.isfinite(hop_distances(EDGES, N_JOINTS)).all()
    partition = spatial_partition(EDGES, N_JOINTS, CENTRE)
    assert partition.shape == (3, 68, 68)
    np.testing.assert_allclose(partition.sum(0), normalised_adjacency(EDGES, N_JOINTS))


def test_pose_features_have_a_step_for_four_rows() -> None:
    network = Stgcn(NetworkConfig(), spatial_partition(EDGES, N_JOINTS, CENTRE), n_classes=21)
    with torch.no_grad():
        feature, _ = network.eval().extract_feature(torch.randn(1, 3, 16, N_JOINTS, 2))
    assert feature.shape == (1, 256, 4, 68, 2)


def test_scores_equal_those_of_mir_eval_and_silence_is_noticed() -> None:
    rng = np.random.default_rng(0)
    references = rng.normal(0, 0.1, (2, 4000))
    estimates = references + rng.normal(0, 0.05, (2, 4000))
    expected = bss_eval_sources(references, estimates, compute_permutation=False)
    got = bss_eval(references, estimates)
    for mine, theirs in zip((got.sdr, got.sir, got.sar), expected, strict=False):
        np.testing.assert_allclose(mine, theirs, atol=1e-6)
    assert silent(np.stack([np.zeros(9), np.ones(9)])) == (True, False)


def test_the_published_pairs_are_drawn_again() -> None:
    seconds = [98, 34, 14, 60, 60, 159, 203, 82]
    assert official_pairs(211)[:8] == list(enumerate(seconds))
