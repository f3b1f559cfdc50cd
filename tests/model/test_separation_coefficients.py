"""Mask coefficients: the best class map of a video weighs the maps of the U-Net."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from model.separation.coefficients import MaskCoefficients
from model.separation.config import Config, of_system
from model.separation.losses import loss_terms
from model.separation.module import BaselineModule, build_network, parameter_groups
from model.tribert.batch import Batch
from model.tribert.losses import map_loss, mask_loss

CLASSES = 3


def small() -> Config:
    config = of_system("tiny", "mask_coefficients")
    return replace(
        config,
        network=replace(config.network, widths=(4, 8), maps=3),
        vision=replace(config.vision, feature_width=8, small_widths=(4, 6)),
    )


@pytest.fixture
def batch(noise_batch: Batch) -> Batch:
    labels = torch.zeros(2, 2, CLASSES)
    labels[:, 0, 0] = labels[:, 1, 2] = 1
    return replace(noise_batch, labels_BNC=labels)


def network_of() -> MaskCoefficients:
    torch.manual_seed(0)
    network = build_network(small(), CLASSES)
    assert isinstance(network, MaskCoefficients)
    return network.eval()


def test_masks_are_the_weighed_sum_of_the_maps(batch: Batch) -> None:
    network = network_of()
    seen = network.vision(batch.frames_BNTHWC[:, 1])
    weights = network.coefficients(seen.tokens_BSOD[:, 0, 0])
    maps = network.sound(batch.mix_B1QF)
    expected = (weights[:, :, None, None] * maps).sum(1) + network.synthesizer.bias
    torch.testing.assert_close(network(batch).mask_logits_BNQF[:, 1], expected)


def test_losses_are_of_masks_and_of_class_maps(batch: Batch) -> None:
    network = network_of()
    outputs = network(batch)
    assert outputs.scores_BNSC.shape == (2, 2, 4, CLASSES)
    terms = loss_terms(outputs, batch, hinge=False)
    logits, weight = outputs.mask_logits_BNQF, batch.weight_B1QF
    torch.testing.assert_close(terms.mask, mask_loss(logits, batch.masks_BNQF, weight))
    torch.testing.assert_close(terms.classes, map_loss(outputs.scores_BNSC, batch.labels_BNC))


def test_swapping_the_videos_swaps_the_masks(batch: Batch) -> None:
    network = network_of()
    masks = network(batch).masks_BNQF
    torch.testing.assert_close(network(batch.swapped()).masks_BNQF, masks.flip(1))
    assert (masks[:, 0] - masks[:, 1]).abs().max() > 1e-4


def test_a_mask_does_not_depend_on_the_other_video(batch: Batch) -> None:
    network = network_of()
    frames = batch.frames_BNTHWC.clone()
    frames[:, 1] = 0
    alone = network(replace(batch, frames_BNTHWC=frames)).masks_BNQF
    torch.testing.assert_close(alone[:, 0], network(batch).masks_BNQF[:, 0])


def test_it_learns_masks_and_classes(batch: Batch) -> None:
    torch.manual_seed(0)
    config = small()
    module = BaselineModule(config, CLASSES)
    logged: dict[str, float] = {}
    module.log = lambda name, value, **more: logged.update({name: float(value.detach())})
    halves = torch.zeros(2, 2, 16, 16)
    halves[:, 0, :8] = halves[:, 1, 8:] = 1
    batch = replace(batch, masks_BNQF=halves)
    groups = parameter_groups(module.network, config.optim)
    held = [id(p) for group in groups for p in group["params"]]
    assert sorted(held) == sorted(id(p) for p in module.network.parameters())
    optimiser = torch.optim.AdamW(module.network.parameters(), lr=1e-2)
    first = None
    for _ in range(60):
        optimiser.zero_grad()
        loss = module.training_step(batch, 0)
        first = first or dict(logged)
        loss.backward()
        optimiser.step()
    assert logged["train/mask_loss"] < 0.3 * first["train/mask_loss"]
    assert logged["train/class_loss"] < 0.6 * first["train/class_loss"]
    total = logged["train/mask_loss"] + config.class_weight * logged["train/class_loss"]
    assert float(loss.detach()) == pytest.approx(total)
