"""The `released` parts against numbers computed with the original code (golden/tribert)."""

import importlib.util
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from goldens import gap

from model.tribert.attention import Streams, Widths
from model.tribert.audio_tokens import AudioTokens
from model.tribert.config import (
    AudioConfig,
    EncoderConfig,
    HeadConfig,
    PoseConfig,
    SeparationConfig,
    VisionConfig,
)
from model.tribert.encoder import Encoder, SosPooler
from model.tribert.fusion import ChannelSoftmaxFusion
from model.tribert.heads import Heads
from model.tribert.pose_tokens import PoseTokens
from model.tribert.unet import build_unet
from model.tribert.vision import SegmentationTokens

GOLDEN = Path(__file__).parents[2].parent / "shared" / "golden"
STREAMS = ("v", "p", "a")


@pytest.fixture(scope="module")
def fill():
    path = GOLDEN / "golden_fill.py"
    if not path.is_file():
        pytest.skip(f"{path} is absent: golden numbers are not part of the repository")
    spec = importlib.util.spec_from_file_location("golden_fill", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def small(fill):
    with np.load(GOLDEN / "tribert" / "small.npz") as arrays:
        return dict(arrays)


def load(module, rename, fill, *, prefix="", gain=1.0):
    """Fill every tensor of `module` with the numbers of the reference tensor of the same role."""
    with torch.no_grad():
        for name, tensor in module.state_dict().items():
            given = fill.param(prefix + rename(name), tuple(tensor.shape), gain)
            tensor.copy_(torch.from_numpy(np.ascontiguousarray(given)).reshape(tensor.shape))
    return module.double().eval()


def given(fill, name, shape, scale=1.0, offset=0.0):
    return torch.from_numpy(fill.tensor(name, shape, scale, offset)).double()


def encoder_name(name):
    """Reference name of one of our encoder's tensors."""
    _, layer, block, rest = name.split(".", 3)
    if block == "co_block":
        part, number, tail = rest.removeprefix("attention.").split(".", 2)
        if part in ("query", "key", "value"):
            return f"encoder.c_layer.{layer}.biattention.{part}{int(number) + 1}.{tail}"
        stream = STREAMS[int(number)]
        if part == "out":
            kind, leaf = tail.split(".")
            kind = {"dense": "dense", "norm": "LayerNorm"}[kind]
            return f"encoder.c_layer.{layer}.biOutput.{kind}{int(number) + 1}.{leaf}"
        return f"encoder.c_layer.{layer}.{stream}_{feed_forward_name(tail)}"
    number, tail = rest.split(".", 1)
    prefix = f"encoder.{STREAMS[int(number)]}_layer.{layer}."
    if tail.startswith("feed_forward."):
        return prefix + feed_forward_name(tail.removeprefix("feed_forward."))
    if tail.startswith("out."):
        return prefix + "attention.output." + tail[4:].replace("norm", "LayerNorm")
    return prefix + "attention.self." + tail


def feed_forward_name(tail):
    if tail.startswith("inner."):
        return "intermediate.dense." + tail.removeprefix("inner.")
    return "output." + tail.removeprefix("out.").replace("norm", "LayerNorm")


@pytest.fixture(scope="module")
def small_config():
    return EncoderConfig(
        layers=2,
        vision_width=32,
        pose_width=32,
        audio_width=16,
        vision_ffn=48,
        pose_ffn=48,
        audio_ffn=40,
        heads=4,
        co_width=16,
        co_heads=4,
        keys="feature",
    )


@pytest.fixture(scope="module")
def encoded(fill, small_config):
    """What every block of the small encoder returned, in the order of the calls."""
    encoder = load(Encoder(small_config), encoder_name, fill)
    calls = []
    for number, layer in enumerate(encoder.layers):
        layer.co_block.register_forward_hook(
            lambda _m, _i, out, number=number: calls.append((f"c{number}", out))
        )
        layer.co_block.attention.register_forward_hook(
            lambda _m, _i, out, number=number: calls.append((f"context{number}", out))
        )
        for stream, block in zip(STREAMS, layer.self_blocks, strict=True):
            block.register_forward_hook(
                lambda _m, _i, out, key=f"{stream}{number}": calls.append((key, out))
            )
    tokens = Streams(
        given(fill, "tb:v", (2, 4, 2, 32)).flatten(1, 2),
        given(fill, "tb:p", (2, 4, 2, 32)).flatten(1, 2),
        given(fill, "tb:a", (2, 16))[:, None].expand(-1, 8, -1),
    )
    valid = torch.ones(2, 8, dtype=torch.bool)
    with torch.no_grad():
        result = encoder(tokens, Streams(valid, valid, valid))
    return result, calls


def test_encoder_matches_the_original(small, encoded):
    result, calls = encoded
    for stream, tensor in zip(STREAMS, result, strict=True):
        assert gap(tensor.unflatten(1, (4, 2)), small[f"enc_seq_{stream}"]) <= 1e-7
    for key, out in calls:
        number = key[-1]
        if key.startswith(("c", "context")):
            kind = "coattn%s" if key[0:2] == f"c{number}" else "coattn%s_context"
            for stream, tensor in zip(STREAMS, out, strict=True):
                assert (
                    gap(tensor.unflatten(1, (4, 2)), small[f"enc_{kind % number}_{stream}"]) <= 1e-7
                )
        else:
            assert gap(out.unflatten(1, (4, 2)), small[f"enc_self{number}_{key[0]}"]) <= 1e-7


def test_co_attention_comes_first_in_every_layer(fill, encoded):
    expected = json.loads((GOLDEN / "tribert" / "small.json").read_text())["call_order"]
    assert [key for key, _ in encoded[1] if not key.startswith("context")] == expected


def test_pooled_sos_matches_the_original(small, fill, small_config):
    def rename(name):
        return f"{STREAMS[int(name.split('.')[1])]}_pooler.dense.{name.split('.')[2]}"

    pooler = load(SosPooler(small_config), rename, fill)
    steps = Streams(*(torch.from_numpy(small[f"enc_seq_{stream}"]) for stream in STREAMS))
    for stream, tensor in zip(STREAMS, pooler(steps), strict=True):
        assert gap(tensor, small[f"enc_pooled_{stream}"]) <= 1e-7


@pytest.fixture(scope="module")
def heads(fill):
    """Heads of the released preset: transforms from the `cls.` list, WSDDN from the front end's."""
    kinds = {"vision": "image", "pose": "pose", "audio": "audio"}

    def rename(name):
        stream, rest = name.split(".", 1)
        if rest.startswith(("recognise", "detect")):
            layer, leaf = rest.split(".")
            return f"{kinds[stream]}_fc_{'c' if layer == 'recognise' else 'd'}.{leaf}"
        return f"cls.{kinds[stream]}Predictions." + rest.replace("norm", "LayerNorm")

    config = HeadConfig(regions="slots", audio="softmax")
    return load(Heads(config, Widths(32, 32, 16), classes=7), rename, fill)


def test_token_logits_match_the_original(small, heads):
    for stream, head in zip(STREAMS, (heads.vision, heads.pose, heads.audio), strict=True):
        x = torch.from_numpy(small[f"enc_seq_{stream}"])
        assert gap(head.decoder(head.transform(x)), small[f"cls_{stream}"]) <= 1e-7


def test_wsddn_matches_the_original(small, fill, heads):
    names = {"v": "image", "p": "pose", "a": "audio"}
    for stream, head in zip(STREAMS, (heads.vision, heads.pose, heads.audio), strict=True):
        logits = given(fill, f"ws:{stream}", (2, 4, 2, 7), 2.0)
        assert gap(head.from_logits(logits), small[f"wsddn_{names[stream]}"]) <= 1e-7


def test_vision_tokens_match_the_original(small, fill):
    names = {"features": "fc", "expand.1": "conv1x1_1", "expand_more": "conv1x1_11"}
    names["discriminate"] = "conv1x1_2"
    config = VisionConfig(expansive="class_softmax", norm_tokens=False)
    module = load(
        SegmentationTokens(config, trunk_width=2048, classes=21),
        lambda name: f"{names[name.rsplit('.', 1)[0]]}.{name.rsplit('.', 1)[1]}",
        fill,
    )
    maps = given(fill, "fe:maps", (2, 2048, 4, 7, 7), 0.5, 0.5).transpose(1, 2).flatten(0, 1)
    with torch.no_grad():
        tokens, scores, chosen, used = (x.unflatten(0, (2, 4)) for x in module(maps))
    assert gap(scores, small["front_class_scores"]) <= 1e-7
    assert np.array_equal(chosen.numpy(), small["front_top2"])
    assert gap(used, small["front_cam_map"]) <= 1e-7
    np.testing.assert_allclose(tokens, small["front_vision_tokens"], rtol=1e-5, atol=1e-9)


def test_pose_and_audio_tokens_match_the_original(small, fill):
    pose_names = {"embedding": "pose_embeddings", "box": "pose_location_embeddings"}

    def rename_pose(name):
        layer, leaf = name.split(".")
        return f"pose_embeddings.{pose_names.get(layer, 'LayerNorm')}.{leaf}"

    def rename_audio(name):
        *layer, leaf = name.split(".")
        if layer[0] == "convs":
            return f"audio_embeddings.vggish_feat.conv{int(layer[1]) + 1}.{leaf}"
        kind = {"dense": "audio_embeddings", "norm": "LayerNorm"}[layer[0]]
        return f"audio_embeddings.{kind}.{leaf}"

    pose = load(PoseTokens(PoseConfig(), 32), rename_pose, fill)
    audio = load(AudioTokens(AudioConfig(), 16), rename_audio, fill)
    with torch.no_grad():
        tokens = pose(
            given(fill, "fe:pose", (2, 4, 2, 256, 68)),
            given(fill, "fe:loc", (2, 4, 2, 5), 0.5, 0.5),
        )
        token = audio(given(fill, "fe:spec", (2, 1, 256, 256), 4.0, -2.0))
    assert gap(tokens, small["front_pose_tokens"]) <= 1e-7
    assert gap(token, small["front_audio_token"]) <= 1e-7


def unet_name(name):
    """Reference name of one of our released U-Net's tensors (5 widths: 4 levels, bottleneck)."""
    part, rest = name.split(".", 1)
    if part == "out":
        return f"conv.{rest}"
    number, tail = rest.split(".", 1)
    level = 4 - int(number)
    if part == "up":
        return f"upconv{level}.{tail}"
    if part == "gates":
        names = {"from_gate": "W_g", "from_skip": "W_x", "to_map": "psi"}
        kind, leaf = tail.split(".", 1)
        return f"Att{level}.{names[kind]}.{leaf}"
    place, leaf = tail.split(".", 1)
    layer = {"0": "conv1", "1": "norm1", "3": "conv2", "4": "norm2"}[place]
    if part == "merge":
        return f"decoder{level}.dec{level}{layer}.{leaf}"
    level = int(number) + 1
    block, short = ("bottleneck",) * 2 if level == 5 else (f"encoder{level}", f"enc{level}")
    return f"{block}.{short}{layer}.{leaf}"


def test_attention_unet_and_channel_softmax_match_the_original(fill):
    with np.load(GOLDEN / "tribert" / "unet64.npz") as arrays:
        golden = dict(arrays)
    widths = (64, 128, 256, 512, 1536)
    unet = load(
        build_unet(SeparationConfig(unet="double", widths=widths)), unet_name, fill, gain=1.6
    )
    fusion = load(ChannelSoftmaxFusion(1536, dropout=0.1), lambda name: name, fill, gain=1.6)
    maps = []
    for gate in unet.gates:
        gate.to_map.register_forward_hook(lambda _m, _i, out: maps.append(out.sigmoid()))
    vector = given(fill, "unet:feats", (2, 1536), 30.0)
    with torch.no_grad():
        encoded = unet.encode(given(fill, "unet:x", (2, 1, 64, 64), 4.0, -3.0))
        before = fusion.attend(encoded.bottleneck_BEQF, vector)
        fused = fusion.fuse(encoded.bottleneck_BEQF, vector)
        out = unet.decode(encoded._replace(bottleneck_BEQF=fused))
    assert gap(encoded.bottleneck_BEQF[:, ::4], golden["bottleneck_every4"]) <= 2e-4
    assert gap(before.permute(0, 2, 3, 1)[..., ::4], golden["before_mlp_every4"]) <= 2e-4
    assert gap(fused[:, ::4], golden["fused_every4"]) <= 2e-4
    for level, gate_map in zip((4, 3, 2, 1), maps, strict=True):
        assert gap(gate_map, golden[f"att{level}"]) <= 1e-5
    assert gap(out, golden["out"]) <= 1e-5
