"""Splits are drawn by video, per class, from a seed, and do not depend on the list's order."""

from __future__ import annotations

import random
from collections import Counter, defaultdict

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.datasets.base import DatasetError, video_of
from pipeline.datasets.splits import draw_splits
from storage.records import DatasetItem

LABELS = ("cello", "flute", "tuba", "drum")


def item(
    video: int, label: str = "flute", window: int | None = None, split: str = ""
) -> DatasetItem:
    where = "whole" if window is None else f"{window}-{window + 1}"
    return DatasetItem(item_id=f"s/v{video}/{where}", labels=(label,) if label else (), split=split)


@st.composite
def lists(draw: st.DrawFn) -> list[DatasetItem]:
    """Videos with one class each, one to three windows, and now and then a given split."""
    items = []
    for video in range(draw(st.integers(1, 40))):
        label = draw(st.sampled_from((*LABELS, "")))
        split = draw(st.sampled_from(("", "", "", "train", "val", "test")))
        items += [item(video, label, w, split) for w in range(draw(st.integers(1, 3)))]
    return items


def by_video(items: tuple[DatasetItem, ...]) -> dict[str, set[str]]:
    splits: dict[str, set[str]] = defaultdict(set)
    for one in items:
        splits[video_of(one.item_id)].add(one.split)
    return splits


@given(lists(), st.integers(0, 5))
def test_a_video_is_in_one_split_and_given_splits_stay(items, seed):
    drawn = draw_splits(items, seed)
    assert [d.item_id for d in drawn] == [i.item_id for i in items]
    assert all(len(splits) == 1 for splits in by_video(drawn).values())
    assert all(d.split in ("train", "val", "test") for d in drawn)
    assert all(d.split == i.split for d, i in zip(drawn, items, strict=True) if i.split)


@given(lists(), st.integers(0, 5), st.randoms(use_true_random=False))
def test_the_order_of_the_list_changes_nothing(items, seed, shuffler: random.Random):
    shuffled = items.copy()
    shuffler.shuffle(shuffled)
    assert set(draw_splits(items, seed)) == set(draw_splits(shuffled, seed))


@given(st.integers(3, 60), st.integers(0, 5), st.sampled_from(LABELS))
def test_a_class_with_three_videos_is_in_every_split(count, seed, label):
    drawn = draw_splits([item(video, label) for video in range(count)], seed)
    counts = Counter(one.split for one in drawn)
    assert counts["test"] == counts["val"] == max(1, round(0.1 * count))
    assert counts["train"] >= 1


@given(lists(), st.integers(0, 5))
def test_open_videos_fill_the_splits_that_a_class_lacks(items, seed):
    drawn = draw_splits(items, seed)
    for label in LABELS:
        own = [(i, d) for i, d in zip(items, drawn, strict=True) if label in i.labels]
        videos = {video_of(i.item_id) for i, _ in own}
        free = {video_of(i.item_id) for i, _ in own if not i.split}
        lacking = {"train", "val", "test"} - {i.split for i, _ in own}
        if len(videos) >= 3 and len(free) >= len(lacking):
            assert {d.split for _, d in own} == {"train", "val", "test"}


def test_small_classes_stay_in_train():
    assert {one.split for one in draw_splits([item(0), item(1)], 0)} == {"train"}


def test_classes_are_divided_one_by_one():
    items = [item(video, LABELS[video % 4]) for video in range(120)]
    counts = Counter((one.labels[0], one.split) for one in draw_splits(items, 3))
    assert all(counts[label, "test"] == counts[label, "val"] == 3 for label in LABELS)


def test_clips_of_two_classes_leave_each_class_in_every_split():
    pairs = [(a, b) for a in LABELS for b in LABELS if a < b]
    items = [
        DatasetItem(item_id=f"s/{a}{b}{n}/whole", labels=(a, b)) for a, b in pairs for n in range(3)
    ]
    for seed in range(10):
        for label in LABELS:
            drawn = draw_splits(items, seed)
            assert {d.split for d in drawn if label in d.labels} == {"train", "val", "test"}


def test_another_seed_draws_otherwise():
    items = [item(video) for video in range(40)]
    assert draw_splits(items, 0) != draw_splits(items, 1)


def test_nothing_is_held_out_where_the_fraction_is_nought():
    drawn = draw_splits([item(video) for video in range(20)], 0, (0.9, 0.0, 0.1))
    assert Counter(one.split for one in drawn) == {"train": 18, "test": 2}


def test_one_video_in_two_given_splits_is_refused():
    with pytest.raises(DatasetError, match=r"s/v1.*train and test"):
        draw_splits([item(1, window=0, split="train"), item(1, window=1, split="test")], 0)


def test_fractions_that_do_not_sum_to_one_are_refused():
    with pytest.raises(ValueError, match="sum to 1"):
        draw_splits([item(1)], 0, (0.8, 0.1, 0.2))
