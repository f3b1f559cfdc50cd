"""Datasets by name; videos of both training and test."""

from __future__ import annotations

from dataclasses import replace

import pytest

from pipeline.datasets.base import Dataset, SourceItem
from storage.records import DatasetItem
from tasks.lists import list_names, read_list, shared_videos, without_overlap, without_videos
from tasks.settings import ListSettings, SettingsError, load_settings


def dataset(*rows: tuple[str, str], overlap: tuple[str, ...] = ()) -> Dataset:
    items = tuple(
        SourceItem(item=DatasetItem(item_id=item_id, labels=("flute",), split=split), path=None)
        for item_id, split in rows
    )
    return Dataset(name="d", items=items, classes=("flute",), overlap=overlap)


WINDOWS = dataset(
    ("youtube/a/0-10000", "train"),
    ("youtube/a/20000-30000", "test"),
    ("youtube/b/0-10000", "train"),
    ("youtube/c/0-10000", "test"),
)
LISTED = dataset(
    ("youtube/a/whole", "train"), ("youtube/b/whole", "test"), overlap=("youtube/b/whole",)
)


def splits(data: Dataset) -> dict[str, str]:
    return {entry.item.item_id: entry.item.split for entry in data.items}


def test_videos_of_both_parts_are_found_by_video_not_by_window() -> None:
    assert shared_videos(WINDOWS) == {"a"}
    assert shared_videos(LISTED) == {"b"}
    assert shared_videos(dataset(("youtube/a/whole", "train"))) == frozenset()


def test_overlap_is_left_to_the_trainer_unless_it_is_settled() -> None:
    assert without_overlap(WINDOWS, "refuse") is WINDOWS
    for_test = without_overlap(WINDOWS, "test")
    assert list(splits(for_test).values()) == ["test", "train", "test"]
    assert "youtube/a/0-10000" not in splits(for_test)
    for_train = without_overlap(WINDOWS, "train")
    assert "youtube/a/20000-30000" not in splits(for_train)
    assert shared_videos(for_test) == shared_videos(for_train) == frozenset()
    assert "kept for test only" in for_test.notes[-1]


def test_an_id_that_two_lists_name_gets_the_split_that_is_asked_for() -> None:
    assert splits(without_overlap(LISTED, "train"))["youtube/b/whole"] == "train"
    assert splits(without_overlap(LISTED, "test"))["youtube/b/whole"] == "test"
    assert without_overlap(LISTED, "train").overlap == ()


@pytest.mark.parametrize(
    "name, said",
    [
        ("music21", "dir is not set"),
        ("music21:duo", "view = 'duo': expected one of solo, solo\\+duet"),
        ("music:cool", "split = 'cool': did you mean 'ccol'"),
        ("llp:2023", "audio edition = '2023'"),
        ("audioset", "audioset_files names no segment list"),
        ("csv", "no list given"),
    ],
)
def test_what_a_name_lacks_is_said(name: str, said: str) -> None:
    assert name.partition(":")[0] in list_names()
    settings = load_settings()
    assert settings.lists == ListSettings()
    with pytest.raises(SettingsError, match=said):
        read_list(name, settings)


def test_excluded_videos_leave_training_and_stay_in_the_test() -> None:
    data = without_videos(WINDOWS, {"a", "b"})
    assert splits(data) == {"youtube/a/20000-30000": "test", "youtube/c/0-10000": "test"}
    assert "2 item(s) are kept out of training" in data.notes[-1]
    assert without_videos(WINDOWS, {"c", "elsewhere"}) is WINDOWS


def test_a_file_of_ids_is_excluded_from_any_list(tmp_path) -> None:
    (tmp_path / "list.csv").write_text(
        "id,labels,split\nAAAAAAAAAAA,flute,train\nBBBBBBBBBBB,tuba,train\n"
    )
    (tmp_path / "ids.txt").write_text("AAAAAAAAAAA\n")
    settings = load_settings()
    lists = replace(settings.lists, exclude=str(tmp_path / "ids.txt"))
    name = f"csv:{tmp_path / 'list.csv'}"
    kept = read_list(name, replace(settings, lists=lists)).items
    assert len(read_list(name, settings).items) == 2
    assert ["BBBBBBBBBBB" in entry.item.item_id for entry in kept] == [True]
    wrong = replace(settings.lists, exclude="music/nothing/test")
    with pytest.raises(SettingsError, match=r"\[lists\] exclude: 'music/nothing/test' is neither"):
        read_list(name, replace(settings, lists=wrong))
