"""Any folder of videos becomes a dataset; a list that cannot be used says where and why."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.datasets.base import Dataset, DatasetError
from pipeline.datasets.classes import LLP
from pipeline.datasets.folder import read_folder, video_id
from storage.records import Event, ItemId

SHARED = Path(__file__).parents[2].parent / "shared"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("a.mp4", "b.MOV", "sub/c d.webm", ".hidden.mp4", ".trash/x.mp4", "notes.txt"):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"not really a video")
    return tmp_path


def labels(folder: Path, text: str, name: str = "labels.csv") -> None:
    (folder / name).write_bytes(text.encode())


def read(folder: Path) -> Dataset:
    return read_folder(folder, source="here")


def ids(dataset: Dataset) -> list[str]:
    return [s.item.item_id for s in dataset.items]


def refused(folder: Path) -> str:
    with pytest.raises(DatasetError) as caught:
        read(folder)
    return str(caught.value)


def test_every_visible_video_below_the_folder_is_an_item(folder):
    dataset = read(folder)
    assert ids(dataset) == ["here/a.mp4/whole", "here/b.MOV/whole", "here/sub%2Fc%20d.webm/whole"]
    assert dataset.items[2].path == folder / "sub" / "c d.webm"
    assert all(s.item.labels == () and s.item.events is None for s in dataset.items)
    assert "3 of 3 clips have no labels" in dataset.notes


def test_labels_splits_and_windows_are_read(folder):
    labels(
        folder,
        "file,labels,split,start_s,end_s\n"
        "a.mp4, violin ; flute;violin,train,,\n"
        "b.MOV,tuba,test,1.5,3\n"
        "b.MOV,flute,test,0,1.5\n",
    )
    dataset = read(folder)
    assert ids(dataset) == [
        "here/a.mp4/whole",
        "here/b.MOV/0-1500",
        "here/b.MOV/1500-3000",
        "here/sub%2Fc%20d.webm/whole",
    ]
    assert [s.item.labels for s in dataset.items] == [
        ("violin", "flute"),
        ("flute",),
        ("tuba",),
        (),
    ]
    assert [s.item.split for s in dataset.items] == ["train", "test", "test", ""]
    assert dataset.classes == ("flute", "tuba", "violin")


def test_a_listed_file_is_taken_whatever_its_extension(folder):
    labels(folder, "file,labels\nnotes.txt,flute\n")
    assert "here/notes.txt/whole" in ids(read(folder))


def test_spreadsheet_habits_are_tolerated(folder):
    labels(folder, '\ufefffile,labels\r\n"sub/c d.webm","flute"\r\n\r\n,\r\n')
    assert read(folder).items[2].item.labels == ("flute",)


def test_events_belong_to_the_files_that_are_listed(folder):
    labels(folder, "file,labels\na.mp4,Dog\n")
    labels(
        folder,
        "file,modality,label,onset_s,offset_s\na.mp4,audio,Dog,1,4\na.mp4,visual,Dog,0,2.5\n",
        "events.csv",
    )
    dataset = read(folder)
    assert dataset.items[0].item.events == (
        Event(modality="audio", label="Dog", onset_s=1.0, offset_s=4.0),
        Event(modality="visual", label="Dog", onset_s=0.0, offset_s=2.5),
    )
    assert dataset.items[1].item.events is None
    assert dataset.classes == LLP


def test_events_are_cut_to_windows(folder):
    labels(folder, "file,labels,start_s,end_s\na.mp4,Dog,0,3\na.mp4,Dog,3,6\na.mp4,Dog,6,9\n")
    labels(folder, "file,modality,label,onset_s,offset_s\na.mp4,audio,Dog,2,5\n", "events.csv")
    first, second, third = (s.item.events for s in read(folder).items[:3])
    assert first == (Event(modality="audio", label="Dog", onset_s=2.0, offset_s=3.0),)
    assert second == (Event(modality="audio", label="Dog", onset_s=0.0, offset_s=2.0),)
    assert third == ()


def test_pose_results_beside_a_clip_are_its_sidecar(folder):
    (folder / "a.mp4.alphapose.json").write_text("[]")
    (folder / "b.alphapose.json").write_text("[]")
    dataset = read(folder)
    assert dataset.items[0].sidecars == {"alphapose": folder / "a.mp4.alphapose.json"}
    assert dataset.items[1].sidecars == {"alphapose": folder / "b.alphapose.json"}
    assert dataset.preset == {}
    assert any("2 of 3" in note for note in dataset.notes)
    (folder / "sub" / "c d.alphapose.json").write_text("[]")
    assert read(folder).preset == {"pose": {"backend": "alphapose-json"}}


def test_a_folder_that_is_not_there_or_holds_no_video_is_refused(tmp_path):
    assert "no such folder" in refused(tmp_path / "absent")
    assert "no video" in refused(tmp_path)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("labels\nflute\n", ["no column file", "labels.csv"]),
        ("", ["no column file, labels", "empty file"]),
        ("file;labels\na.mp4;flute\n", ["separated by commas"]),
        ("file,labels,colour\na.mp4,flute,red\n", ["unknown column colour"]),
        ("file,labels,labels\na.mp4,flute,flute\n", ["twice"]),
        ("file,labels\nz.mp4,flute\na.mp4,x\ny.mp4,x\n", ["z.mp4 (line 2", "y.mp4 (line 4", "2 "]),
        ("file,labels\na.mp4,flute\na.mp4,drum\n", ["line 3", "a.mp4", "line 2"]),
        ("file,labels,split\na.mp4,flute,dev\n", ["line 2", "'dev'", "train, val, test"]),
        ("file,labels,start_s,end_s\na.mp4,flute,3,2\n", ["line 2", "start_s 3", "end_s 2"]),
        ("file,labels,start_s,end_s\na.mp4,flute,2,2.0001\n", ["not before"]),
        ("file,labels,start_s,end_s\na.mp4,flute,-1,2\n", ["start_s is '-1'"]),
        ("file,labels,start_s,end_s\na.mp4,flute,nan,2\n", ["start_s is 'nan'"]),
        ("file,labels,start_s,end_s\na.mp4,flute,0:10,20\n", ["start_s is '0:10'"]),
        ("file,labels,start_s,end_s\na.mp4,flute,1,\n", ["only one of start_s and end_s"]),
        ("file,labels\na.mp4,flute,drum\n", ["line 2", "3 fields", "expected 2"]),
        ('file,labels\n"a.mp4,flute\n', ["not a CSV file"]),
        ("file,labels\n/etc/passwd,flute\n", ["'/etc/passwd'", "below"]),
        ("file,labels\n../a.mp4,flute\n", ["'../a.mp4'", "below"]),
        ("file,labels\nsub,flute\n", ["sub (line 2"]),
        (
            "file,labels,split,start_s,end_s\na.mp4,x,train,0,1\na.mp4,x,,1,2\na.mp4,x,test,2,3\n",
            ["line 4", "'test'", "'train' at line 2"],
        ),
    ],
)
def test_a_wrong_label_file_is_refused_by_name_and_line(folder, text, expected):
    labels(folder, text)
    message = refused(folder)
    assert all(part in message for part in [*expected, str(folder)]), message


def test_a_list_of_many_absent_files_names_five(folder):
    labels(folder, "file,labels\n" + "".join(f"no{n}.mp4,x\n" for n in range(7)))
    message = refused(folder)
    assert "7 listed file(s)" in message
    assert "no4.mp4" in message
    assert "no5.mp4" not in message
    assert "2 more" in message


@pytest.mark.parametrize("encoding", ["utf-16", "latin-1"])
def test_another_encoding_is_refused_with_its_line(folder, encoding):
    (folder / "labels.csv").write_bytes("file,labels\na.mp4,fl\u00fbte\n".encode(encoding))
    assert "UTF-8" in refused(folder)


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        ("a.mp4,sound,Dog,0,1", "'sound'"),
        ("a.mp4,audio,,0,1", "no label"),
        ("a.mp4,audio,Dog,2,2", "onset_s 2 is not before offset_s 2"),
        ("a.mp4,audio,Dog,2,inf", "offset_s is 'inf'"),
        ("q.mp4,audio,Dog,0,1", "q.mp4 (line 2 of events.csv)"),
    ],
)
def test_a_wrong_event_is_refused(folder, row, expected):
    labels(folder, f"file,modality,label,onset_s,offset_s\n{row}\n", "events.csv")
    assert expected in refused(folder)


@given(st.text(st.characters(exclude_categories=("Cs",)), min_size=1, max_size=300))
def test_any_path_gives_a_valid_id_that_fits_a_file_name(path):
    encoded = video_id(path)
    assert len(encoded) <= 180
    assert ItemId.parse(str(ItemId("s", encoded))).video_id == encoded


@given(
    st.text("\u6f22\u5b57a/", min_size=60, max_size=200),
    st.text("\u6f22ab", min_size=1, max_size=4),
)
def test_long_paths_keep_ids_apart(path, more):
    assert video_id(path) != video_id(path + more)


def test_real_clips_are_read():
    if not (SHARED / "media" / "clips").is_dir():
        pytest.skip("shared/media/clips is not here")
    dataset = read(SHARED / "media" / "clips")
    assert "congas" in dataset.classes
    assert len(dataset.items) == len(set(ids(dataset)))
