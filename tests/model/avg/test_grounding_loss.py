"""Hinge losses: the original's values for every anchor, and what padding and anchors do."""

from __future__ import annotations

import pytest
import torch

from model.avg.config import Config, objective_config, presets
from model.avg.losses import closeness, grounding_loss, objective_of_epoch
from model.settings import ConfigError

MARGINS = {"positive_margin": 0.7, "negative_margin": 0.7}


@pytest.fixture(scope="module")
def embedded(golden) -> tuple[torch.Tensor, ...]:
    """Audio, pictures and groups of the golden batch."""
    audio, picture = (
        torch.from_numpy(golden.arrays[f"loss_{name}_embed"]).double() for name in ("aud", "vid")
    )
    labels = torch.from_numpy(golden.arrays["loss_labels"])
    groups = labels.argmax(2)
    assert torch.equal(groups[:, :, None] == groups[:, None], labels == 1)
    return audio, picture, groups


def at(embedded, anchor: int | None, objective: str) -> float:
    anchors = None if anchor is None else torch.full((4, 1), anchor)
    return grounding_loss(*embedded, anchors, objective=objective, **MARGINS).item()


@pytest.mark.parametrize("objective", ["uni", "cross"])
def test_every_anchor_costs_what_it_does_in_the_original(golden, embedded, objective) -> None:
    expected = golden.values["hinge"][objective]
    for anchor, row in enumerate(expected["by_anchor_second"]):
        assert at(embedded, anchor, objective) == pytest.approx(row[2], abs=1e-6)
    mean = expected["mean_over_anchors"][2]
    assert at(embedded, None, objective) == pytest.approx(mean, abs=1e-6)


def test_multi_is_the_sum_or_alternates(golden, embedded) -> None:
    released = presets["release"]
    for anchor in range(10):
        uni, cross = (at(embedded, anchor, name) for name in ("uni", "cross"))
        assert at(embedded, anchor, "multi") == pytest.approx(uni + cross)
        for epoch in range(4):
            expected = golden.values["hinge"][f"multi_epoch{epoch % 2}"]["by_anchor_second"]
            asked = objective_of_epoch(released, epoch)
            assert at(embedded, anchor, asked) == pytest.approx(expected[anchor][2], abs=1e-6)
    assert objective_of_epoch(presets["paper"], 1) == "multi"


def test_anchors_are_averaged_and_padding_does_not_count() -> None:
    torch.manual_seed(0)
    audio, picture = torch.randn(2, 3, 6, 8).unbind()
    groups = torch.tensor([0, 0, 1, 1, 2, 2]).expand(3, 6)
    short = [
        grounding_loss(x, y, g, None, objective="multi", **MARGINS)
        for x, y, g in (
            (audio[:1, :4], picture[:1, :4], groups[:1, :4]),
            (audio[1:], picture[1:], groups[1:]),
        )
    ]
    absent = torch.zeros(3, 6, dtype=torch.bool)
    absent[0, 4:] = True
    together = grounding_loss(
        audio, picture, groups, None, objective="multi", absent_BT=absent, **MARGINS
    )
    assert together.item() == pytest.approx((short[0].item() + 2 * short[1].item()) / 3)
    anchors = torch.tensor([[0, 1], [2, 3], [4, 5]])
    apart = [
        grounding_loss(audio, picture, groups, anchors[:, i : i + 1], objective="uni", **MARGINS)
        for i in range(2)
    ]
    both = grounding_loss(audio, picture, groups, anchors, objective="uni", **MARGINS)
    assert both.item() == pytest.approx(sum(x.item() for x in apart) / 2)


def test_margins_are_where_it_starts_to_cost() -> None:
    """Two seconds that belong together and one that does not, at known cosines."""
    audio = torch.tensor([[[1.0, 0.0], [1.0, 0.0], [0.0, 1.0]]])
    picture = torch.tensor([[[0.6, 0.8], [1.0, 0.0], [0.8, 0.6]]])
    groups, first = torch.tensor([[0, 0, 1]]), torch.tensor([[0]])
    margins = {"positive_margin": 0.9, "negative_margin": 0.3}
    found = grounding_loss(audio, picture, groups, first, objective="cross", **margins)
    seen_by_sound = (0.9 - 0.6) + 0 + (0.8 - 0.3)
    heard_by_picture = (0.9 - 0.6) + (0.9 - 0.6) + (0.8 - 0.3)
    assert found.item() == pytest.approx((seen_by_sound + heard_by_picture) / 3)


def test_closeness_counts_pairs_of_one_clip() -> None:
    audio = torch.tensor([[[1.0, 0.0], [0.0, 1.0]], [[1.0, 0.0], [1.0, 0.0]]])
    groups = torch.tensor([[0, 1], [0, 0]])
    absent = torch.tensor([[False, False], [False, True]])
    found = closeness(audio, audio, groups, absent)
    assert (found.matching_pairs.item(), found.other_pairs.item()) == (3, 2)
    assert {n: v.item() for n, v in (found + found).means().items()} == {
        "cosine_matching": 1.0,
        "cosine_other": 0.0,
    }
    alone = closeness(audio[1:], audio[1:], groups[1:])
    assert set(alone.means()) == {"cosine_matching"}


@pytest.mark.parametrize(
    "wrong, message",
    [
        ({"objective": "both"}, "avg.objective='both'"),
        ({"objective": "uni", "alternate": True}, "of 'multi' only"),
        ({"silence": (1.0, 2.0)}, "2 values; expected 128"),
        ({"positive_margin": 1.5}, "expected a cosine"),
        ({"warmup": 1.0}, "warmup"),
        ({"agreement": "or"}, "avg.agreement"),
    ],
)
def test_settings_that_cannot_be(wrong, message) -> None:
    with pytest.raises(ConfigError, match=message):
        Config(**wrong)


def test_an_objective_with_a_presets_settings() -> None:
    config = objective_config("uni", "release", {"encoder": {"layers": 3}})
    assert (config.objective, config.alternate, config.encoder.layers) == ("uni", False, 3)
    assert config.encoder.width == presets["release"].encoder.width
    assert Config.from_json(config.as_json()) == config
    with pytest.raises(ConfigError, match="avg preset 'huge'"):
        objective_config("uni", "huge")
