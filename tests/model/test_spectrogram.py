"""The front end against the published code's numbers, and its own inverse."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from model.tribert import spectrogram as sg
from model.tribert.crops import (
    centre_range,
    fitted_start_row,
    picture_rows,
    published_crop,
    start_row,
)
from model.tribert.masks import applied_mask, half_masks, loss_weight
from model.tribert.mixing import mean_mixture
from pipeline.extractors.stft import covered_samples
from storage.records import TimeBase

GOLDEN = Path(__file__).parents[2].parent / "shared" / "golden" / "spectrogram"
PAPER = sg.SpectrogramConfig()
TINY = sg.SpectrogramConfig(rows=64, frames=64)


def golden(name: str) -> dict[str, np.ndarray]:
    if not (GOLDEN / name).exists():
        pytest.skip(f"no golden numbers at {GOLDEN}")
    with np.load(GOLDEN / name) as arrays:
        return {key: arrays[key] for key in arrays}


def bits(packed: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    return np.unpackbits(packed)[: shape[0] * shape[1]].reshape(shape).astype(bool)


@cache
def golden_mix() -> tuple[torch.Tensor, torch.Tensor]:
    """Complex STFT of the two golden sources and of their mixture."""
    signals = golden("signals.npz")
    waves = torch.from_numpy(np.stack([signals["s1"], signals["s2"]]))
    sources, mixture = mean_mixture(waves)
    return sg.stft(sources, PAPER), sg.stft(mixture, PAPER)


def test_stft_equals_the_published_front_end() -> None:
    expected = golden("stft_reflect.npz")
    sources, mixture = golden_mix()
    magnitude = mixture.abs().numpy()

    assert magnitude.shape == (512, 256)
    np.testing.assert_allclose(magnitude, expected["mix_mag"], atol=5e-5)
    loud = expected["mix_mag"] > 1e-2
    turn = np.exp(1j * mixture.angle().numpy()) * np.exp(-1j * expected["mix_phase"])
    assert np.abs(np.angle(turn[loud])).max() < 1e-3
    edges = [0, 1, 2, 253, 254, 255]
    for n, name in enumerate(("s1", "s2")):
        source = sources[n].abs().numpy()
        np.testing.assert_allclose(source[:, ::16], expected[f"{name}_mag_every16"], atol=5e-5)
        np.testing.assert_allclose(source[:, edges], expected[f"{name}_mag_edge"], atol=5e-5)


def test_a_crop_of_its_own_samples_is_the_published_stft_too() -> None:
    """What the computed path of training does, on the golden mixture mirrored at its ends."""
    expected = golden("stft_reflect.npz")
    signals = golden("signals.npz")
    mixture_S = (signals["s1"] + signals["s2"]) / 2
    index_S = covered_samples(0, 256, len(mixture_S), n_fft=1022, hop_samples=256)
    spectrum = sg.stft_of_covered(torch.from_numpy(mixture_S[index_S]), PAPER)
    np.testing.assert_allclose(spectrum.abs().numpy(), expected["mix_mag"], atol=5e-5)
    middle = sg.stft_of_covered(torch.from_numpy(mixture_S[index_S][100 * 256 : 129 * 256]), PAPER)
    torch.testing.assert_close(middle, spectrum[:, 100:126], atol=5e-5, rtol=0)


def test_warp_positions_equal_the_published_grid() -> None:
    grid = golden("warpgrid.npz")
    np.testing.assert_allclose(2 * sg.warp_positions(256) - 1, grid["forward_y"], atol=1e-6)
    np.testing.assert_allclose(2 * sg.unwarp_positions(512) - 1, grid["inverse_y"], atol=1e-6)


def test_warped_magnitudes_masks_and_weight_equal_the_published_ones() -> None:
    expected = golden("warped_reflect_alignTrue.npz")
    sources, mixture = golden_mix()
    mix = sg.warp(mixture.abs() + 1e-10, 256)
    each = sg.warp(sources.abs(), 256)
    masks = half_masks(each, mix)
    unwarped = sg.unwarp(masks, 512)
    linear = applied_mask(unwarped, "threshold")

    np.testing.assert_allclose(mix.numpy(), expected["mix"], atol=5e-5)
    np.testing.assert_allclose(loss_weight(mix)[::4, ::4], expected["weight_every4"], atol=1e-5)
    for n in (0, 1):
        name = n + 1
        np.testing.assert_allclose(each[n].numpy(), expected[f"s{name}"], atol=5e-5)
        ratio = (each[n] / mix).clamp(0, 5)
        np.testing.assert_allclose(ratio[::2, ::2], expected[f"ratio{name}_every2"], atol=5e-3)
        decided = ~bits(expected[f"undecided{name}"], (256, 256))
        binary = bits(expected[f"binary{name}"], (256, 256))
        assert np.array_equal(masks[n].numpy().astype(bool)[decided], binary[decided])
        soft = expected[f"unwarped{name}_every2"]
        sure = decided.all()  # an undecided cell moves what is read beside it
        gap = np.abs(unwarped[n].numpy()[::2, ::2] - soft)
        assert (gap > 1e-4).sum() <= (0 if sure else 4 * (~decided).sum())
        decided = ~bits(expected[f"undecided_linear{name}"], (512, 256))
        binary = bits(expected[f"linear_binary{name}"], (512, 256))
        assert np.array_equal(linear[n].numpy().astype(bool)[decided], binary[decided])


def test_masked_mixture_sounds_like_the_published_one() -> None:
    expected = golden("istft_reflect_alignTrue.npz")
    masks = golden("warped_reflect_alignTrue.npz")
    _, mixture = golden_mix()
    linear = np.stack([bits(masks[f"linear_binary{n}"], (512, 256)) for n in (1, 2)])
    waves = sg.istft(mixture * torch.from_numpy(linear), PAPER)

    assert waves.shape == (2, 65280)
    np.testing.assert_allclose(waves[0], expected["wav1"], atol=1e-5)
    np.testing.assert_allclose(waves[1], expected["wav2"], atol=1e-5)
    np.testing.assert_allclose(sg.istft(mixture, PAPER)[::8], expected["mix_every8"], atol=1e-5)


@pytest.mark.parametrize("config", [PAPER, TINY])
def test_istft_inverts_stft(config: sg.SpectrogramConfig) -> None:
    wave = 0.3 * torch.randn(2, config.crop_samples, generator=torch.Generator().manual_seed(0))
    spectrum = sg.stft(wave, config)
    back = sg.istft(spectrum, config)

    assert spectrum.shape == (2, 512, config.frames)
    assert back.shape == (2, (config.frames - 1) * config.hop_samples)
    torch.testing.assert_close(back, wave.clamp(-1, 1)[:, : back.shape[1]], atol=1e-5, rtol=0)


@pytest.mark.parametrize("rows", [64, 256])
def test_unwarp_inverts_warp_on_smooth_spectra(rows: int) -> None:
    bins = torch.linspace(0, 1, 512)[:, None]
    smooth = torch.exp(-(((bins - 0.4) / 0.3) ** 2)) * torch.linspace(1, 2, 8)
    back = sg.unwarp(sg.warp(smooth, rows), 512)
    torch.testing.assert_close(back, smooth, atol=10 / rows**2 * 4, rtol=0)


@given(st.integers(2, 400))
def test_warp_and_unwarp_positions_are_inverse(size: int) -> None:
    t = sg.warp_positions(size)
    assert t[0] == 0.0
    assert t[-1] == pytest.approx(1.0, abs=1e-14)
    np.testing.assert_allclose(np.log(20 * t + 1) / np.log(21), np.linspace(0, 1, size), atol=1e-14)


def test_stored_rows_give_back_the_spectrum() -> None:
    spectrum = torch.randn(512, 9, generator=torch.Generator().manual_seed(0), dtype=torch.cfloat)
    rows_FL2 = torch.view_as_real(spectrum.T.contiguous()).numpy()
    assert torch.equal(sg.from_rows(rows_FL2), spectrum)
    halves = sg.from_rows(rows_FL2.astype(np.float16))
    torch.testing.assert_close(halves, spectrum, atol=1e-3, rtol=1e-3)


def test_published_crop_cuts_where_the_published_code_does() -> None:
    import json

    path = GOLDEN / "crop_cases.json"
    if not path.exists():
        pytest.skip(f"no golden numbers at {GOLDEN}")
    for case in json.loads(path.read_text()):
        # values below 1 survive the clipping; zero marks what was not filled
        raw = (np.arange(case["raw_len"]) % 20011 + 1).astype(np.float32) / 20012
        crop = published_crop(
            raw, centre_s=case["center_seconds"], rate_hz=11025, samples=case["out_len"]
        )
        filled = np.flatnonzero(crop)
        assert len(crop) == case["out_len"]
        assert (filled[0], filled[-1]) == (case["first_filled"], case["last_filled"])
        assert len(filled) == case["n_filled"]
        marks = np.rint(crop[filled[[0, -1]]] * 20012 - 1).astype(int)
        expected = (case["raw_index_mod20011_of_first"], case["raw_index_mod20011_of_last"])
        assert tuple(marks) == expected


@given(
    seconds=st.floats(0.5, 12.0),
    fps=st.sampled_from([4.0, 8.0, 25.0]),
    frames=st.sampled_from([16, 64, 256]),
    steps=st.integers(1, 4),
    stride=st.integers(1, 3),
)
@settings(deadline=None)
def test_every_centre_has_its_pictures_and_its_crop(
    seconds: float, fps: float, frames: int, steps: int, stride: int
) -> None:
    config = sg.SpectrogramConfig(frames=frames)
    stft_rows = 1 + int(seconds * config.rate_hz) // config.hop_samples
    base = TimeBase(0.0, 1 / fps)
    pictures = int(seconds * fps)
    before, after = stride * (steps // 2), stride * ((steps - 1) - steps // 2)
    centres = centre_range(
        pictures=pictures,
        picture_base=base,
        stft_rows=stft_rows,
        reach=(before, after),
        config=config,
    )
    for centre in {centres.first, centres.middle, centres.last} if len(centres) else ():
        rows = picture_rows(centre, steps, stride)
        assert rows[0] >= 0
        assert rows[-1] < pictures
        assert len(rows) == steps
        start = fitted_start_row(centre / fps, stft_rows, config)
        assert 0 <= start <= stft_rows - frames
        moved_s = abs(start - start_row(centre / fps, config)) * config.hop_s
        assert moved_s <= base.hop_s / 2 + config.hop_s
    if (
        stft_rows >= frames
        and pictures > 2 * stride * steps
        and config.crop_s > stride * steps / fps
    ):
        assert len(centres)
