"""The account of a folder of lists, and the videos that training and test lists share."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pipeline.datasets.base import Dataset, DatasetError, SourceItem
from pipeline.datasets.check import check_lists
from pipeline.datasets.leaks import Leak, dataset_leaks, known_lists, leak_report
from pipeline.datasets.music import read_music
from pipeline.datasets.published import PUBLISHED
from storage.records import DatasetItem


@pytest.fixture(scope="module")
def account(shared_dir: Path) -> dict[str, Any]:
    return check_lists(shared_dir / "data")


@pytest.fixture
def copied(shared_dir: Path, tmp_path: Path) -> Path:
    """A copy of all lists, by their names in the project, that a test may edit."""
    for file in PUBLISHED:
        source = shared_dir / "data" / "music" / file.name
        target = tmp_path / "lists" / file.name
        target.parent.mkdir(parents=True, exist_ok=True)
        if not source.exists():
            source = shared_dir / "data" / file.name
        shutil.copyfile(source, target)
    return tmp_path / "lists"


def test_the_published_lists_are_what_they_should_be(account: dict[str, Any]) -> None:
    assert account["ok"] is True
    assert json.loads(json.dumps(account)) == account
    sources = account["sources"]
    assert {name: s["found"] for name, s in sources.items()} == {
        "music21": True, "music": True, "llp": True, "audioset": False,
    }  # fmt: skip
    assert not any(s["problems"] for s in sources.values())
    assert all(f["published"] for s in sources.values() for f in s["files"])
    assert {n: (s["items"], s["classes"]) for n, s in sources.items() if s["found"]} == {
        "music21": (1313, 21), "music": (685, 11), "llp": (11849, 25),
    }  # fmt: skip
    assert sources["music21"]["splits"]["tribert"] == {"train": 840, "test": 211, "overlap": 0}
    assert sources["music"]["splits"]["iquery"] == {"train": 453, "test": 25, "overlap": 2}
    assert sources["llp"]["splits"]["official"] == {
        "train": 10000, "val": 649, "test": 1200, "overlap": 0,
    }  # fmt: skip
    assert sources["llp"]["irregularities"]["audio_repeated_row"] == 8


def test_all_lists_are_read_in_two_seconds(shared_dir: Path) -> None:
    start_s = time.process_time()
    check_lists(shared_dir / "data")
    assert time.process_time() - start_s < 2


def test_six_of_co_separations_tests_are_triberts_training(account: dict[str, Any]) -> None:
    """One video each of accordion, xylophone, erhu, cello, violin and clarinet."""
    leaks = {(leak["train"], leak["test"]): leak for leak in account["leaks"]}
    leak = leaks["music21/tribert/train", "music/co-separation/test"]
    assert leak["count"] == len(leak["ids"]) == 6
    assert leaks["music/iquery/train", "music/iquery/test"]["count"] == 2
    assert ("llp/train", "llp/test") not in leaks
    assert ("music21/tribert/train", "music21/tribert/test") not in leaks


def test_known_lists_by_name(shared_dir: Path) -> None:
    lists = known_lists(shared_dir / "data")
    assert len(lists["music21/tribert/train"]) == 840
    assert len(lists["music/co-separation/test"]) == 11
    assert len(lists["llp/test"]) == 1200
    music21 = {*lists["music21/tribert/train"], *lists["music21/tribert/test"]}
    llp = {i for part in ("train", "val", "test") for i in lists[f"llp/{part}"]}
    assert len(llp) == 11_849
    assert len(music21 & llp) <= 1


def test_lists_that_are_not_there_are_not_known(copied: Path) -> None:
    shutil.rmtree(copied / "llp")
    (copied / "ccol_music11" / "val.csv").write_text("half a row\n")
    lists = known_lists(copied)
    assert not any(name.startswith(("llp", "music/ccol")) for name in lists)
    assert "music/iquery/test" in lists


def test_a_copy_by_the_projects_names_is_fine(copied: Path) -> None:
    assert check_lists(copied)["ok"] is True


@pytest.mark.parametrize("file", PUBLISHED[2::7], ids=lambda file: file.name)
def test_any_missing_list_is_a_problem(copied: Path, file: Any) -> None:
    (copied / file.name).unlink()
    account = check_lists(copied)
    assert account["ok"] is False
    for source in file.sources:
        problems = account["sources"][source]["problems"]
        assert any(f"no list {file.name}; copy" in problem for problem in problems)
    assert all(
        not of["problems"] for name, of in account["sources"].items() if name not in file.sources
    )


def drop_last(text: str) -> str:
    return "".join(text.splitlines(keepends=True)[:-1])


@pytest.mark.parametrize(
    "name, change, source, message",
    [
        ("tribert/music21_val.csv", drop_last, "music21", "train 840, test 210"),
        ("tribert/music21_val.csv", lambda t: t + "\n", "music21", "differs from the published"),
        ("ccol_music11/val.csv", lambda t: t[:-3], "music", "differs from the published"),
        ("iquery/MUSIC/testmusic.csv", lambda t: t + "\nflute", "music", "1 fields; expected 3"),
        ("llp/AVVP_train.csv", drop_last, "llp", "11848 items were read; expected 11849"),
        ("llp/AVVP_train.csv", drop_last, "llp", "as in the lists of the parts"),
        ("llp/AVVP_dataset_full.csv", drop_last, "llp", "11848 rows; expected 11849"),
        ("llp/AVVP_eval_audio.csv", lambda t: t + "x\ty\n", "llp", "2 fields; expected 4"),
    ],
)
def test_a_changed_list_is_a_problem(
    copied: Path, name: str, change: Callable[[str], str], source: str, message: str
) -> None:
    path = copied / name
    path.write_text(change(path.read_text()))
    account = check_lists(copied)
    assert account["ok"] is False
    assert any(message in problem for problem in account["sources"][source]["problems"])
    others = {n: s["problems"] for n, s in account["sources"].items() if n != source}
    assert not any(others.values())


def test_audioset_is_read_where_it_is(copied: Path) -> None:
    path = copied / "audioset" / "eval_segments.csv"
    path.parent.mkdir()
    path.write_text('# num_ytids=2, num_segs=2\nabcdefghijk, 0.000, 10.000, "/m/09x0r"\n')
    account = check_lists(copied)
    assert account["sources"]["audioset"]["items"] == 1
    assert account["sources"]["audioset"]["problems"] == [
        "AudioSet: 1 segments fewer than the lists promise"
    ]
    assert account["ok"] is False


def test_an_empty_folder_and_none(tmp_path: Path) -> None:
    account = check_lists(tmp_path)
    assert account["ok"] is False
    assert not any(source["found"] for source in account["sources"].values())
    with pytest.raises(DatasetError, match="no such folder"):
        check_lists(tmp_path / "absent")


def test_leaks_are_named_by_their_lists_and_videos() -> None:
    found = leak_report(
        {"a/train": ["youtube/abcdefghijk/0-10", "lab/x/whole"], "b/train": ["c"]},
        {"a/test": ["abcdefghijk"], "b/test": ["lab/x/5-6", "youtube/abcdefghijk/whole"]},
    )
    assert found == [
        Leak(train="a/train", test="a/test", ids=("abcdefghijk",)),
        Leak(train="a/train", test="b/test", ids=("abcdefghijk", "lab/x")),
    ]
    assert str(found[1]) == "a/train and b/test share 2 videos (abcdefghijk, lab/x)"


def test_a_dataset_leaks_what_its_lists_overlap(shared_dir: Path) -> None:
    leaks = dataset_leaks(read_music(shared_dir / "data", split="iquery"))
    assert leaks == [
        Leak(train="music/train", test="music/test", ids=("5lm9laLSORc", "Pzf9MQKkoNM"))
    ]
    assert dataset_leaks(read_music(shared_dir / "data")) == []


def test_a_dataset_leaks_windows_of_one_video() -> None:
    items = [("s/a/0-10", "val"), ("s/a/10-20", "test"), ("s/b/whole", "train"), ("s/c/whole", "")]
    dataset = Dataset(
        name="d",
        items=tuple(
            SourceItem(item=DatasetItem(item_id=item_id, split=split), path=None)
            for item_id, split in items
        ),
        classes=(),
    )
    assert dataset_leaks(dataset) == [Leak(train="d/val", test="d/test", ids=("s/a",))]
