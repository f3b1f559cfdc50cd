"""A lab's own CSV, and AudioSet's segment lists: what is read, and what a bad row says."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.datasets.audioset import read_audioset, read_names
from pipeline.datasets.base import DatasetError
from pipeline.datasets.csv_list import read_csv

SEGMENTS = """\
# Segments csv created Sun Mar  5 10:54:31 2017
# num_ytids=4, num_segs=4, num_unique_labels=3, num_positive_labels=6
# YTID, start_seconds, end_seconds, positive_labels
--PJHxphWEs, 30.000, 40.000, "/m/09x0r,/t/dd00088"
-0RWZT-miFs, 420.500, 430.500, "/m/04rlf"
_Tr0-LCXapU, 0.000, 7.250, "/m/09x0r"
abcdefghijk, 10.000, 20.000, "/m/04rlf,/m/09x0r"
"""
NAMES = """\
index,mid,display_name
0,/m/09x0r,"Speech"
1,/m/04rlf,"Music"
2,/t/dd00088,"Gush, spurt"
"""


@pytest.fixture
def segments(tmp_path: Path) -> Path:
    path = tmp_path / "balanced_train_segments.csv"
    path.write_text(SEGMENTS)
    return path


@pytest.fixture
def names(tmp_path: Path) -> Path:
    path = tmp_path / "class_labels_indices.csv"
    path.write_text(NAMES)
    return path


def write(path: Path, *rows: str) -> Path:
    path.write_text("".join(f"{row}\n" for row in rows))
    return path


def test_segments_are_windows_with_named_labels(segments: Path, names: Path) -> None:
    dataset = read_audioset([segments], names=names)
    assert [(s.item.item_id, s.item.labels, s.item.split) for s in dataset.items] == [
        ("youtube/--PJHxphWEs/30000-40000", ("Speech", "Gush, spurt"), ""),
        ("youtube/-0RWZT-miFs/420500-430500", ("Music",), ""),
        ("youtube/_Tr0-LCXapU/0-7250", ("Speech",), ""),
        ("youtube/abcdefghijk/10000-20000", ("Music", "Speech"), ""),
    ]
    assert set(dataset.classes) == {"Speech", "Music", "Gush, spurt"}
    assert set(dataset.list_files) == {segments.name, names.name}
    assert dataset.irregularities == {}


def test_without_names_labels_are_machine_ids(segments: Path) -> None:
    assert read_audioset([segments]).items[1].item.labels == ("/m/04rlf",)


def test_an_ontology_gives_the_same_names(segments: Path, names: Path, tmp_path: Path) -> None:
    ontology = tmp_path / "ontology.json"
    pairs = read_names(names).items()
    ontology.write_text(json.dumps([{"id": mid, "name": name} for mid, name in pairs]))
    assert read_audioset([segments], names=ontology).items == (
        read_audioset([segments], names=names).items
    )
    ontology.write_text('{"id": "/m/09x0r"}')
    with pytest.raises(DatasetError, match="not AudioSet's ontology"):
        read_names(ontology)


def test_classes_filter_and_videos_are_excluded(segments: Path, names: Path) -> None:
    dataset = read_audioset(
        [segments], names=names, classes=["Speech", "/t/dd00088"], exclude={"_Tr0-LCXapU"}
    )
    assert [(s.item.item_id.split("/")[1], s.item.labels) for s in dataset.items] == [
        ("--PJHxphWEs", ("Speech", "Gush, spurt")),
        ("abcdefghijk", ("Speech",)),
    ]
    assert any("1 segments of excluded videos" in note for note in dataset.notes)
    assert any("1 segments have none of the wanted" in note for note in dataset.notes)
    with pytest.raises(DatasetError, match="unknown class 'speech'"):
        read_audioset([segments], names=names, classes=["speech"])


def test_evaluation_segments_are_test_items(segments: Path, tmp_path: Path) -> None:
    held = write(tmp_path / "eval_segments.csv", '0123456789A, 0.000, 10.000, "/m/04rlf"')
    dataset = read_audioset([segments, held])
    assert [s.item.split for s in dataset.items] == ["", "", "", "", "test"]


def test_a_list_shorter_than_it_promises(segments: Path) -> None:
    segments.write_text("\n".join(SEGMENTS.splitlines()[:-1]))
    dataset = read_audioset([segments])
    assert dataset.irregularities == {"missing_segment": 1}
    assert any("was it cut?" in note for note in dataset.notes)


@pytest.mark.parametrize(
    "row, message",
    [
        ("abcdefghijk, 10.000, 20.000", "3 fields; expected 4"),
        ('abcdefghij, 10.000, 20.000, "/m/04rlf"', "'abcdefghij' is not a YouTube id"),
        ('abcdefghijk, ten, 20.000, "/m/04rlf"', "start is 'ten'; expected seconds"),
        ('abcdefghijk, 20.000, 10.000, "/m/04rlf"', "start 20.000 is not before end 10.000"),
        ('abcdefghijk, 10.000, 20.000, ""', "no label"),
        ('abcdefghijk, 10.000, 20.000, "/m/none"', "label '/m/none' has no name"),
        ('--PJHxphWEs, 30.000, 40.000, "/m/09x0r"', "already at line 4"),
    ],
)
def test_bad_segments(segments: Path, names: Path, row: str, message: str) -> None:
    segments.write_text(SEGMENTS + row + "\n")
    with pytest.raises(DatasetError, match=f"row at line 8: .*{message}"):
        read_audioset([segments], names=names)


def test_no_segment_list() -> None:
    with pytest.raises(DatasetError, match="no segment list given"):
        read_audioset([])


def test_a_csv_names_videos_by_id_url_and_path(tmp_path: Path) -> None:
    (tmp_path / "a b").mkdir()
    for name in ("a b/clip.mp4", "mine.mkv"):
        (tmp_path / name).write_bytes(b"x")
    path = write(
        tmp_path / "list.csv",
        "id,url,path,start_s,end_s,labels,split",
        "-_jlqeSs6ZU,,,1.5,3,tuba;flute;tuba,train",
        ",https://youtu.be/abcdefghijk,,,,violin,test",
        ",https://example.org/v.mp4?x=1,,,,,",
        ",,a b/clip.mp4,,,,",
        "0123456789A,,mine.mkv,,,,",
        "take 7,,mine.mkv,,,,val",
    )
    dataset = read_csv(path, source="lab")
    assert [(s.item.item_id, s.url, s.path) for s in dataset.items] == [
        ("youtube/-_jlqeSs6ZU/1500-3000", "https://www.youtube.com/watch?v=-_jlqeSs6ZU", None),
        ("youtube/abcdefghijk/whole", "https://youtu.be/abcdefghijk", None),
        (
            "lab/https%3A%2F%2Fexample.org%2Fv.mp4%3Fx=1/whole",
            "https://example.org/v.mp4?x=1",
            None,
        ),
        ("lab/a%20b%2Fclip.mp4/whole", "", tmp_path / "a b/clip.mp4"),
        (
            "youtube/0123456789A/whole",
            "https://www.youtube.com/watch?v=0123456789A",
            tmp_path / "mine.mkv",
        ),
        ("lab/take%207/whole", "", tmp_path / "mine.mkv"),
    ]
    assert dataset.items[0].item.labels == ("tuba", "flute")
    assert [s.item.split for s in dataset.items] == ["train", "test", "", "", "", "val"]
    assert dataset.classes == ("flute", "tuba", "violin")
    assert "4 of 6 items have no labels" in dataset.notes
    assert set(dataset.list_files) == {"list.csv"}


@pytest.mark.parametrize(
    "row, message",
    [
        (",,,,,tuba,", "no video; expected id, url or path"),
        ("shortid,,,,,,", "'shortid' is not a YouTube id"),
        (",file:///etc/passwd,,,,,", "expected one that begins with http"),
        (",https:///nohost,,,,,", "expected one that begins with http"),
        (",http://[v.mp4,,,,,", "expected one that begins with http"),
        (",,../up.mp4,,,,", "expected one below"),
        (",,/abs.mp4,,,,", "expected one below"),
        (",,gone.mp4,,,,", "no file gone.mp4"),
        ("abcdefghijk,,,3,1,,", "start_s 3 is not before end_s 1"),
        ("abcdefghijk,,,3,,,", "only one of start_s and end_s"),
        ("abcdefghijk,,,-1,2,,", "start_s is '-1'"),
        ("abcdefghijk,,,,,,tset", "split is 'tset'"),
        ("abcdefghijk,https://youtu.be/-_jlqeSs6ZU,,,,,", "url is that of -_jlqeSs6ZU"),
        ("-_jlqeSs6ZU,,,,,flute,", "youtube/-_jlqeSs6ZU is already at line 2, over the same"),
        ("-_jlqeSs6ZU,,,0,5,flute,test", "split 'test' for youtube/-_jlqeSs6ZU, but 'train'"),
        ("abcdefghijk,,,,", "5 fields; expected 7"),
    ],
)
def test_bad_rows_of_a_csv(tmp_path: Path, row: str, message: str) -> None:
    path = write(
        tmp_path / "list.csv",
        "id,url,path,start_s,end_s,labels,split",
        "-_jlqeSs6ZU,,,,,tuba,train",
        "",
        row,
    )
    with pytest.raises(DatasetError, match=f"list.csv, row at line 4: .*{message}"):
        read_csv(path, source="lab")


@pytest.mark.parametrize(
    "rows, message",
    [
        (["id,start"], "unknown column start"),
        (["id;labels"], "separated by commas"),
        (["id,labels"], "no rows"),
        ([], "no rows"),
        (["labels,split", "tuba,train"], "no video"),
    ],
)
def test_bad_csv_files(tmp_path: Path, rows: list[str], message: str) -> None:
    with pytest.raises(DatasetError, match=message):
        read_csv(write(tmp_path / "list.csv", *rows), source="lab")


def test_no_csv(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="no such file"):
        read_csv(tmp_path / "list.csv", source="lab")


@given(st.binary(max_size=200))
def test_a_csv_of_any_bytes_is_read_or_refused(
    tmp_path_factory: pytest.TempPathFactory, content: bytes
) -> None:
    path = tmp_path_factory.getbasetemp() / "any.csv"
    path.write_bytes(b"id,url,path\n" + content)
    try:
        items = read_csv(path, source="lab").items
    except DatasetError as error:
        said = str(error)
    else:
        said = f"any.csv has {len(items)}" if items else ""
    assert "any.csv" in said
