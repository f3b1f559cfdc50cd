"""HAN and its loss against the original network's numbers, and what must hold of any HAN."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from avvp_golden import NETWORK, AvvpGolden, original_name

from model.avvp.han import HAN, HybridAttention
from model.avvp.losses import weak_loss

SMOOTHING = {"audio_smoothing": 0.0, "visual_smoothing": 0.1}
LAYER = {
    "own": "self_attn",
    "other": "cm_attn",
    "inner": "linear1",
    "outer": "linear2",
    "norm_attention": "norm1",
    "norm_output": "norm2",
}
NAMES = {
    **NETWORK,
    **{f"attention.{ours}": f"hat_encoder.layers.0.{theirs}" for ours, theirs in LAYER.items()},
}
"""Our modules -> those of the original state dict."""


@pytest.fixture(scope="module")
def golden(shared_dir) -> AvvpGolden:
    return AvvpGolden(shared_dir / "golden")


def small(classes: int = 5) -> HAN:
    torch.manual_seed(0)
    return HAN(width=16, classes=classes, dropout=0.1)


def batch(videos: int = 3, seconds: int = 10) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    return [torch.rand(videos, seconds, size, generator=generator) for size in (128, 2048, 512)]


@pytest.mark.parametrize("dtype, tolerance", [(torch.float64, 1e-7), (torch.float32, 1e-5)])
def test_outputs_equal_the_originals(golden, dtype, tolerance) -> None:
    network = golden.filled(HAN(width=512, classes=25, dropout=0.1), NAMES).to(dtype).eval()
    with torch.no_grad():
        parsing = network(*(x.to(dtype) for x in golden.inputs()))
    for ours, name in (
        (parsing.video_BC, "video"),
        (parsing.audio_BC, "audio"),
        (parsing.visual_BC, "visual"),
        (parsing.second_BTMC, "frame"),
    ):
        np.testing.assert_allclose(ours.numpy(), golden.arrays[f"han_{name}_prob"], atol=tolerance)
    used = sum(p.numel() for p in network.parameters())
    assert used == golden.values["han"]["parameter_count_used"]


def test_loss_and_gradients_equal_the_originals(golden) -> None:
    network = golden.filled(HAN(width=512, classes=25, dropout=0.0), NAMES)
    loss = weak_loss(
        network(*golden.inputs()), torch.from_numpy(golden.arrays["label"]).double(), **SMOOTHING
    )
    expected = golden.values["han"]["loss"]
    for name in ("video", "audio", "visual", "total"):
        assert getattr(loss, name).item() == pytest.approx(expected[name], abs=1e-7)
    loss.total.backward()
    norms = golden.values["han"]["grad_l2_norm"]
    for name, parameter in network.named_parameters():
        assert parameter.grad is not None
        norm = float(parameter.grad.norm())
        assert norm == pytest.approx(norms[original_name(name, NAMES)], rel=1e-6, abs=1e-12)


def test_five_steps_of_training_equal_the_originals(golden) -> None:
    expected = golden.values["han_train_5_steps"]
    network = golden.filled(HAN(width=512, classes=25, dropout=0.0), NAMES)
    optimiser = torch.optim.Adam(network.parameters(), lr=expected["lr"])
    label = torch.from_numpy(golden.arrays["label"]).double()
    for terms in expected["terms"]:
        loss = weak_loss(network(*golden.inputs()), label, **SMOOTHING)
        got = [getattr(loss, name).item() for name in expected["terms_order"]]
        assert got == pytest.approx(terms, rel=1e-6)
        optimiser.zero_grad()
        loss.total.backward()
        optimiser.step()
    bias = network.pooling.probability.bias.detach()[:5].tolist()
    assert bias == pytest.approx(expected["fc_prob_bias_after_first5"], rel=1e-6)


def test_one_layer_equals_the_originals(golden) -> None:
    layer = golden.filled(HybridAttention(16, 24, 0.1), LAYER).eval()
    query, other = (
        torch.from_numpy(golden.fill.tensor(name, (2, 10, 16))).double()
        for name in ("lay:a", "lay:b")
    )
    with torch.no_grad():
        out = layer(query, other, None)
    np.testing.assert_allclose(out.numpy(), golden.arrays["hanlayer_d16"], atol=1e-7)


def test_a_permutation_of_the_seconds_permutes_the_output() -> None:
    network, order = small().eval(), torch.randperm(10, generator=torch.Generator().manual_seed(2))
    with torch.no_grad():
        straight, moved = network(*batch()), network(*(x[:, order] for x in batch()))
    torch.testing.assert_close(straight.second_BTMC[:, order], moved.second_BTMC)
    torch.testing.assert_close(straight.video_BC, moved.video_BC)


def test_padded_seconds_change_nothing() -> None:
    network = small().eval()
    short = [x[:, :6] for x in batch()]
    padded = [torch.cat([x, torch.full_like(x[:, :4], 7.0)], 1) for x in short]
    absent = torch.arange(10).expand(3, 10) >= 6
    with torch.no_grad():
        alone, together = network(*short), network(*padded, absent)
    torch.testing.assert_close(alone.second_BTMC, together.second_BTMC[:, :6])
    for name in ("video_BC", "audio_BC", "visual_BC"):
        torch.testing.assert_close(getattr(alone, name), getattr(together, name))


def test_a_clamped_probability_has_no_gradient() -> None:
    network = small()
    with torch.no_grad():
        network.pooling.probability.bias.fill_(60.0)
    loss = weak_loss(network(*batch()), torch.zeros(3, 5), **SMOOTHING)
    loss.video.backward()
    assert torch.isfinite(loss.total)
    gradient = network.pooling.probability.bias.grad
    assert gradient is not None
    assert float(gradient.abs().max()) == 0.0
