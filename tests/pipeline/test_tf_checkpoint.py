"""VGGish from a TensorFlow checkpoint; where TensorFlow is installed, one that it wrote."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
import pytest
import torch

from pipeline.failures import EnvironmentBroken
from pipeline.networks import loading
from pipeline.networks.vggish import read_pca

HAS_TENSORFLOW = importlib.util.find_spec("tensorflow") is not None
LAYERS = (
    ("conv1", "features.0"),
    ("conv2", "features.3"),
    ("conv3/conv3_1", "features.6"),
    ("conv3/conv3_2", "features.8"),
    ("conv4/conv4_1", "features.11"),
    ("conv4/conv4_2", "features.13"),
    ("fc1/fc1_1", "embeddings.0"),
    ("fc1/fc1_2", "embeddings.2"),
    ("fc2", "embeddings.4"),
)


@pytest.mark.skipif(HAS_TENSORFLOW, reason="TensorFlow is installed")
def test_without_tensorflow_the_message_says_what_to_install(tmp_path: Path) -> None:
    path = tmp_path / "vggish_model.ckpt"
    path.write_bytes(b"x")
    with pytest.raises(EnvironmentBroken, match=r"pip install tensorflow-cpu.*fetch AUDIOSET"):
        loading.from_file("vggish", path)


@pytest.mark.skipif(not HAS_TENSORFLOW, reason="TensorFlow is not installed")
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("first_format", [True, False])
def test_a_checkpoint_that_tensorflow_wrote(tmp_path: Path, first_format: bool) -> None:
    import tensorflow as tf

    network = loading.from_seed("vggish", 0)
    state = network.state_dict()
    variables = {}
    for theirs, ours in LAYERS:
        weight = state[f"{ours}.weight"].numpy()
        order = (2, 3, 1, 0) if weight.ndim == 4 else (1, 0)
        variables[f"vggish/{theirs}/weights"] = weight.transpose(order)
        variables[f"vggish/{theirs}/biases"] = state[f"{ours}.bias"].numpy()
    path = tmp_path / "vggish_model.ckpt"
    names, values = list(variables), [tf.constant(v) for v in variables.values()]
    if first_format:
        tf.raw_ops.Save(filename=str(path), tensor_names=names, data=values)
    else:
        slices = [""] * len(names)
        tf.raw_ops.SaveV2(
            prefix=str(path), tensor_names=names, shape_and_slices=slices, tensors=values
        )
        path = Path(f"{path}.index")
    read = loading.from_file("vggish", path)
    batch = loading.ARCHITECTURES["vggish"].batch()[:2]
    with torch.inference_mode():
        torch.testing.assert_close(read(batch), network(batch), rtol=0, atol=0)


@pytest.mark.skipif(not HAS_TENSORFLOW, reason="TensorFlow is not installed")
@pytest.mark.filterwarnings("ignore")
def test_files_that_are_no_checkpoint_of_vggish(tmp_path: Path) -> None:
    import tensorflow as tf

    path = tmp_path / "other.ckpt"
    path.write_bytes(b"no table")
    with pytest.raises(EnvironmentBroken, match="cannot be read"):
        loading.from_file("vggish", path)
    tf.raw_ops.Save(filename=str(path), tensor_names=["a"], data=[tf.zeros(3)])
    with pytest.raises(EnvironmentBroken, match="no variable 'vggish/conv1/weights'"):
        loading.from_file("vggish", path)


def test_the_pca_file_of_audiosets_authors(tmp_path: Path) -> None:
    path = tmp_path / "vggish_pca_params.npz"
    vectors = np.random.default_rng(0).normal(size=(128, 128))
    np.savez(path, pca_eigen_vectors=vectors, pca_means=np.ones((128, 1)))
    read_vectors, read_means = read_pca(path)
    np.testing.assert_allclose(read_vectors, vectors, rtol=1e-6)
    assert read_means.shape == (128, 1)
    np.savez(path, pca_means=np.ones((128, 1)))
    with pytest.raises(EnvironmentBroken, match="pca_eigen_vectors"):
        read_pca(path)
