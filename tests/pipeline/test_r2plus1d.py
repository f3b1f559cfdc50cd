from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from torch import nn

from pipeline.extractors import r2plus1d
from pipeline.failures import ItemFailure
from pipeline.networks import calibration, loading, pixels
from pipeline.stages import R2plus1dConfig, resolve
from storage.records import TimeBase


class FakeInputs:
    """Grey frames in memory in the place of the frames stage; frame i has level 2 i."""

    def __init__(self, count: int) -> None:
        self.count = count
        self.largest_read = 0

    def length(self, stage: str) -> int:
        assert stage == "frames"
        return self.count

    def time_base(self, stage: str) -> TimeBase:
        return TimeBase(0.0, 0.125)

    def rows(self, stage: str, array: str, start: int, stop: int) -> list[bytes]:
        assert 0 <= start < stop <= self.count
        self.largest_read = max(self.largest_read, stop - start)
        pictures = [np.full((64, 48, 3), 2 * index, np.uint8) for index in range(start, stop)]
        return [cv2.imencode(".png", picture)[1].tobytes() for picture in pictures]


class LevelsOfFrames(nn.Module):
    """The grey level of each of the eight frames in the place of the network's features."""

    def forward(self, clips_N3FHW: torch.Tensor) -> torch.Tensor:
        assert clips_N3FHW.shape[1:] == (3, 8, 112, 112)
        mean, std = pixels.R2PLUS1D.mean[0], pixels.R2PLUS1D.std[0]
        return ((clips_N3FHW[:, 0].mean(dim=(2, 3)) * std + mean) * 255 / 2).round()


@pytest.fixture
def frame_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    stand_in = loading.Runner(
        network=LevelsOfFrames(), device=torch.device("cpu"), dtype=torch.float32
    )
    monkeypatch.setattr(loading, "runner", lambda stage: stand_in)


def build(**config: Any) -> r2plus1d.R2plus1dExtractor:
    return r2plus1d.build(resolve({"r2plus1d": R2plus1dConfig(**config)})["r2plus1d"])


def extract(inputs: FakeInputs, **config: Any) -> np.ndarray:
    blocks: Iterator[Any] = build(**config).extract(inputs)
    return np.concatenate([block["feature"] for block in blocks])


@pytest.mark.usefixtures("frame_numbers")
@pytest.mark.parametrize(
    "frames, rows",
    [(80, 10), (82, 10), (83, 10), (84, 11), (76, 10), (75, 9), (16, 2), (5, 1), (1, 1)],
)
def test_eight_frames_a_row_and_the_last_one_stands_in(frames: int, rows: int) -> None:
    inputs = FakeInputs(frames)
    expected = np.minimum(np.arange(rows * 8), frames - 1).reshape(rows, 8)
    np.testing.assert_array_equal(extract(inputs), expected)
    assert inputs.largest_read <= 16
    assert build().time_base(inputs) == TimeBase(0.0, 1.0)


@pytest.mark.usefixtures("frame_numbers")
def test_ten_rows_as_the_published_features() -> None:
    rows = extract(FakeInputs(90), sampling="llp")
    expected = np.rint(np.linspace(0, 89, 80)).reshape(10, 8)
    np.testing.assert_array_equal(rows, expected)


@pytest.mark.usefixtures("frame_numbers")
def test_no_frames() -> None:
    with pytest.raises(ItemFailure, match="empty"):
        extract(FakeInputs(0))


def test_features_from_a_seed() -> None:
    clips = pixels.normalised(calibration.pictures(2, 112, frames=8), pixels.R2PLUS1D)
    network = loading.from_seed("r2plus1d", 0)
    with torch.inference_mode():
        exact = network(clips)
    assert exact.shape == (2, 512)
    assert 0 <= exact.min() < exact.max() < 100
    assert (exact[0] - exact[1]).norm() / exact.norm() > 0.1
    rough = loading.runner(resolve({"r2plus1d": R2plus1dConfig()})["r2plus1d"])(clips)
    assert ((rough - exact).norm() / exact.norm()).item() < 0.03
    full = loading.folded(network, precision="float32")
    torch.testing.assert_close(full(clips), exact, atol=1e-3, rtol=1e-3)


def test_a_clip_through_the_stages(laboratory: Any, clips: Any) -> None:
    item = laboratory.add(clips.tone("long.mp4", seconds=2.6))
    outcomes = laboratory.run(["r2plus1d"], [item])
    assert outcomes["r2plus1d"][item].ok, outcomes
    feature = laboratory.store.read("r2plus1d", item)
    assert feature.values.shape == (3, 512)
    assert feature.values.dtype == np.float16
    np.testing.assert_allclose(feature.times_s, [0, 1, 2])
    assert np.isfinite(feature.values).all()


def test_a_network_packed_for_the_cpu_gives_the_same_for_any_number_of_clips() -> None:
    network = loading.from_seed("r2plus1d", 0)
    shape = loading.ARCHITECTURES["r2plus1d"].input_shape
    plain = loading.folded(network, precision="float32")
    packed = loading.folded(network, precision="float32", input_shape=shape)
    clips = torch.rand((3, *shape), generator=torch.Generator().manual_seed(0))
    for count in (2, 1, 3):
        torch.testing.assert_close(
            packed(clips[:count]), plain(clips[:count]), rtol=1e-4, atol=1e-5
        )
