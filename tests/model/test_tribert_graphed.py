"""A step that is replayed from CUDA graphs is the step."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from small_tribert import made, random_batch, small_config

from model.train.fit import fit
from model.train.parts import Key, TrainParts
from model.tribert.batch import Batch
from model.tribert.graphed import shapes
from model.tribert.module import TriBERTModule

needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")


def test_the_step_of_the_sos_box_is_the_whole_picture() -> None:
    from model.tribert.pose_tokens import whole_picture

    assert whole_picture(torch.zeros(1, dtype=torch.float16)).tolist() == [0, 0, 1, 1, 1]


def test_shapes_tell_batches_apart() -> None:
    assert shapes(random_batch(2)) == shapes(random_batch(2, seed=1))
    assert shapes(random_batch(2)) != shapes(random_batch(3))


class Batches:
    """One mix an item, drawn from its index."""

    def __len__(self) -> int:
        return 8

    def __getitem__(self, key: Key) -> Batch:
        return random_batch(1, seed=key[1])


def trained(folder: Path, *, cuda_graphs: bool) -> tuple[TriBERTModule, list[float]]:
    from model.tribert.batch import collate

    config = small_config()
    optim = replace(config.optim, batch_size=4, max_steps=12, cuda_graphs=cuda_graphs)
    module = made(replace(config, optim=optim))
    parts = TrainParts(
        module=module,
        train=Batches(),
        collate=collate,
        batch_size=4,
        max_steps=12,
        clip_norm=1.0,
        export=module.network.state_dict,
    )
    result = fit(parts, folder, seed=0, device="cuda")
    return module, [row["train/loss"] for row in result.history if "train/loss" in row]


@needs_gpu
def test_training_with_graphs_goes_the_way_of_training_without(tmp_path: Path) -> None:
    graphed, losses = trained(tmp_path / "graphs", cuda_graphs=True)
    launched, expected = trained(tmp_path / "eager", cuda_graphs=False)
    assert graphed._graphed is not None
    assert launched._graphed is None
    assert losses == pytest.approx(expected, rel=1e-2)
