"""The class lists, the order of a label vector, and the dataset record."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.datasets.base import Dataset, SourceItem, video_of
from pipeline.datasets.classes import LLP, MUSIC21, order_classes
from storage.records import DatasetItem

SHARED = Path(__file__).parents[2].parent / "shared"


def item(name: str, *, tasks: tuple[str, ...] = ()) -> SourceItem:
    return SourceItem(item=DatasetItem(item_id=f"s/{name}/whole", tasks=tasks), path=None)


def test_class_lists_have_the_published_sizes():
    assert len(set(MUSIC21)) == 21
    assert len(set(LLP)) == 25


def test_llp_classes_are_those_of_the_published_lists():
    lists = sorted((SHARED / "data" / "llp").rglob("AVVP_dataset_full.csv"))
    if not lists:
        pytest.skip("shared/data/llp is not here")
    rows = lists[0].read_text(encoding="utf-8").splitlines()[1:]
    assert {name for row in rows for name in row.split("\t")[1].split(",")} == set(LLP)


def test_music_classes_come_in_official_order():
    assert order_classes(["violin", "flute", "tuba", "flute"]) == ("flute", "tuba", "violin")


def test_llp_names_give_the_whole_list():
    assert order_classes(["Dog", "Speech"]) == LLP


def test_other_names_come_last_in_order_of_name():
    assert order_classes(["zebra", "Dog", "apple", "violin"]) == ("violin", "Dog", "apple", "zebra")


def test_no_labels_give_no_classes():
    assert order_classes([]) == ()


def test_items_serve_the_recipes_that_they_name_or_all():
    items = (item("a", tasks=("tribert",)), item("b", tasks=("avvp",)), item("c"))
    dataset = Dataset(name="d", items=items, classes=())
    assert dataset.serving("tribert") == (items[0], items[2])
    assert dataset.serving("avvp") == (items[1], items[2])


def test_windows_of_one_video_have_one_video():
    assert video_of("s/clip.mp4/0-1000") == video_of("s/clip.mp4/whole") == "s/clip.mp4"
