from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import nn
from torchvision.models import ResNet
from torchvision.models.resnet import Bottleneck

from pipeline.extractors import resnet152
from pipeline.failures import EnvironmentBroken, ItemFailure
from pipeline.networks import calibration, loading, pixels
from pipeline.networks.rows import frame_indices
from pipeline.stages import Resnet152Config, ResolvedStage, resolve
from storage.records import TimeBase


def jpegs_of(pictures: np.ndarray) -> list[bytes]:
    return [
        cv2.imencode(".jpg", cv2.cvtColor(p, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, 95])[
            1
        ].tobytes()
        for p in pictures
    ]


class FakeInputs:
    """JPEG frames in memory in the place of the frames stage."""

    def __init__(self, jpegs: list[bytes]) -> None:
        self.jpegs = jpegs
        self.largest_read = 0

    def length(self, stage: str) -> int:
        assert stage == "frames"
        return len(self.jpegs)

    def time_base(self, stage: str) -> TimeBase:
        return TimeBase(0.0, 0.125)

    def rows(self, stage: str, array: str, start: int, stop: int) -> list[bytes]:
        assert array == "jpeg"
        assert 0 <= start < stop <= len(self.jpegs)
        self.largest_read = max(self.largest_read, stop - start)
        return self.jpegs[start:stop]


def a_stage(**config: Any) -> ResolvedStage:
    return resolve({"resnet152": Resnet152Config(**config)})["resnet152"]


def extract(inputs: FakeInputs, **config: Any) -> np.ndarray:
    blocks: Iterator[Any] = resnet152.build(a_stage(**config)).extract(inputs)
    return np.concatenate([block["feature"] for block in blocks])


@pytest.fixture
def means_of_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    """The mean of the input in the place of the network."""
    network = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())
    stand_in = loading.Runner(network=network, device=torch.device("cpu"), dtype=torch.float32)
    monkeypatch.setattr(loading, "runner", lambda stage: stand_in)


def grey(count: int, height: int = 256, width: int = 320) -> list[bytes]:
    levels = np.linspace(0, 255, count).astype(np.uint8)
    return jpegs_of(np.broadcast_to(levels[:, None, None, None], (count, height, width, 3)))


@pytest.mark.usefixtures("means_of_pictures")
def test_one_row_a_frame_with_the_colours_of_imagenet() -> None:
    inputs = FakeInputs(grey(21))
    rows = extract(inputs)
    assert rows.shape == (21, 3)
    assert rows.dtype == np.float16
    assert inputs.largest_read <= 8
    levels = np.linspace(0, 255, 21).astype(np.uint8)[:, None] / 255
    np.testing.assert_allclose(
        rows, (levels - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225], atol=0.02
    )
    assert resnet152.build(a_stage()).time_base(inputs) == TimeBase(0.0, 0.125)


@pytest.mark.usefixtures("means_of_pictures")
def test_eighty_rows_as_the_published_features() -> None:
    inputs = FakeInputs(grey(82, 32, 32))
    extractor = resnet152.build(a_stage(sampling="llp"))
    rows = extract(inputs, sampling="llp")
    assert rows.shape == (80, 3)
    assert extractor.time_base(inputs).hop_s == pytest.approx(82 * 0.125 / 80)
    assert extract(FakeInputs(grey(9, 32, 32)), sampling="llp").shape == (80, 3)
    np.testing.assert_array_equal(frame_indices(80, "llp"), np.arange(80))
    with pytest.raises(ValueError, match="exact, llp"):
        Resnet152Config(sampling="all")


def test_the_middle_of_the_picture() -> None:
    pictures = np.zeros((1, 256, 400, 3), np.uint8)
    pictures[0, 16:240, 88:312] = 255
    assert pixels.centre_crop(pictures, 224).shape == (1, 224, 224, 3)
    assert pixels.centre_crop(pictures, 224).min() == 255
    small = pixels.centre_crop(pictures[:, ::2, ::2], 224)
    assert small.shape == (1, 224, 224, 3)
    assert small[:, 2:-2, 2:-2].min() == 255


@pytest.mark.usefixtures("means_of_pictures")
def test_broken_and_missing_frames_are_the_items_failures() -> None:
    with pytest.raises(ItemFailure, match="corrupt"):
        extract(FakeInputs([*grey(3), b"no picture"]))
    with pytest.raises(ItemFailure, match="empty"):
        extract(FakeInputs([]))


@pytest.fixture
def small_network(monkeypatch: pytest.MonkeyPatch) -> ResNet:
    """The same kind of network with few layers, in the place of resnet152."""

    def build() -> ResNet:
        return ResNet(Bottleneck, [1, 1, 1, 1], num_classes=10)

    small = replace(loading.ARCHITECTURES["resnet152"], build=build, smoothness=0.0)
    monkeypatch.setattr(loading, "ARCHITECTURES", {"resnet152": small})
    torch.manual_seed(0)
    return build()


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_a_weights_file(small_network: ResNet, tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"weights{suffix}"
    state = small_network.state_dict()
    save_file(state, path) if suffix == ".safetensors" else torch.save(state, path)
    stage = a_stage(weights=str(path))
    assert stage.precision == "float32"
    picture = torch.rand(2, 3, 64, 64)
    small_network.eval().fc = nn.Identity()
    with torch.inference_mode():
        expected = small_network(picture)
    torch.testing.assert_close(loading.runner(stage)(picture), expected, atol=1e-4, rtol=1e-4)


def test_a_weights_file_of_another_network(small_network: ResNet, tmp_path: Path) -> None:
    path = tmp_path / "weights.pth"
    torch.save({"features.0.weight": torch.zeros(3)}, path)
    with pytest.raises(EnvironmentBroken, match=r"weights\.pth does not fit resnet152"):
        loading.from_file("resnet152", path)
    path.write_bytes(b"not a weights file")
    with pytest.raises(EnvironmentBroken, match=r"weights\.pth cannot be read"):
        loading.from_file("resnet152", path)


def textures(kind: str, count: int, rng: np.random.Generator) -> np.ndarray:
    """Pictures with a patch of stripes, checks or dots somewhere, light on dark, in any colours."""
    pictures = rng.uniform(0.2, 0.8, (count, 1, 1, 3)) * np.ones((1, 224, 224, 1), np.float32)
    y, x = np.mgrid[:224, :224]
    for picture in pictures:
        (left, top), pitch = rng.uniform(0, 124, 2), rng.uniform(12, 15)
        along, across = (x + left) / pitch, (y + top) / pitch
        pattern = {
            "stripes": along % 1 < 0.5,
            "checks": (np.floor(along) + np.floor(across)) % 2 == 0,
            "dots": np.hypot(along % 1 - 0.5, across % 1 - 0.5) < 0.3,
        }[kind]
        patch = (x >= left) & (x < left + 100) & (y >= top) & (y < top + 100)
        picture[patch] = rng.uniform(0.0, 0.25, 3)
        picture[patch & pattern] = rng.uniform(0.75, 1.0, 3)
    return pictures


def test_features_from_a_seed_are_finite_and_tell_textures_apart() -> None:
    kinds, rng = ("stripes", "checks", "dots"), np.random.default_rng(0)
    run = loading.runner(a_stage())
    known = [features(run, textures(kind, 5, rng)) for kind in kinds]
    new = [features(run, textures(kind, 5, rng)) for kind in kinds]
    everything = np.concatenate(known + new)
    assert np.isfinite(everything).all()
    assert 0 <= everything.min() < everything.max() < 100
    assert nearest(known, new) > 0.7


def features(run: loading.Runner, pictures: np.ndarray) -> np.ndarray:
    return run(pixels.normalised(pictures, pixels.RESNET)).numpy()


def nearest(known: list[np.ndarray], new: list[np.ndarray]) -> float:
    """The share of new rows that lie nearest to the mean of their own kind."""
    scale = np.concatenate(known).std(axis=0) + 1e-3
    centres = np.stack([rows.mean(axis=0) for rows in known]) / scale
    distances = [np.linalg.norm(rows[:, None] / scale - centres, axis=-1) for rows in new]
    return float(np.mean([(d.argmin(axis=1) == kind).mean() for kind, d in enumerate(distances)]))


def test_half_precision_stays_close_to_the_unfolded_network() -> None:
    picture = pixels.normalised(calibration.pictures(2, 224)[:, 0], pixels.RESNET)
    network = loading.from_seed("resnet152", 0)
    with torch.inference_mode():
        exact = network(picture)
    rough = loading.runner(a_stage())(picture)
    assert ((rough - exact).norm() / exact.norm()).item() < 0.03
    assert (exact[0] - exact[1]).norm() / exact.norm() > 0.1


def test_a_clip_through_the_stages(laboratory: Any, clips: Any) -> None:
    item = laboratory.add(clips.tone("short.mp4", seconds=1.0))
    outcomes = laboratory.run(["resnet152"], [item])
    assert outcomes["resnet152"][item].ok, outcomes
    feature = laboratory.store.read("resnet152", item)
    assert feature.values.shape == (8, 2048)
    assert feature.values.dtype == np.float16
    np.testing.assert_allclose(feature.times_s, np.arange(8) / 8)
    assert np.isfinite(feature.values).all()
    assert feature.values.std(axis=0).max() > 0


def test_sparse_sampling_takes_the_middle_one_of_every_eight_frames() -> None:
    assert frame_indices(80, "sparse").tolist() == list(range(4, 80, 8))
    assert frame_indices(3, "sparse").tolist() == [2]
