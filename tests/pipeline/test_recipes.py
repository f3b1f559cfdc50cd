"""The recipe that suits a dataset, and the sentence that says why."""

from __future__ import annotations

import pytest

from pipeline.datasets.base import Dataset, SourceItem
from pipeline.datasets.recipes import default_recipe
from storage.records import DatasetItem


def dataset(counts: dict[str, int], tasks: tuple[str, ...] = ()) -> Dataset:
    items = [
        DatasetItem(item_id=f"s/{label}-{number}/whole", labels=(label,), tasks=tasks)
        for label, count in counts.items()
        for number in range(count)
    ]
    return Dataset(
        name="clips",
        items=tuple(SourceItem(item=one, path=None) for one in items),
        classes=tuple(counts),
    )


@pytest.mark.parametrize(
    ("counts", "expected"),
    [
        ({"violin": 3, "flute": 4}, "tribert"),
        ({"Dog": 3, "Car": 3, "Speech": 9}, "avvp"),
        ({"violin": 3, "flute": 2}, "features"),
        ({"violin": 9}, "features"),
        ({}, "features"),
        ({"walking": 5, "running": 5}, "features"),
        ({"violin": 3, "flute": 3, "my_gong": 3}, "tribert"),
        ({"accordion": 3, "banjo": 3}, "tribert"),
        ({"Accordion": 3, "Banjo": 3}, "avvp"),
        ({"ACCORDION": 3, "BANJO": 3}, "tribert"),
        ({"Violin": 3, "Acoustic guitar": 3}, "tribert"),
        ({"dog": 3, "car": 3}, "avvp"),
        ({"violin": 3, "Dog": 3}, "tribert"),
        ({"violin": 3, "Dog": 3, "Car": 3}, "avvp"),
        ({"violin": 3, "Dog": 2, "Car": 2, "flute": 3}, "tribert"),
    ],
)
def test_the_classes_with_three_videos_decide(counts, expected):
    recipe, sentence = default_recipe(dataset(counts))
    assert recipe == expected
    assert sentence.startswith(f"Recipe '{expected}': ")
    assert sentence.endswith(".")
    assert "\n" not in sentence


def test_windows_of_one_video_count_once():
    items = tuple(
        SourceItem(item=DatasetItem(item_id=f"s/{label}/{n}-{n + 1}", labels=(label,)), path=None)
        for label in ("violin", "flute")
        for n in range(5)
    )
    assert default_recipe(Dataset(name="d", items=items, classes=()))[0] == "features"


def test_items_that_name_both_recipes_get_both():
    music, events = dataset({"violin": 1}, ("tribert",)), dataset({"Dog": 1}, ("avvp",))
    both = Dataset(name="demo", items=music.items + events.items, classes=())
    assert default_recipe(both)[0] == "all"
