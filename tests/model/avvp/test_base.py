"""Base, Skip, GCAA and the adversary: the originals' numbers, and what each part must change."""

from __future__ import annotations

import pytest
import torch
from avvp_golden import NETWORK, AvvpGolden, original_name

from model.avvp.adversary import (
    Discriminator,
    reversal_weight,
    reverse_gradient,
    tell_modalities,
)
from model.avvp.base import AttentionLayer, Base
from model.avvp.config import networks, presets, row_config
from model.avvp.gcaa import GlobalContextAttention
from model.avvp.losses import weak_loss
from model.settings import ConfigError

GATED = {
    "query.local": "qx_linear",
    "query.context": "qc_linear",
    "query.gate_local": "Vqx_linear",
    "query.gate_context": "Vqc_linear",
    "key.local": "kx_linear",
    "key.context": "kc_linear",
    "key.gate_local": "Vkx_linear",
    "key.gate_context": "Vkc_linear",
    "value": "vx_linear",
    "out": "out",
}
LAYER = {
    "inner": "linear1",
    "outer": "linear2",
    "norm_attention": "norm1",
    "norm_output": "norm2",
}
LAYERS = {
    "self_audio": ("sa_layer_a", "self_attn"),
    "self_visual": ("sa_layer_v", "self_attn"),
    "cross": ("cma_layer.layers.0", "cm_attn"),
}
ADVERSARY = {
    "inner": "mod_classifier.fc1",
    "norm_inner": "mod_classifier.norm1",
    "middle": "mod_classifier.fc2",
    "norm_middle": "mod_classifier.norm2",
    "outer": "mod_classifier.fc3",
}
VARIANTS = {
    "cml_base": {},
    "cml_adv_skip": {"skip": True},
    "cml_gcaa_released": {"gcaa": True, "first_step_broadcast": True},
    "cml_gcaa_per_position": {"gcaa": True},
    "cml_full_released": {"skip": True, "gcaa": True, "first_step_broadcast": True},
    "cml_full_per_position": {"skip": True, "gcaa": True},
}
SMOOTHING = {"audio_smoothing": 0.0, "visual_smoothing": 0.1}
ALPHA = 0.5
"""Of the reversal where the originals' gradients were taken."""


def names(*, gcaa: bool) -> dict[str, str]:
    """Our modules -> those of the original state dict."""
    found = {**NETWORK, "shared": "shared_fc", "norm_audio": "norm_a", "norm_visual": "norm_v"}
    for ours, (theirs, attention) in LAYERS.items():
        found |= {f"{ours}.{o}": f"{theirs}.{t}" for o, t in LAYER.items()}
        inner = GATED if gcaa else {"": ""}
        for o, t in inner.items():
            found[f"{ours}.attention.{o}".rstrip(".")] = f"{theirs}.{attention}.{t}".rstrip(".")
    return found


@pytest.fixture(scope="module")
def golden(shared_dir) -> AvvpGolden:
    return AvvpGolden(shared_dir / "golden")


def network(golden: AvvpGolden, variant: str, dropout: float = 0.1) -> torch.nn.Module:
    settings = VARIANTS[variant]
    made = Base(width=512, classes=25, dropout=dropout, **settings)
    return golden.filled(made, names(gcaa="gcaa" in settings))


def adversary(golden: AvvpGolden) -> torch.nn.Module:
    return golden.filled(Discriminator(512), ADVERSARY)


def small(**settings: bool) -> Base:
    torch.manual_seed(0)
    return Base(width=16, classes=5, dropout=0.1, **settings).eval()


def batch(videos: int = 3, seconds: int = 10) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    return [torch.rand(videos, seconds, size, generator=generator) for size in (128, 2048, 512)]


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("dtype, tolerance", [(torch.float64, 1e-7), (torch.float32, 1e-5)])
def test_outputs_equal_the_originals(golden, variant, dtype, tolerance) -> None:
    ours = network(golden, variant).to(dtype).eval()
    told = adversary(golden).to(dtype).eval()
    with torch.no_grad():
        parsing = ours(*(x.to(dtype) for x in golden.inputs()))
        modality = torch.sigmoid(told(torch.relu(parsing.joint_BTMD.flatten(0, 2))))
    for got, name in (
        (parsing.video_BC, "video"),
        (parsing.audio_BC, "audio"),
        (parsing.visual_BC, "visual"),
        (parsing.second_BTMC, "frame"),
        (modality, "disc"),
    ):
        expected = torch.from_numpy(golden.arrays[f"{variant}_{name}_prob"]).to(dtype)
        torch.testing.assert_close(got, expected, atol=tolerance, rtol=0)
    count = sum(p.numel() for m in (ours, told) for p in m.parameters())
    assert count == golden.values[variant]["parameter_count_used"]


@pytest.mark.parametrize("variant", VARIANTS)
def test_losses_and_gradients_equal_the_originals(golden, variant) -> None:
    ours, told = network(golden, variant, dropout=0.0).eval(), adversary(golden).eval()
    parsing = ours(*golden.inputs())
    label = torch.from_numpy(golden.arrays["label"]).double()
    loss = weak_loss(parsing, label, **SMOOTHING, modality_weight=0.3)
    modality = tell_modalities(told, parsing.joint_BTMD, None, alpha=ALPHA)
    total = loss.total + 0.3 * modality.loss
    expected = golden.values[variant]["loss"]
    got = {"video": loss.video, "audio": loss.audio, "visual": loss.visual}
    got |= {"disc": modality.loss, "total_release": total}
    assert {n: v.item() for n, v in got.items()} == pytest.approx(expected, abs=1e-7)
    total.backward()
    norms = golden.values[variant]["grad_l2_norm"]
    mapping = names(gcaa="gcaa" in VARIANTS[variant])
    for module, known in ((ours, mapping), (told, ADVERSARY)):
        for name, parameter in module.named_parameters():
            assert parameter.grad is not None
            norm = float(parameter.grad.norm())
            expected_norm = norms[original_name(name, known)]
            assert norm == pytest.approx(expected_norm, rel=1e-4, abs=1e-10), name


@pytest.mark.parametrize("variant", ["cml_base", "cml_full_released"])
def test_five_steps_of_training_equal_the_originals(golden, variant) -> None:
    expected = golden.values[f"{variant}_train_5_steps"]
    ours, told = network(golden, variant, dropout=0.0), adversary(golden)
    optimiser = torch.optim.Adam([*ours.parameters(), *told.parameters()], lr=expected["lr"])
    label = torch.from_numpy(golden.arrays["label"]).double()
    for step, terms in enumerate(expected["terms"]):
        alpha = reversal_weight(step, steps_per_epoch=5, steps=200)
        parsing = ours(*golden.inputs())
        loss = weak_loss(parsing, label, **SMOOTHING, modality_weight=0.3)
        modality = tell_modalities(told, parsing.joint_BTMD, None, alpha=alpha)
        got = [x.item() for x in (loss.video, loss.audio, loss.visual, modality.loss)]
        assert got == pytest.approx(terms, rel=1e-6)
        optimiser.zero_grad()
        (loss.total + 0.3 * modality.loss).backward()
        optimiser.step()


@pytest.mark.parametrize("heads", [1, 2])
def test_attention_with_context_equals_the_originals(golden, heads) -> None:
    layer = golden.filled(GlobalContextAttention(16, heads, dropout=0.1), GATED).eval()
    query, key = (
        torch.from_numpy(golden.fill.tensor(f"gcaa:{x}", (10, 2, 16))).double().transpose(0, 1)
        for x in "qk"
    )
    with torch.no_grad():
        out, _ = layer(query, key, key)
    expected = torch.from_numpy(golden.arrays[f"gcaa_d16_h{heads}"])
    torch.testing.assert_close(out.transpose(0, 1), expected, atol=1e-7, rtol=0)
    wide = GlobalContextAttention(512, 1, dropout=0.1)
    count = sum(p.numel() for p in wide.parameters())
    assert count == golden.values["gcaa_d16"]["param_count_d512"]


@pytest.mark.parametrize("name, attention", [("san", "self_attn"), ("cman", "cm_attn")])
def test_one_layer_equals_the_originals(golden, name, attention) -> None:
    plain = torch.nn.MultiheadAttention(16, 1, dropout=0.1, batch_first=True)
    layer = golden.filled(
        AttentionLayer(plain, 16, 24, 0.1), {**LAYER, "attention": attention}
    ).eval()
    a, b = (torch.from_numpy(golden.fill.tensor(f"lay:{x}", (2, 10, 16))).double() for x in "ab")
    with torch.no_grad():
        out = layer(a, a if name == "san" else b, None)
    expected = torch.from_numpy(golden.arrays[f"{name}layer_d16"])
    torch.testing.assert_close(out, expected, atol=1e-7, rtol=0)


def test_reversal_and_its_ramp_equal_the_originals(golden) -> None:
    start = torch.from_numpy(golden.fill.tensor("grl:x", (6,))).double()
    for alpha, expected in golden.values["grl_layer"]["by_alpha"].items():
        x = start.clone().requires_grad_()
        out = reverse_gradient(x, float(alpha))
        assert torch.equal(out, x)
        (out**3).sum().backward()
        assert x.grad is not None
        assert x.grad.tolist() == pytest.approx(expected["grad_of_sum_cubes"], rel=1e-6)
    per_epoch = golden.values["alpha_schedule"]["n_batches"]
    for where, alpha in golden.values["alpha_schedule"]["values"].items():
        epoch, number = (int(word[1:]) for word in where.split())
        step = (epoch - 1) * per_epoch + number
        got = reversal_weight(step, steps_per_epoch=per_epoch, steps=40 * per_epoch)
        assert got == pytest.approx(alpha, rel=1e-12)


@pytest.mark.parametrize("alpha", [0.0, 0.3, 0.5, 1.0])
def test_reversal_scales_the_encoders_gradient_alone(golden, alpha) -> None:
    expected = golden.values["grl_full_net_disc_loss_only"][str(alpha)]
    ours, told = network(golden, "cml_full_released", dropout=0.0).eval(), adversary(golden).eval()
    modality = tell_modalities(told, ours(*golden.inputs()).joint_BTMD, None, alpha=alpha)
    modality.loss.backward()
    assert modality.loss.item() == pytest.approx(expected["disc_loss"], abs=1e-7)
    for name, layer in (
        ("shared_fc", ours.shared),
        ("fc_a", ours.from_audio),
        ("norm_a", ours.norm_audio),
        ("mod_classifier.fc1", told.inner),
        ("mod_classifier.fc3", told.outer),
    ):
        norm = float(layer.weight.grad.norm())
        assert norm == pytest.approx(expected[f"{name}.weight"], rel=1e-4)
    assert ours.from_audio.bias.grad[:3].tolist() == pytest.approx(
        expected["fc_a_bias_grad_first3"], rel=1e-4, abs=1e-12
    )
    assert told.outer.bias.grad.tolist() == pytest.approx(expected["fc3_bias_grad"], rel=1e-4)


@pytest.mark.parametrize("settings", [{}, {"gcaa": True}, {"gcaa": True, "skip": True}])
def test_a_permutation_of_the_seconds_permutes_the_output(settings) -> None:
    ours, order = small(**settings), torch.randperm(10, generator=torch.Generator().manual_seed(2))
    with torch.no_grad():
        straight, moved = ours(*batch()), ours(*(x[:, order] for x in batch()))
    torch.testing.assert_close(straight.second_BTMC[:, order], moved.second_BTMC)
    torch.testing.assert_close(straight.video_BC, moved.video_BC)


def test_with_the_released_defect_it_does_not() -> None:
    ours = small(gcaa=True, skip=True, first_step_broadcast=True)
    order = torch.arange(9, -1, -1)
    with torch.no_grad():
        straight, moved = ours(*batch()), ours(*(x[:, order] for x in batch()))
    assert float((straight.second_BTMC[:, order] - moved.second_BTMC).abs().max()) > 1e-4


@pytest.mark.parametrize("settings", [{}, {"gcaa": True, "skip": True}])
def test_padded_seconds_change_nothing(settings) -> None:
    ours = small(**settings)
    short = [x[:, :6] for x in batch()]
    padded = [torch.cat([x, torch.full_like(x[:, :4], 7.0)], 1) for x in short]
    absent = torch.arange(10).expand(3, 10) >= 6
    told = Discriminator(16).eval()
    with torch.no_grad():
        alone, together = ours(*short), ours(*padded, absent)
        losses = [
            tell_modalities(told, parsing.joint_BTMD, mask, alpha=1.0).loss
            for parsing, mask in ((alone, None), (together, absent))
        ]
    torch.testing.assert_close(alone.second_BTMC, together.second_BTMC[:, :6])
    torch.testing.assert_close(alone.video_BC, together.video_BC)
    torch.testing.assert_close(*losses)


def test_skip_carries_self_attended_features_past_cross_attention() -> None:
    """Without what lies between them, joint features are a constant, or those of the modality."""
    for skip in (False, True):
        ours = small(skip=skip)
        with torch.no_grad():
            ours.shared.weight.zero_()
            joint = ours(*batch()).joint_BTMD
            audio, _ = ours.mapped(*batch())
            attended = ours.self_audio(audio, audio, None)
        if skip:
            expected = torch.nn.functional.layer_norm(attended + ours.shared.bias, (16,))
            torch.testing.assert_close(joint[:, :, 0], expected)
        else:
            torch.testing.assert_close(joint, ours.shared.bias.expand_as(joint))


def test_gcaa_is_attention_when_its_gates_are_shut() -> None:
    torch.manual_seed(3)
    gated = GlobalContextAttention(16, 1, dropout=0.0)
    plain = torch.nn.MultiheadAttention(16, 1, batch_first=True)
    with torch.no_grad():
        for gate in (gated.query, gated.key):
            gate.gate_local.bias.fill_(-1e4)
        projections = [gated.query.local, gated.key.local, gated.value]
        plain.in_proj_weight.copy_(torch.cat([p.weight for p in projections]))
        plain.in_proj_bias.copy_(torch.cat([p.bias for p in projections]))
        plain.out_proj.load_state_dict(gated.out.state_dict())
        x = torch.rand(2, 10, 16)
        torch.testing.assert_close(gated(x, x, x)[0], plain(x, x, x)[0])


def test_rows_of_the_tables_differ_in_their_network_only() -> None:
    assert row_config("Base+Adv+Skip+GCAA", "paper") == presets["paper"]
    assert row_config("HAN", "paper") == presets["han"]
    paper, release = presets["paper"], presets["release"]
    assert (paper.modality_weight, paper.adversarial_weight) == (0.3, 0.4)
    assert (release.modality_weight, release.adversarial_weight) == (0.3, 0.3)
    assert (release.learning_rate, release.lr_every_epochs) == (6e-4, 6)
    for row in (row for row, own in networks.items() if own["network"] == "base"):
        config = row_config(row, "release", {"epochs": 2})
        assert config.epochs == 2
        assert config.learning_rate == release.learning_rate
        assert (config.gcaa, config.skip) == ("GCAA" in row, "Skip" in row)
        assert config.adversarial == ("Adv" in row)
    assert row_config("HAN", "tiny") == presets["tiny"]


@pytest.mark.parametrize(
    "row, preset, changes, message",
    [
        ("Bass", "paper", {}, "row 'Bass': expected one of"),
        ("Base", "papre", {}, "preset 'papre': expected one of"),
        ("HAN", "han", {"skip": True}, "avvp.skip=True: only network 'base'"),
        ("Base", "paper", {"first_step_broadcast": True}, "a defect of gcaa"),
    ],
)
def test_rows_that_cannot_be_are_refused(row, preset, changes, message) -> None:
    with pytest.raises(ConfigError, match=message):
        row_config(row, preset, changes)
