"""The preset `modern`: each switch does what it says, alone, and the plain way agrees."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from small_tribert import ENCODER, random_batch

from model.settings import ConfigError
from model.tribert.attention import Streams, Widths
from model.tribert.config import (
    AudioConfig,
    Config,
    DataConfig,
    PoseConfig,
    SeparationConfig,
    VisionConfig,
    presets,
    reduced,
)
from model.tribert.fusion import KeyFusion
from model.tribert.losses import loss_terms
from model.tribert.network import TriBERT, weighed
from model.tribert.network_plain import PlainTriBERT
from model.tribert.unet import AttentionGate, Doubling, TimeAttention

CLASSES = 5

MODERN = SeparationConfig(widths=(8, 16, 16, 16), fusion="none", mask_channels=4, time_attention=2)
SWITCHES = {
    "modern": MODERN,
    "tokens": replace(MODERN, fusion="tokens"),
    "keys": replace(MODERN, fusion="keys"),
    "no attention over time": replace(MODERN, time_attention=0),
    "pairs of convolutions": replace(MODERN, unet="double", widths=(8, 8, 16, 16)),
    "one channel": replace(MODERN, fusion="tokens", mask_channels=1),
}


def small_modern(separation: SeparationConfig = MODERN) -> Config:
    """`modern` with the widths of a test, and nothing drawn at random."""
    modern = reduced(presets["modern"])
    return replace(
        modern,
        data=replace(modern.data, picture_px=32, spec_rows=32, spec_frames=32),
        vision=replace(modern.vision, small_widths=(8, 16), feature_width=32, dropout=0.0),
        pose=PoseConfig(channels=4, dropout=0.0),
        audio=AudioConfig(widths=(8, 16), dropout=0.0),
        encoder=replace(ENCODER, layers=1, dropout=0.0, token_mask=0.0),
        separation=separation,
    )


def made(separation: SeparationConfig = MODERN) -> TriBERT:
    torch.manual_seed(0)
    network = TriBERT(small_modern(separation), CLASSES)
    for module in network.modules():
        if isinstance(module, TimeAttention):
            torch.nn.init.normal_(module.out.weight, std=0.1)
    return network


@pytest.mark.parametrize("separation", SWITCHES.values(), ids=SWITCHES.keys())
def test_the_plain_way_agrees_and_every_parameter_learns(separation: SeparationConfig) -> None:
    network, batch = made(separation).train(), random_batch(classes=CLASSES)
    plain = PlainTriBERT(network).train()
    loss = small_modern(separation).loss
    expected = loss_terms(plain(batch), batch, loss).total
    terms = loss_terms(network(batch), batch, loss)
    torch.testing.assert_close(terms.total, expected, rtol=1e-5, atol=1e-6)
    terms.total.backward()
    assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in network.parameters())


@pytest.mark.parametrize(("fusion", "decoded"), [("none", 3), ("tokens", 6), ("keys", 6)])
def test_the_way_up_runs_once_a_mix_where_the_bottleneck_is_not_conditioned(
    fusion: str, decoded: int
) -> None:
    network = made(SWITCHES["tokens"] if fusion == "tokens" else replace(MODERN, fusion=fusion))
    sizes: list[int] = []
    network.unet.out.register_forward_pre_hook(lambda _m, given: sizes.append(len(given[0])))
    network.unet.down[0].register_forward_pre_hook(lambda _m, given: sizes.append(len(given[0])))
    network(random_batch(classes=CLASSES, mixes=3))
    assert sizes == [3, decoded]


@pytest.mark.parametrize("fusion", ["none", "tokens"])
def test_masks_are_told_apart_by_what_is_seen_alone(fusion: str) -> None:
    network, batch = made(replace(MODERN, fusion=fusion)).eval(), random_batch(classes=CLASSES)
    with torch.no_grad():
        straight, swapped = (network(b).mask_logits_BNQF for b in (batch, batch.swapped()))
    assert (straight - swapped).abs().mean() > 1e-2 * straight.std()
    torch.testing.assert_close(straight.flip(1), swapped, rtol=1e-4, atol=1e-5)


def test_weighed_maps_are_their_weighted_sum() -> None:
    maps, weights = torch.randn(2, 3, 4, 5), torch.randn(2, 6, 3)
    torch.testing.assert_close(
        weighed(maps, weights), torch.einsum("bkqf,bnk->bnqf", maps, weights)
    )


def test_tokens_of_absent_persons_are_not_attended_to() -> None:
    torch.manual_seed(0)
    fusion = KeyFusion(Widths(6, 5, 4), 8, heads=2)
    tokens = Streams(*(torch.randn(2, 8, width) for width in (6, 5, 4)))
    everybody = torch.ones(2, 8, dtype=torch.bool)
    absent = torch.tensor([True, False]).repeat(4).expand(2, 8)
    valid = Streams(everybody, absent, everybody)
    noise = torch.where(absent[..., None], 0.0, 9.0)
    bottleneck = torch.randn(2, 8, 3, 3)
    other = tokens._replace(pose=tokens.pose + noise)
    torch.testing.assert_close(fusion(bottleneck, tokens, valid), fusion(bottleneck, other, valid))
    present = Streams(everybody, everybody, everybody)
    changed = fusion(bottleneck, other, present) - fusion(bottleneck, tokens, present)
    assert changed.abs().max() > 1e-3


def test_attention_over_time_starts_as_nothing_and_then_joins_far_frames() -> None:
    torch.manual_seed(0)
    layer, x = TimeAttention(8), torch.randn(2, 8, 5, 7)
    assert torch.equal(layer(x), x)
    torch.nn.init.normal_(layer.out.weight)
    order = torch.tensor([3, 0, 6, 1, 5, 2, 4])
    torch.testing.assert_close(layer(x[..., order]), layer(x)[..., order], rtol=1e-4, atol=1e-5)
    leaf = x.clone().requires_grad_()
    layer(leaf)[..., 0].sum().backward()
    assert leaf.grad is not None
    assert (leaf.grad[..., 6].abs().amax((1, 2)) > 1e-6).all()


def test_a_doubling_is_a_deconvolution() -> None:
    torch.manual_seed(0)
    layer, x = Doubling(6, 4), torch.randn(2, 6, 3, 5, requires_grad=True)
    plain = torch.nn.functional.conv_transpose2d(x, layer.weight, layer.bias, stride=2)
    torch.testing.assert_close(layer(x), plain)
    pull = torch.randn_like(plain)
    wanted = (x, layer.weight, layer.bias)
    expected = torch.autograd.grad((plain * pull).sum(), wanted)
    torch.testing.assert_close(torch.autograd.grad((layer(x) * pull).sum(), wanted), expected)
    with pytest.raises(ValueError, match="twice"):
        layer(x, output_size=[7, 11])


def test_videos_that_share_a_skip_are_gated_as_if_each_had_its_own() -> None:
    torch.manual_seed(0)
    gate = AttentionGate(8).train()
    raised, skip = torch.randn(6, 8, 4, 5), torch.randn(2, 8, 4, 5, requires_grad=True)
    pull = torch.randn_like(raised)
    wanted = (skip, *gate.parameters())
    own = gate(raised, skip.repeat_interleave(3, dim=0))
    expected = torch.autograd.grad((own * pull).sum(), wanted)
    shared = gate(raised, skip)
    torch.testing.assert_close(shared, own)
    torch.testing.assert_close(
        torch.autograd.grad((shared * pull).sum(), wanted), expected, rtol=1e-4, atol=1e-5
    )


def test_modern_has_the_size_of_the_paper_and_decodes_once() -> None:
    modern, paper = presets["modern"], presets["paper"]
    assert modern.encoder == paper.encoder
    assert modern.separation.widths == paper.separation.widths
    assert (modern.data.spec_rows, modern.data.spec_frames, modern.data.picture_px) == (
        256,
        256,
        224,
    )
    assert modern.separation.fusion == "none"
    with torch.device("meta"):
        network = TriBERT(modern, 21)
    assert network.fusion is None


@pytest.mark.parametrize("name", presets)
def test_any_preset_can_be_reduced(name: str) -> None:
    small = reduced(presets[name])
    assert reduced(small).separation.widths == small.separation.widths
    parameters = sum(p.numel() for p in TriBERT(small, CLASSES).parameters())
    assert parameters < 6e6
    kept = ("fusion", "unet")
    for setting in kept:
        assert getattr(small.separation, setting) == getattr(presets[name].separation, setting)
    assert small.data.mask == presets[name].data.mask


def test_tiny_is_the_paper_reduced_with_what_short_training_needs() -> None:
    """Written out: a demo's figures are those of exactly these settings."""
    assert presets["tiny"].data == DataConfig(
        picture_px=64,
        spec_frames=64,
        spec_rows=64,
        mask="dominant",
        scale_low=0.6,
        scale_high=1.0,
        colour=0.4,
        other_class=0.5,
    )
    assert presets["tiny"].vision == VisionConfig(
        backbone="small", feature_width=128, sos="features"
    )
    assert presets["tiny"].separation == SeparationConfig(
        widths=(16, 32, 64, 128, 128), mask_channels=16
    )
    assert presets["tiny"].encoder == reduced(presets["paper"]).encoder
    optim = presets["tiny"].optim
    assert (optim.batch_size, optim.max_steps, optim.val_every_steps) == (16, 240, 60)
    assert (optim.lr_backbone, optim.lr_encoder, optim.lr_unet) == (1e-3, 1e-3, 2e-3)
    assert (optim.decay, optim.precision) == ("cosine", "32-true")


@pytest.mark.parametrize(
    ("separation", "message"),
    [
        ({"fusion": "none"}, "mask_channels=1"),
        ({"time_attention": 7}, "time_attention=7"),
        ({"widths": [30, 30], "time_attention": 1}, "multiple of 4"),
        ({"widths": [64, 60], "fusion": "tokens"}, "co_heads=8"),
    ],
)
def test_settings_that_cannot_work_together_are_refused(
    separation: dict[str, object], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        Config.from_json({"separation": separation})
