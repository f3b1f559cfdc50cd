from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from pipeline import logmel
from pipeline.extractors.vggish import SCHEMA
from pipeline.failures import EnvironmentBroken, ItemFailure
from pipeline.networks import loading, vggish
from pipeline.networks.rows import row_count
from pipeline.stages import VggishConfig, resolve
from pipeline.weights import VGGISH_PCA

REFERENCE_CLIP = "v_GGSY1Qvo990.mp4"
REFERENCE_ROWS = "v_GGSY1Qvo990__vggish_torch_relu_nopca.npy"


@pytest.fixture(scope="module")
def golden(shared_dir: Path) -> Path:
    return shared_dir / "golden" / "vggish"


@pytest.fixture(scope="module")
def golden_fill(shared_dir: Path) -> Any:
    sys.path.insert(0, str(shared_dir / "golden"))
    import golden_fill

    return golden_fill


def test_the_network(golden: Path, golden_fill: Any) -> None:
    network = vggish.Vggish()
    golden_fill.fill_module(network)
    arrays = np.load(golden / "network.npz")
    with torch.inference_mode():
        patches = torch.from_numpy(arrays["input"])[:, None]
        embedding = network(patches)
        maps = network.features(patches)
    assert sum(p.numel() for p in network.parameters()) == 72_141_184
    shapes = [{"name": n, "shape": list(p.shape)} for n, p in network.named_parameters()]
    assert shapes == json.loads((golden / "parameters.json").read_text())
    np.testing.assert_allclose(embedding, arrays["embedding_before_last_relu"], atol=1e-5)
    np.testing.assert_allclose(embedding.relu(), arrays["embedding"], atol=1e-5)
    np.testing.assert_allclose(maps[:, 0], arrays["features_channel0"], atol=1e-5)
    flat = maps.permute(0, 2, 3, 1).flatten(1)[:, :256]
    np.testing.assert_allclose(flat, arrays["features_flat_first256"], atol=1e-5)


def test_whitening_and_quantisation(golden: Path, golden_fill: Any) -> None:
    arrays = np.load(golden / "pca.npz")
    vectors = torch.from_numpy(golden_fill.tensor("pca_eigen_vectors", (128, 128), 0.6))
    means = torch.from_numpy(golden_fill.tensor("pca_means", (128, 1), 0.1))
    projected = vggish.whiten(torch.from_numpy(arrays["input"]), vectors, means)
    np.testing.assert_allclose(projected, arrays["projected"], atol=1e-4)
    np.testing.assert_array_equal(vggish.quantise(projected), arrays["quantised"])


@pytest.mark.parametrize("zipped", [True, False])
def test_a_pca_file_of_numpy_arrays(tmp_path: Path, zipped: bool) -> None:
    arrays = {"pca_eigen_vectors": np.eye(128), "pca_means": np.ones((128, 1))}
    path = tmp_path / "pca.pth"
    torch.save(arrays, path, _use_new_zipfile_serialization=zipped)
    vectors, means = vggish.read_pca(path)
    torch.testing.assert_close(vectors, torch.eye(128))
    torch.testing.assert_close(means, torch.ones(128, 1))
    torch.save({"pca_means": arrays["pca_means"]}, path)
    with pytest.raises(EnvironmentBroken, match="pca_eigen_vectors"):
        vggish.read_pca(path)


def test_pca_needs_the_published_file(tmp_path: Path) -> None:
    stage = resolve({"vggish": VggishConfig(variant="pca")})["vggish"]
    with pytest.raises(ValueError, match="published weights"):
        build_extractor(stage)
    (tmp_path / "mine.pth").write_bytes(b"")
    config = VggishConfig(variant="pca", weights="mine.pth")
    stage = resolve({"vggish": config}, weights_dir=tmp_path)["vggish"]
    with pytest.raises(EnvironmentBroken, match=VGGISH_PCA.file_name):
        build_extractor(stage)
    with pytest.raises(ValueError, match="relu, linear, pca"):
        VggishConfig(variant="raw")


def build_extractor(stage: Any) -> Any:
    from pipeline.extractors import vggish as extractor

    return extractor.build(stage)


@pytest.mark.parametrize(
    "seconds, rows",
    [(10, 10), (9.98, 10), (10.4, 10), (10.5, 11), (9.5, 10), (18.157, 18), (1.2, 1), (0.2, 1)],
)
def test_rows_of_a_clip(seconds: float, rows: int) -> None:
    assert row_count(round(seconds * 16000), 16000) == rows


def test_nothing_has_no_rows() -> None:
    with pytest.raises(ItemFailure, match="empty"):
        row_count(0, 16000)


class FakeInputs:
    """Sound in memory in the place of audio_16000."""

    def __init__(self, pcm: np.ndarray) -> None:
        self.pcm = pcm
        self.largest_read = 0

    def length(self, stage: str) -> int:
        assert stage == "audio_16000"
        return len(self.pcm)

    def rows(self, stage: str, array: str, start: int, stop: int) -> np.ndarray:
        assert 0 <= start < stop <= len(self.pcm)
        self.largest_read = max(self.largest_read, stop - start)
        return self.pcm[start:stop]


def extract(pcm: np.ndarray, inputs: FakeInputs | None = None, **config: Any) -> np.ndarray:
    stage = resolve({"vggish": VggishConfig(**config)})["vggish"]
    blocks: Iterator[Any] = build_extractor(stage).extract(inputs or FakeInputs(pcm))
    return np.concatenate([block["embedding"] for block in blocks])


def seconds_of(timbre: str, count: int, rng: np.random.Generator) -> np.ndarray:
    """Seconds of one timbre at several pitches, beginnings and loudnesses, int16."""
    time_s = np.arange(16000) / 16000
    sound = []
    for _ in range(count):
        pitch_hz, onset_s = rng.uniform(150, 400), rng.uniform(0, 0.4)
        waves = {
            "flute": np.sin(2 * np.pi * pitch_hz * time_s),
            "reed": sum(np.sin(2 * np.pi * k * pitch_hz * time_s) / k for k in range(1, 16, 2)),
            "hiss": rng.standard_normal(16000),
            "clicks": np.modf(time_s * pitch_hz / 40)[0] < 0.03,
        }
        wave = waves[timbre] * (time_s >= onset_s)
        sound.append(wave / wave.std() * 10 ** rng.uniform(-1.6, -0.9))
    return np.rint(np.clip(np.concatenate(sound), -1, 1) * 32767).astype(np.int16)


def test_a_network_from_a_seed_tells_timbres_apart() -> None:
    timbres = ("flute", "reed", "hiss", "clicks")
    rng = np.random.default_rng(0)
    known = [extract(seconds_of(timbre, 6, rng)) for timbre in timbres]
    new = [extract(seconds_of(timbre, 6, rng)) for timbre in timbres]
    deviation = np.concatenate(known).std(axis=0) + 1e-3
    centres = np.stack([rows.mean(axis=0) for rows in known]) / deviation
    right = [
        (np.linalg.norm(rows[:, None] / deviation - centres, axis=-1).argmin(axis=1) == i).mean()
        for i, rows in enumerate(new)
    ]
    assert np.mean(right) > 0.7, dict(zip(timbres, right, strict=True))


def test_reads_and_blocks_are_bounded_and_do_not_change_rows() -> None:
    pcm = seconds_of("reed", 12, np.random.default_rng(1))[: 16000 * 12 - 5000]
    inputs = FakeInputs(pcm)
    rows = extract(pcm, inputs)
    assert rows.shape == (12, 128)
    assert rows.dtype == np.float32
    assert inputs.largest_read <= 160000
    np.testing.assert_allclose(rows[10:], extract(pcm[160000:]), atol=0.1)


def test_variants() -> None:
    pcm = seconds_of("hiss", 1, np.random.default_rng(2))
    linear, rectified = extract(pcm, variant="linear"), extract(pcm)
    assert (linear < 0).any()
    np.testing.assert_allclose(rectified, np.maximum(linear, 0), atol=1e-6)


@pytest.mark.parametrize(
    "seconds, rows", [(0.3, 1), (0.974, 1), (0.975, 1), (1.9, 1), (1.95, 2), (10, 10), (12.1, 12)]
)
def test_rows_every_0_96_s(seconds: float, rows: int) -> None:
    pcm = seconds_of("reed", 13, np.random.default_rng(3))[: round(seconds * 16000)]
    inputs = FakeInputs(pcm)
    found = extract(pcm, inputs, hop="0.96")
    assert found.shape == (rows, 128)
    assert inputs.largest_read <= 9 * logmel.PATCH_HOP_SAMPLES + logmel.PATCH_SAMPLES
    if rows == 12:
        later = extract(pcm[10 * logmel.PATCH_HOP_SAMPLES :], hop="0.96")
        np.testing.assert_allclose(found[10:], later, atol=0.1)
    with pytest.raises(ValueError, match=r"second, 0\.96"):
        VggishConfig(hop="0.5")


def test_a_real_clip_has_the_rows_of_its_reference(laboratory: Any, shared_dir: Path) -> None:
    item = laboratory.add(shared_dir / "media" / "clips" / REFERENCE_CLIP)
    published = np.load(shared_dir / "data" / "video_features_ref" / REFERENCE_ROWS)
    for hop, hop_s in (("second", 1.0), ("0.96", 0.96)):
        stages = resolve({"vggish": VggishConfig(hop=hop)})
        outcomes = {name: laboratory.run_stage(stage, [item]) for name, stage in stages.items()}
        assert outcomes["vggish"][item].ok, outcomes
        feature = laboratory.store.read(stages["vggish"].record.name, item)
        assert feature.values.shape == published.shape == (18, 128)
        assert feature.values.dtype == np.float32
        np.testing.assert_allclose(feature.times_s, np.arange(18) * hop_s)
        assert np.isfinite(feature.values).all()
    assert SCHEMA.anchor == "start"


@pytest.fixture(scope="module")
def weights_dir() -> Path:
    """Where the published weights are, if the environment says so."""
    folder = os.environ.get("SOUNDSTAGE_WEIGHTS_DIR")
    if folder is None:
        pytest.skip("SOUNDSTAGE_WEIGHTS_DIR is not set: no published VGGish weights to check")
    return Path(folder)


@pytest.fixture(scope="module")
def published(weights_dir: Path) -> loading.Runner:
    stage = resolve({"vggish": VggishConfig(weights="AUDIOSET")}, weights_dir=weights_dir)["vggish"]
    return loading.runner(stage)


def test_published_weights(published: loading.Runner, shared_dir: Path) -> None:
    data = shared_dir / "data" / "vggish"
    patch = torch.from_numpy(np.load(data / "vggish_test_input.npy")).reshape(1, 1, 96, 64).float()
    expected = np.load(data / "expected_embedding_from_test_input.npy")
    np.testing.assert_allclose(published(patch)[0], expected, atol=1e-4)
    silence = logmel.patches_per_second(np.zeros(16000, np.int16), 1)
    expected = np.load(data / "silence_embedding_relu_x2.npy")[:1]
    np.testing.assert_allclose(published(silence).relu(), expected, atol=1e-4)


def test_published_weights_on_the_sine_of_the_smoke_test(
    published: loading.Runner, weights_dir: Path
) -> None:
    sine = np.sin(2 * np.pi * 1000 * np.arange(0, 3, 1 / 16000))
    pcm = np.rint(sine * 32767).astype(np.int16)
    embedding = published(logmel.patches(pcm, 3, logmel.PATCH_HOP_SAMPLES))
    assert embedding.mean() == pytest.approx(0.000657, abs=0.01)
    assert embedding.std() == pytest.approx(0.343, rel=0.1)
    if not (weights_dir / VGGISH_PCA.file_name).is_file():
        pytest.skip(f"{VGGISH_PCA.file_name} is not in SOUNDSTAGE_WEIGHTS_DIR")
    whitened = vggish.whiten(embedding, *vggish.read_pca(weights_dir / VGGISH_PCA.file_name))
    quantised = vggish.quantise(whitened)
    assert quantised.mean() == pytest.approx(126.0, rel=0.1)
    assert quantised.std() == pytest.approx(89.3, rel=0.1)


def test_published_weights_on_the_reference_clip(
    weights_dir: Path, laboratory: Any, shared_dir: Path
) -> None:
    item = laboratory.add(shared_dir / "media" / "clips" / REFERENCE_CLIP)
    config = VggishConfig(weights="AUDIOSET", hop="0.96")
    laboratory.run({"vggish": config}, [item], weights_dir=weights_dir)
    found = laboratory.store.read("vggish", item).values
    expected = np.load(shared_dir / "data" / "video_features_ref" / REFERENCE_ROWS)
    relative = np.linalg.norm(found - expected) / np.linalg.norm(expected)
    assert relative < 0.05, "the reference was resampled by another program"
