"""Which test clips an evaluation mixes: the published draw, or pairs without a common label."""

from __future__ import annotations

import pytest

from model.tribert.clips import Clip, ClipSet
from model.tribert.crops import CentreRange
from model.tribert.errors import SeparationError
from model.tribert.evaluate import choose_pairs
from model.tribert.evaluation_config import EvaluationConfig
from pipeline.datasets.pairs import official_pairs


def clips(*labels: str) -> ClipSet:
    return ClipSet(
        clips=tuple(
            Clip(
                item_id=f"s/{number}/whole",
                labels=(label,),
                centres=CentreRange(first=0, last=1),
                tracks={},
            )
            for number, label in enumerate(labels)
        )
    )


def test_the_published_draw_takes_the_clips_in_order() -> None:
    found = clips("flute", "flute", "tuba")
    chosen = choose_pairs(found, EvaluationConfig(pair_rule="official"))
    assert chosen == official_pairs(3)


def test_pairs_share_no_label() -> None:
    chosen = choose_pairs(clips("flute", "flute", "tuba"), EvaluationConfig(pair_rule="disjoint"))
    assert {frozenset(pair) for pair in chosen} == {frozenset((0, 2)), frozenset((1, 2))}


def test_clips_that_all_share_a_label_cannot_be_paired() -> None:
    with pytest.raises(SeparationError, match="no two without a common label"):
        choose_pairs(clips("flute", "flute"), EvaluationConfig(pair_rule="disjoint"))
