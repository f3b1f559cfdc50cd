"""Co-Separation and AV-Mix-and-Separate: objects, their losses, and whose masks they are."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from torch.nn import functional

from model.separation.config import Config, of_system
from model.separation.losses import (
    co_separation_loss,
    consistency_loss,
    hinge_loss,
    loss_terms,
)
from model.separation.module import BaselineModule, build_network
from model.separation.objects import ObjectOutputs, ObjectSeparation, object_boxes
from model.tribert.batch import Batch

SYSTEMS = ("co_separation", "av_mix_separate")
CLASSES = 3


def small(system: str) -> Config:
    config = of_system("tiny", system)
    return replace(
        config,
        data=replace(config.data, picture_px=16),
        network=replace(config.network, widths=(4, 8), small_widths=(4, 6)),
    )


@pytest.fixture
def batch(noise_batch: Batch) -> Batch:
    """Of the videos have 2, 1, 0 persons, and 1 beside one whose box is a speck."""
    box = torch.tensor([[0.0, 0.0, 0.5, 1.0, 0.5], [0.5, 0.25, 1.0, 1.0, 0.375]])
    boxes = box.expand(2, 2, 3, 2, 5).clone()
    present = torch.ones(2, 2, 3, 2, dtype=torch.bool)
    present[0, 1, :, 1] = present[1, 0] = False
    boxes[1, 1, :, 0] = torch.tensor([0.0, 0.0, 0.05, 0.05, 0.0025])
    return replace(
        noise_batch,
        present_BNTP=present,
        box_BNTP5=boxes * present[..., None],
        labels_BNC=functional.one_hot(torch.tensor([[0, 1], [2, 0]]), CLASSES).float(),
    )


@pytest.fixture
def one_mix(batch: Batch) -> Batch:
    """The first one."""
    return batch.apply(lambda tensor: tensor[:1])


def network_of(system: str) -> ObjectSeparation:
    torch.manual_seed(0)
    network = build_network(small(system), CLASSES)
    assert isinstance(network, ObjectSeparation)
    return network.eval()


def outputs_of(masks: list[torch.Tensor], videos: list[int]) -> ObjectOutputs:
    """Objects of one mix of two videos."""
    scores = torch.randn(len(masks), CLASSES, generator=torch.Generator().manual_seed(1))
    return ObjectOutputs(
        masks_ZQF=torch.stack(masks), scores_ZC=scores, videos_Z=torch.tensor(videos), shape=(1, 2)
    )


def test_parameter_counts() -> None:
    network = build_network(of_system("paper", "co_separation"), 16)
    counts = {
        name: sum(p.numel() for p in part.parameters()) for name, part in network.named_children()
    }
    assert counts == {"sound": 46_022_785, "pictures": 14_454_208, "classifier": 11_178_448}


def test_objects_are_persons_or_the_whole_picture(batch: Batch) -> None:
    boxes, videos = object_boxes(batch, "box", 2)
    assert videos.tolist() == [0, 0, 1, 2, 3]
    left, right, whole = [0, 0, 0.5, 1], [0.5, 0.25, 1, 1], [0, 0, 1, 1]
    assert boxes.tolist() == [left, right, left, whole, right]
    boxes, videos = object_boxes(batch, "box", 1)
    assert videos.tolist() == [0, 1, 2, 3]
    assert boxes.tolist() == [left, left, whole, right]
    boxes, videos = object_boxes(batch, "frame", 2)
    assert videos.tolist() == [0, 1, 2, 3]
    assert boxes.tolist() == [whole] * 4


def test_a_crop_is_what_its_box_holds() -> None:
    network = network_of("co_separation").pictures
    pictures = torch.zeros(2, 32, 32, 3)
    pictures[0, :, 16:] = 1
    boxes = torch.tensor([[0.5, 0.0, 1.0, 0.5], [0.0, 0.0, 0.5, 1.0], [0.0, 0.0, 1.0, 1.0]])
    crops = network.crops(pictures, boxes, torch.tensor([0, 0, 1]))
    assert crops.shape == (3, 3, 16, 16)
    bright, dark = network.normalised(torch.tensor([1.0, 0.0]).expand(3, 2).T[:, None, None, None])
    torch.testing.assert_close(crops[0, :, :, 1:], bright[0].expand(-1, 16, 15))
    torch.testing.assert_close(crops[2], dark[0].expand(-1, 16, 16))
    torch.testing.assert_close(crops[1, :, :, :15], dark[0].expand(-1, 16, 15))


def test_one_object_a_video_is_the_weighted_l1_of_its_mask(one_mix: Batch) -> None:
    masks = list(torch.rand(2, 16, 16, generator=torch.Generator().manual_seed(2)))
    terms = loss_terms(outputs_of(masks, [0, 1]), one_mix, hinge=False)
    each = [
        (one_mix.weight_B1QF[0, 0] * (mask - one_mix.masks_BNQF[0, n]).abs()).mean()
        for n, mask in enumerate(masks)
    ]
    torch.testing.assert_close(terms.mask, sum(each) / 2)


def test_two_halves_of_a_mask_are_the_mask(one_mix: Batch) -> None:
    first, second = torch.rand(2, 16, 16, generator=torch.Generator().manual_seed(3))
    whole = outputs_of([first, second], [0, 1])
    halves = outputs_of([first / 2, first / 2, second], [0, 0, 1])
    torch.testing.assert_close(
        loss_terms(halves, one_mix, hinge=False).mask, loss_terms(whole, one_mix, hinge=False).mask
    )
    torch.testing.assert_close(halves.masks_BNQF, whole.masks_BNQF)
    twice = outputs_of([first, first, second], [0, 0, 1])
    assert twice.summed_BNQF.max() > 1, "the loss sees a sum that is too large"
    assert twice.masks_BNQF.max() == 1


def test_classes_are_averaged_over_objects_not_videos(one_mix: Batch) -> None:
    outputs = outputs_of([torch.rand(16, 16)] * 3, [0, 0, 1])
    expected = functional.cross_entropy(outputs.scores_ZC, torch.tensor([0, 0, 1]))
    torch.testing.assert_close(loss_terms(outputs, one_mix, hinge=False).classes, expected)


def test_in_a_duet_any_of_its_classes_is_right() -> None:
    scores = torch.log(torch.tensor([[0.5, 0.3, 0.2]]))
    loss = consistency_loss(scores, torch.tensor([[1.0, 0.0, 1.0]]))
    assert float(loss) == pytest.approx(-math.log(0.7), abs=1e-6)


def test_the_hinge_wants_a_margin_of_one() -> None:
    labels = torch.tensor([[1.0, 0.0, 1.0]])
    assert float(hinge_loss(torch.tensor([[3.0, 2.0, 4.0]]), labels)) == 0
    loss = hinge_loss(torch.tensor([[2.5, 2.0, 1.0]]), labels)
    assert float(loss) == pytest.approx((0.5 + 2.0) / CLASSES)


@pytest.mark.parametrize("system", SYSTEMS)
def test_swapping_the_videos_swaps_the_masks(batch: Batch, system: str) -> None:
    network = network_of(system)
    with torch.no_grad():
        network.sound.out.weight.mul_(20)  # masks start near one half
    masks = network(batch).masks_BNQF
    torch.testing.assert_close(network(batch.swapped()).masks_BNQF, masks.flip(1))
    assert (masks[:, 0] - masks[:, 1]).abs().max() > 1e-4


@pytest.mark.parametrize("system", SYSTEMS)
def test_a_mask_does_not_depend_on_the_other_video(batch: Batch, system: str) -> None:
    network = network_of(system)
    frames, present = batch.frames_BNTHWC.clone(), batch.present_BNTP.clone()
    frames[:, 1], present[:, 1] = 0, False
    alone = network(replace(batch, frames_BNTHWC=frames, present_BNTP=present)).masks_BNQF
    torch.testing.assert_close(alone[:, 0], network(batch).masks_BNQF[:, 0])


@pytest.mark.parametrize("system", SYSTEMS)
def test_both_losses_are_learned(batch: Batch, system: str) -> None:
    torch.manual_seed(0)
    module = BaselineModule(small(system), CLASSES)
    logged: dict[str, float] = {}
    module.log = lambda name, value, **more: logged.update({name: float(value.detach())})
    batch = replace(batch, masks_BNQF=torch.full((2, 2, 16, 16), 0.9))
    optimiser = torch.optim.AdamW(module.network.parameters(), lr=1e-2)
    losses = []
    for _ in range(25):
        optimiser.zero_grad()
        loss = module.training_step(batch, 0)
        loss.backward()
        optimiser.step()
        losses.append(dict(logged))
    for name in ("train/mask_loss", "train/class_loss"):
        assert losses[-1][name] < 0.6 * losses[0][name], name
    total = losses[-1]["train/mask_loss"] + 0.05 * losses[-1]["train/class_loss"]
    assert float(loss.detach()) == pytest.approx(total)
    assert all(p.grad is not None for p in module.network.parameters())
    module.validation_step(batch, 0)
    assert {"val/mask_loss", "val/mask_loss_swapped"} <= set(logged)


def test_targets_are_ratios(one_mix: Batch) -> None:
    for name, crop in zip(SYSTEMS, ("box", "frame"), strict=True):
        config = of_system("paper", name)
        assert (config.data.mask, config.crop, config.class_weight) == ("ratio", crop, 0.05)
        assert Config.from_json(config.as_json()) == config
    loss = co_separation_loss(one_mix.masks_BNQF, one_mix.masks_BNQF, one_mix.weight_B1QF)
    assert float(loss) == 0
