"""A step that is replayed from CUDA graphs is the step."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from small_tribert import made, random_batch, small_config, step

from model.train.fit import fit
from model.train.parts import Key, TrainParts
from model.tribert.batch import Batch
from model.tribert.graphed import GraphedLoss, shapes
from model.tribert.losses import loss_terms
from model.tribert.module import TriBERTModule

needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")


def test_the_step_of_the_sos_box_is_the_whole_picture() -> None:
    from model.tribert.pose_tokens import whole_picture

    assert whole_picture(torch.zeros(1, dtype=torch.float16)).tolist() == [0, 0, 1, 1, 1]


def test_shapes_tell_batches_apart() -> None:
    assert shapes(random_batch(2)) == shapes(random_batch(2, seed=1))
    assert shapes(random_batch(2)) != shapes(random_batch(3))


@needs_gpu
@pytest.mark.parametrize("kind", ["paper", "released"])
def test_replayed_losses_and_gradients_equal_launched_ones(kind: str) -> None:
    module = made(small_config(kind)).cuda()
    first, second = (random_batch(seed=seed).to("cuda") for seed in (0, 1))
    expected = [step(module, batch) for batch in (first, second)]
    before = {name: value.clone() for name, value in module.network.state_dict().items()}

    def terms_of(batch: Batch):
        return loss_terms(module.network(batch), batch, module.config.loss)

    graphed = GraphedLoss(module.network, terms_of, first, None)
    after = module.network.state_dict()
    assert all(torch.equal(value, after[name]) for name, value in before.items())
    for batch, (loss, gradients) in zip((first, second), expected, strict=True):
        module.zero_grad(set_to_none=True)
        total = graphed(batch).total
        total.backward()
        assert total.item() == pytest.approx(loss, rel=1e-5)
        for name, parameter in module.network.named_parameters():
            if gradients[name] is None:
                assert parameter.grad is None
            else:
                gap = (parameter.grad - gradients[name]).norm() / (gradients[name].norm() + 1e-6)
                assert float(gap) < 2e-2, name


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
