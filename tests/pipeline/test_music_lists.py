"""MUSIC21 and MUSIC: published counts and splits, carved validation, lists that were edited."""

from __future__ import annotations

import json
import shutil
from collections import Counter
from pathlib import Path

import pytest

from pipeline.datasets.base import Dataset, DatasetError
from pipeline.datasets.classes import MUSIC21
from pipeline.datasets.music import read_music, read_music21
from pipeline.datasets.splits import carve_validation
from storage.records import DatasetItem

TRAIN, TEST = "tribert/music21_train.csv", "tribert/music21_val.csv"
SOLOS = "roudimit_MUSIC_dataset/MUSIC21_solo_videos.json"


@pytest.fixture(scope="session")
def lists(shared_dir: Path) -> Path:
    return shared_dir / "data"


@pytest.fixture
def copied(lists: Path, tmp_path: Path) -> Path:
    """A copy of the music lists that a test may edit."""
    shutil.copytree(lists / "music", tmp_path / "lists", copy_function=shutil.copyfile)
    for path in tmp_path.rglob("*"):
        path.chmod(0o755 if path.is_dir() else 0o644)
    return tmp_path / "lists"


def splits(dataset: Dataset) -> dict[str, int]:
    return dict(Counter(s.item.split for s in dataset.items))


def ids(dataset: Dataset, split: str) -> list[str]:
    return [s.item.item_id.split("/")[1] for s in dataset.items if s.item.split == split]


def edit(path: Path, old: str, new: str) -> int:
    """Replace the first `old` in a file; return its line."""
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))
    return text[: text.index(old)].count("\n") + 1


def test_the_official_lists_have_the_published_counts(lists: Path) -> None:
    both, solo = (read_music21(lists, split="draw", view=v) for v in ("solo+duet", "solo"))
    assert (len(both.items), len(solo.items)) == (1164 + 149, 1164)
    assert both.classes == solo.classes == MUSIC21
    assert splits(both) == {"": 1313}
    assert {len(s.item.labels) for s in solo.items} == {1}
    assert sum(len(s.item.labels) == 2 for s in both.items) == 149
    assert all(s.path is None and s.url.endswith(s.item.item_id.split("/")[1]) for s in both.items)


def test_triberts_split_carves_a_tenth_of_training(lists: Path) -> None:
    dataset = read_music21(lists)
    assert splits(dataset) == {"train": 756, "val": 84, "test": 211}
    published = (lists / "music" / TEST).read_text().split()
    assert ids(dataset, "test") == published
    train = (lists / "music" / TRAIN).read_text().split()
    assert sorted(ids(dataset, "train") + ids(dataset, "val")) == sorted(train)
    assert any("262 of the official 1313" in note for note in dataset.notes)
    assert set(dataset.list_files) == {
        TRAIN, TEST, SOLOS, "roudimit_MUSIC_dataset/MUSIC_duet_videos.json",
    }  # fmt: skip


def test_refit_trains_on_all_840(lists: Path) -> None:
    assert splits(read_music21(lists, refit=True)) == {"train": 840, "test": 211}


def test_the_view_of_solos_has_746_and_190(lists: Path) -> None:
    assert splits(read_music21(lists, view="solo", refit=True)) == {"train": 746, "test": 190}


def test_validation_depends_on_the_seed_alone_and_has_every_class(lists: Path) -> None:
    first, again, other = (read_music21(lists, seed=seed) for seed in (0, 0, 1))
    assert ids(first, "val") == ids(again, "val") != ids(other, "val")
    held = Counter(s.item.labels[0] for s in first.items if s.item.split == "val")
    assert set(held) == set(MUSIC21)
    of = Counter(s.item.labels for s in first.items if s.item.split in ("train", "val"))
    val = Counter(s.item.labels for s in first.items if s.item.split == "val")
    assert all(abs(val[labels] - count / 10) < 1 for labels, count in of.items())


def test_iquerys_music21(lists: Path) -> None:
    assert splits(read_music21(lists, split="iquery")) == {"train": 805, "val": 89, "test": 198}


@pytest.mark.parametrize(
    "split, counts, overlap",
    [
        ("co-separation", {"train": 514, "val": 11, "test": 11}, 0),
        ("ccol", {"train": 468 - 2, "val": 52 - 24, "test": 26}, 2),
        ("iquery", {"train": 406, "val": 45, "test": 25}, 2),
        ("clipsep", {"train": 291, "val": 46, "test": 46}, 35),
        ("mix-and-localize", {"train": 404, "val": 18, "test": 24}, 0),
        ("draw", {"": 536}, 0),
    ],
)
def test_musics_published_splits(
    lists: Path, split: str, counts: dict[str, int], overlap: int
) -> None:
    dataset = read_music(lists, split=split)
    assert splits(dataset) == counts
    assert len(dataset.classes) == 11
    assert len(dataset.overlap) == overlap == dataset.irregularities.get("in_train_and_test", 0)
    assert set(dataset.overlap) <= {s.item.item_id for s in dataset.items if s.item.split == "test"}


def test_iquerys_overlap_by_name(lists: Path) -> None:
    dataset = read_music(lists, split="iquery")
    assert {item.split("/")[1] for item in dataset.overlap} == {"5lm9laLSORc", "Pzf9MQKkoNM"}
    assert any("2 videos in both train and test" in note for note in dataset.notes)


def test_co_separation_takes_the_first_two_of_each_class(lists: Path) -> None:
    dataset = read_music(lists, split="co-separation")
    path = lists / "music" / "roudimit_MUSIC_dataset" / "MUSIC_solo_videos.json"
    videos = json.loads(path.read_text())["videos"].values()
    assert set(ids(dataset, "val")) == {each[0] for each in videos}
    assert set(ids(dataset, "test")) == {each[1] for each in videos}


def test_duets_that_no_split_names_are_counted(lists: Path) -> None:
    dataset = read_music(lists, view="solo+duet", split="co-separation")
    assert {len(s.item.labels) for s in dataset.items} == {1}
    assert any("149 of the official 685 videos (0 solos, 149 duets)" in n for n in dataset.notes)
    drawn = read_music(lists, view="solo+duet", split="draw")
    assert len(drawn.items) == 536 + 149


def test_lists_are_found_in_any_arrangement(lists: Path, tmp_path: Path) -> None:
    """By their content, where names do not tell them apart."""
    for number, path in enumerate(sorted((lists / "music").rglob("*.*"))):
        if path.suffix in (".csv", ".json"):
            folder = tmp_path / f"folder{number}"
            folder.mkdir()
            shutil.copyfile(path, folder / path.name)
    for split in ("ccol", "clipsep", "mix-and-localize"):
        assert read_music(tmp_path, split=split).items == read_music(lists, split=split).items


def test_no_folder_and_no_list(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="no such folder"):
        read_music21(tmp_path / "absent")
    with pytest.raises(DatasetError, match=r"MUSIC21_solo_videos.json.*roudimit/MUSIC_dataset"):
        read_music21(tmp_path)


@pytest.mark.parametrize("wrong", [{"view": "duet"}, {"split": "clipsep"}])
def test_unknown_views_and_splits(lists: Path, wrong: dict[str, str]) -> None:
    with pytest.raises(DatasetError, match="expected one of"):
        read_music21(lists, **wrong)


def test_an_edited_list_is_read_and_said_to_differ(copied: Path) -> None:
    edit(copied / TRAIN, "bWPte6-VThw\n", "")
    dataset = read_music21(copied, refit=True)
    assert splits(dataset) == {"train": 839, "test": 211}
    assert any("music21_train.csv differs from the published" in note for note in dataset.notes)


@pytest.mark.parametrize(
    "old, new, message",
    [
        ("Uh_PzT65l2E", "Uh_PzT65l2", "'Uh_PzT65l2' is not a YouTube id"),
        ("Uh_PzT65l2E", "AAAAAAAAAAA", "not in the official lists"),
        ("Uh_PzT65l2E", "bWPte6-VThw", "already at line 1; take one of them out"),
        ("Uh_PzT65l2E", "Uh_PzT65l2E,flute", "2 fields; expected 1"),
    ],
)
def test_bad_rows_of_a_split_list(copied: Path, old: str, new: str, message: str) -> None:
    line = edit(copied / TRAIN, old, new)
    assert line == 2
    with pytest.raises(DatasetError, match=f"music21_train.csv, row at line 2: .*{message}"):
        read_music21(copied)


@pytest.mark.parametrize(
    "old, new, message",
    [
        (
            "/tuba/YtOvrQNMkY0.wav,",
            "/flute/YtOvrQNMkY0.wav,",
            "flute, officially it is tuba",
        ),
        ("/tuba/YtOvrQNMkY0.mp4", "/tuba/D6YQ6WwWZrk.mp4", "two videos in one row"),
        ("/tuba/YtOvrQNMkY0.wav,/tuba/YtOvrQNMkY0.mp4,21", "/tuba/YtOv", "1 fields; expected 3"),
    ],
)
def test_bad_rows_with_classes(copied: Path, old: str, new: str, message: str) -> None:
    line = edit(copied / "iquery" / "MUSIC" / "trainmusic.csv", old, new)
    with pytest.raises(DatasetError, match=f"row at line {line}: .*{message}"):
        read_music(copied, split="iquery")


@pytest.mark.parametrize(
    "old, new, message",
    [
        ('"clarinet"', '"clarinett"', "class 'clarinett'; expected 1 of MUSIC21's"),
        ('"clarinet"', '"bagpipe"', "'bagpipe' is already at line 4"),
        ('"XEj3ejyxjNU"', '"XEj3ejyxjN"', "'XEj3ejyxjN' under 'bagpipe' is not a YouTube id"),
        ('"XEj3ejyxjNU"', '"kw-OQpF9N4E"', "kw-OQpF9N4E is already at line 5"),
        ('"XEj3ejyxjNU",', '"XEj3ejyxjNU"', "not JSON"),
    ],
)
def test_bad_official_lists(copied: Path, old: str, new: str, message: str) -> None:
    line = edit(copied / SOLOS, old, new)
    lines = f"({line}|{line + 1})" if message == "not JSON" else str(line)
    with pytest.raises(DatasetError, match=f"MUSIC21_solo_videos.json, line {lines}: .*{message}"):
        read_music21(copied)


def test_a_list_cut_half_way_is_no_json(copied: Path) -> None:
    path = copied / SOLOS
    path.write_text(path.read_text()[:5000])
    with pytest.raises(DatasetError, match=r"not JSON .*cut or edited"):
        read_music21(copied)


def test_carving_takes_the_fraction_of_all_classes_together() -> None:
    items = [
        DatasetItem(item_id=f"s/{label}{n}/whole", labels=(label,), split="train")
        for label, count in (("a", 25), ("b", 14), ("c", 1))
        for n in range(count)
    ]
    held = Counter(i.labels[0] for i in carve_validation(items, seed=3) if i.split == "val")
    assert held == {"a": 3, "b": 1} or held == {"a": 2, "b": 2}
    assert [i.item_id for i in carve_validation(items, seed=3)] == [i.item_id for i in items]
    with pytest.raises(ValueError, match="expected 0 to 1"):
        carve_validation(items, seed=0, fraction=1.5)
