"""Measured speeds: kept per stage, read back, and refused when they cannot be."""

from __future__ import annotations

import pytest

from storage.errors import InvalidRecord, StoreDamaged
from storage.rates import Rate, read_rates, record_rate, slot_seconds

NAME = "frames-0123456789ab"


def test_rates_read_back_in_order(layout):
    assert read_rates(layout, NAME) == []
    assert slot_seconds([]) is None
    first = Rate(items=10, media_s=100.0, wall_s=20.0, slots=2)
    second = Rate(items=1, media_s=300.0, wall_s=60.0, slots=1, device="cuda", host="other")
    for rate in (first, second):
        record_rate(layout, NAME, rate)
    assert read_rates(layout, NAME) == [first, second]
    assert first.host
    assert slot_seconds([first]) == pytest.approx(0.4)
    assert slot_seconds([first, second]) == pytest.approx((40 + 60) / 400)
    assert read_rates(layout, "frames-ba9876543210") == []


@pytest.mark.parametrize(
    "wrong", [{"media_s": 0.0}, {"wall_s": float("nan")}, {"slots": 0}, {"items": 0}]
)
def test_what_is_no_speed_is_refused(wrong):
    with pytest.raises(InvalidRecord, match="expected"):
        Rate(**{"items": 1, "media_s": 1.0, "wall_s": 1.0, "slots": 1, **wrong})


def test_a_damaged_file_is_named(layout):
    layout.rates(NAME).mkdir(parents=True)
    (layout.rates(NAME) / "a.json").write_text('{"items": 1}')
    with pytest.raises(StoreDamaged, match=r"a\.json: not a measured rate"):
        read_rates(layout, NAME)
