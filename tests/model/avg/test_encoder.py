"""The encoder: the original's outputs and sizes, and what its tokens do."""

from __future__ import annotations

import pytest
import torch
from avg_golden import RELEASED, SIZES, SMALL
from avvp_golden import NETWORK
from goldens import gap

from model.avg.config import EncoderConfig
from model.avg.encoder import Encoder, sinusoids
from model.avvp.pretrained import Pretrained
from model.settings import ConfigError

TWO = {name: SIZES[name] for name in ("picture", "audio")}


def parameters(module: torch.nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


def test_pre_training_gives_the_originals_seconds(golden) -> None:
    encoder = Encoder(SMALL, TWO).eval()
    golden.fill_encoder(encoder)
    features = golden.features()
    with torch.no_grad():
        found = encoder({stream: features[stream] for stream in TWO})
    assert gap(found["picture"], golden.arrays["uniter_avg_video"]) < 1e-5
    assert gap(found["audio"], golden.arrays["uniter_avg_audio"]) < 1e-5


def test_fine_tuning_gives_the_originals_probabilities(golden) -> None:
    network = Pretrained(encoder=SMALL, width=512, classes=25).eval()
    golden.fill_encoder(network.encoder)
    with torch.no_grad():
        for ours, theirs in NETWORK.items():
            for name, tensor in network.get_submodule(ours).named_parameters():
                values = golden.fill.param(f"{theirs}.{name}", tuple(tensor.shape))
                tensor.copy_(torch.from_numpy(values))
        features = golden.features()
        parsing = network(features["audio"], features["picture"], features["motion"])
    for found, name in (
        (parsing.video_BC, "video"),
        (parsing.audio_BC, "audio"),
        (parsing.visual_BC, "visual"),
        (parsing.second_BTMC, "frame"),
    ):
        assert gap(found, golden.arrays[f"uniter_avvp_{name}_prob"]) < 1e-5, name


def test_the_originals_sizes(golden) -> None:
    """All of the original's parameters but those that no output depends on, or that are fixed."""
    small = golden.values["uniter_small"]
    dead = ("mask_embedding", "position_embeddings", "pos_layer_norm", "pooler", "embeddings.fc_v")
    used = [
        int(torch.tensor(one["shape"]).prod())
        for one in small["parameters"]
        if not any(name in one["name"] for name in dead)
    ]
    network = Pretrained(encoder=SMALL, width=512, classes=25)
    assert parameters(network) == sum(used)
    with torch.device("meta"):
        layers = Encoder(RELEASED, SIZES).layers
    assert parameters(layers) == golden.values["uniter_released_size"]["encoder"]


def test_padded_seconds_change_nothing() -> None:
    torch.manual_seed(0)
    encoder = Encoder(SMALL, TWO).eval()
    features = {name: torch.rand(2, 7, size) for name, size in TWO.items()}
    padded = {n: torch.cat([x, torch.ones(2, 3, x.shape[2])], 1) for n, x in features.items()}
    absent = torch.arange(10).expand(2, 10) >= 7
    with torch.no_grad():
        alone, among = encoder(features), encoder(padded, absent)
    for name in TWO:
        assert torch.allclose(alone[name], among[name][:, :7], atol=1e-5)


def test_seconds_have_positions_however_many_there_are() -> None:
    torch.manual_seed(0)
    encoder = Encoder(SMALL, TWO).eval()
    alike = {name: torch.ones(1, 70, size) for name, size in TWO.items()}
    with torch.no_grad():
        found = encoder(alike)["audio"][0]
    assert found.shape == (70, 48)
    assert (found[0] - found[69]).abs().max() > 1e-3
    table = sinusoids(70, 48)
    assert torch.equal(table[:64], sinusoids(64, 48))
    assert table[0].tolist() == [0.0, 1.0] * 24
    assert table[3, 2].item() == pytest.approx(torch.tensor(3 / 10000 ** (2 / 48)).sin().item())


def test_dropout_draws_in_training_alone() -> None:
    torch.manual_seed(0)
    encoder = Encoder(SMALL, TWO)
    features = {name: torch.rand(1, 4, size) for name, size in TWO.items()}
    first, second = encoder(features)["audio"], encoder(features)["audio"]
    assert not torch.equal(first, second)
    encoder.eval()
    assert torch.equal(encoder(features)["audio"], encoder(features)["audio"])


@pytest.mark.parametrize("wrong", [{"heads": 5}, {"width": 7, "heads": 7}, {"dropout": 1.0}])
def test_sizes_that_cannot_be(wrong) -> None:
    with pytest.raises(ConfigError, match="encoder"):
        EncoderConfig(**wrong)
