from __future__ import annotations

import copy
from collections.abc import Iterator

import pytest
import torch
from torch import nn
from torchvision.models import ResNet
from torchvision.models.resnet import Bottleneck

from pipeline import random_weights
from pipeline.networks import calibration, pixels

SIZE_PX = 96


def small_resnet() -> nn.Module:
    network = ResNet(Bottleneck, [2, 1, 1, 1], num_classes=1)
    network.fc = nn.Identity()
    return network


def plain_network() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(3, 16, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(4), nn.Flatten(), nn.Linear(256, 32)
    )


@pytest.fixture(scope="module")
def batch() -> torch.Tensor:
    return pixels.normalised(calibration.pictures(8, SIZE_PX)[:, 0], pixels.RESNET)


@pytest.fixture(scope="module")
def filled(batch: torch.Tensor) -> nn.Module:
    network = small_resnet()
    random_weights.fill(network, batch, seed=0)
    return network


@pytest.fixture
def two_threads() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


def equal(first: nn.Module, second: nn.Module) -> bool:
    pairs = zip(first.state_dict().values(), second.state_dict().values(), strict=True)
    return all(torch.equal(a, b) for a, b in pairs)


@pytest.mark.usefixtures("two_threads")
def test_the_same_to_the_bit_whatever_the_threads(filled: nn.Module, batch: torch.Tensor) -> None:
    again = small_resnet()
    random_weights.fill(again, batch, seed=0)
    assert torch.get_num_threads() == 2
    assert equal(again, filled)


def test_seeds_differ(filled: nn.Module, batch: torch.Tensor) -> None:
    other = small_resnet()
    random_weights.fill(other, batch, seed=1)
    assert not torch.equal(other.conv1.weight, filled.conv1.weight)
    with torch.inference_mode():
        assert (other(batch) - filled(batch)).abs().mean() > 0.05


def test_what_was_there_before_does_not_matter(batch: torch.Tensor) -> None:
    network = plain_network()
    random_weights.fill(network, batch, seed=0)
    again = copy.deepcopy(network)
    for tensor in again.state_dict().values():
        tensor.fill_(torch.nan)
    random_weights.fill(again, batch, seed=0)
    assert equal(again, network)


@pytest.mark.parametrize("build", [small_resnet, plain_network])
def test_every_layer_has_unit_variance_on_such_inputs(build, batch: torch.Tensor) -> None:  # type: ignore[no-untyped-def]
    network = build()
    random_weights.fill(network, batch, seed=0)
    seen: dict[str, torch.Tensor] = {}
    has_norms = build is small_resnet
    layers = (nn.BatchNorm2d,) if has_norms else (nn.Conv2d, nn.Linear)
    for name, layer in network.named_modules():
        if isinstance(layer, layers):
            scale = layer.weight.detach()[0] if has_norms else torch.tensor(1.0)
            layer.register_forward_hook(
                lambda _, __, out, name=name, scale=scale: seen.__setitem__(name, out / scale)
            )
    with torch.inference_mode():
        output = network(batch)
    assert len(seen) > 1
    for name, values in seen.items():
        assert values.var().item() == pytest.approx(1.0, abs=0.1), name
        assert values.mean().item() == pytest.approx(0.0, abs=0.05), name
    assert torch.isfinite(output).all()
    assert output.abs().max() < 100


def test_made_up_inputs_are_the_same_every_time() -> None:
    first, second = calibration.pictures(2, 32, frames=3), calibration.pictures(2, 32, frames=3)
    assert first.shape == (2, 3, 32, 32, 3)
    assert (first == second).all()
    assert 0 <= first.min() < first.max() <= 1
    assert first[0, 0].std() > 0.05
    assert (first[:, 0] != first[:, 2]).any()
    sounds = calibration.sounds(3)
    assert sounds.shape == (3, 16000)
    assert (sounds == calibration.sounds(3)).all()
    assert (abs(sounds).max(axis=1) > 300).all()
