"""The audio-only baseline: its loss does not care for order, and it never sees the video."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from model.separation.config import of_system
from model.separation.module import BaselineModule
from model.separation.pit import AudioOnly, invariant_mask_loss
from model.tribert.batch import Batch
from model.tribert.losses import mask_loss

NETWORK = replace(of_system("tiny", "unet_pit").network, widths=(4, 8, 8))


def targets(mixes: int = 3, sources: int = 2) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(sources)
    logits = torch.randn(mixes, sources, 8, 8, generator=generator)
    masks = torch.rand(mixes, sources, 8, 8, generator=generator).round()
    return logits, masks, torch.rand(mixes, 1, 8, 8, generator=generator)


def batch_of(mixes: int = 2) -> Batch:
    _, masks, weight = targets(mixes)
    return Batch(
        frames_BNTHWC=torch.zeros(mixes, 2, 1, 4, 4, 3),
        pose_BNTPKV=torch.zeros(mixes, 2, 1, 1, 1, 1),
        present_BNTP=torch.zeros(mixes, 2, 1, 1, dtype=torch.bool),
        box_BNTP5=torch.zeros(mixes, 2, 1, 1, 5),
        mix_B1QF=torch.rand(mixes, 1, 8, 8, generator=torch.Generator().manual_seed(0)),
        masks_BNQF=masks,
        weight_B1QF=weight,
        labels_BNC=torch.zeros(mixes, 2, 2),
    )


@pytest.mark.parametrize("sources", [2, 3])
def test_swapped_targets_have_the_same_loss(sources: int) -> None:
    logits, masks, weight = targets(sources=sources)
    loss, order = invariant_mask_loss(logits, masks, weight)
    again, other = invariant_mask_loss(logits, masks.roll(1, dims=1), weight)
    torch.testing.assert_close(again, loss)
    assert torch.equal(other, order.roll(1, dims=1))


def test_one_swapped_mix_of_a_batch_changes_nothing() -> None:
    logits, masks, weight = targets()
    swapped = masks.clone()
    swapped[1] = swapped[1].flip(0)
    torch.testing.assert_close(
        invariant_mask_loss(logits, swapped, weight)[0],
        invariant_mask_loss(logits, masks, weight)[0],
    )


def test_the_minimum_is_taken_mix_by_mix() -> None:
    logits, masks, weight = targets()
    single = [
        min(
            mask_loss(logits[b : b + 1, order], masks[b : b + 1], weight[b : b + 1])
            for order in ([0, 1], [1, 0])
        )
        for b in range(3)
    ]
    loss, order_BN = invariant_mask_loss(logits, masks, weight)
    torch.testing.assert_close(loss, torch.stack(single).mean())
    assert {tuple(row) for row in order_BN.tolist()} <= {(0, 1), (1, 0)}


def test_only_the_best_order_has_a_gradient() -> None:
    _, masks, weight = targets(mixes=1)
    logits = (20.0 * (2 * masks - 1)).flip(1).requires_grad_()
    loss, order = invariant_mask_loss(logits, masks, weight)
    loss.backward()
    assert order.tolist() == [[1, 0]]
    assert float(logits.grad.abs().max()) < 1e-6, "the order (0, 1) would pull hard"


def test_masks_do_not_depend_on_the_video() -> None:
    torch.manual_seed(0)
    network = AudioOnly(NETWORK, 2).eval()
    batch = batch_of()
    seen = replace(batch, frames_BNTHWC=torch.ones_like(batch.frames_BNTHWC))
    masks = network(batch).masks_BNQF
    assert torch.equal(network(seen).masks_BNQF, masks)
    assert masks.shape == (2, 2, 8, 8)


def test_it_learns_one_mix_in_either_order() -> None:
    torch.manual_seed(0)
    config = replace(of_system("tiny", "unet_pit"), network=NETWORK)
    module = BaselineModule(config, 2)
    logged: dict[str, float] = {}
    module.log = lambda name, value, **more: logged.update({name: float(value.detach())})
    halves = torch.zeros(1, 2, 8, 8)
    halves[:, 0, :4] = halves[:, 1, 4:] = 1
    batch = replace(batch_of(1), masks_BNQF=halves)
    optimiser = torch.optim.AdamW(module.network.parameters(), lr=1e-2)
    for _ in range(60):
        optimiser.zero_grad()
        loss = module.training_step(batch, 0)
        loss.backward()
        optimiser.step()
    assert float(loss.detach()) < 0.1
    swapped = replace(batch, masks_BNQF=batch.masks_BNQF.flip(1))
    other = logged["train/other_order"]
    module.training_step(swapped, 0)
    assert {other, logged["train/other_order"]} == {0.0, 1.0}
    module.validation_step(swapped, 0)
    assert "val/mask_loss" in logged
    assert "val/mask_loss_swapped" not in logged
