"""LLP: published counts, dense events of both editions, oddities by kind, rows that are wrong."""

from __future__ import annotations

import shutil
from collections import Counter
from pathlib import Path

import pytest

from pipeline.datasets.base import Dataset, DatasetError
from pipeline.datasets.classes import LLP
from pipeline.datasets.llp import read_llp
from storage.records import Event

BOTH_EDITIONS = {
    "audio_onset_not_before_offset": 6,
    "audio_overlapping_interval": 15,
    "audio_repeated_row": 8,
    "audio_row_of_unlisted_name": 14,
    "audio_touching_interval": 11,
    "decimal_start": 5,
    "repeated_label": 1,
    "test_label_in_dense_only": 38,
    "test_video_without_audio_rows": 5,
    "test_video_without_visual_rows": 121,
    "unlisted_name": 8,
    "val_label_in_dense_only": 27,
    "val_label_in_weak_only": 13,
    "val_video_with_other_weak_than_dense_labels": 31,
    "val_video_without_audio_rows": 4,
    "val_video_without_visual_rows": 70,
    "visual_row_of_unlisted_name": 11,
    "visual_touching_interval": 3,
}
OWN = {
    "2024": {
        "test_label_in_weak_only": 25,
        "test_video_with_other_weak_than_dense_labels": 53,
    },
    "pre2024": {
        "audio_label_in_place_of_name": 2,
        "audio_name_with_backtick": 1,
        "test_label_in_weak_only": 26,
        "test_video_with_other_weak_than_dense_labels": 54,
    },
}


@pytest.fixture(scope="module")
def editions(shared_dir: Path) -> dict[str, Dataset]:
    return {e: read_llp(shared_dir / "data", audio_edition=e) for e in OWN}


@pytest.fixture
def copied(shared_dir: Path, tmp_path: Path) -> Path:
    """A copy of the lists that a test may edit."""
    folder = tmp_path / "lists"
    folder.mkdir()
    for path in (shared_dir / "data" / "llp").glob("*.csv"):
        shutil.copyfile(path, folder / path.name)
    return folder


def edit(path: Path, line: int, new: str) -> None:
    rows = path.read_text().splitlines()
    rows[line - 1] = new
    path.write_text("\n".join(rows) + "\n")


@pytest.mark.parametrize("edition", OWN)
def test_the_published_counts(editions: dict[str, Dataset], edition: str) -> None:
    dataset = editions[edition]
    counts = Counter(s.item.split for s in dataset.items)
    assert counts == {"train": 10_000, "val": 649, "test": 1200}
    assert dataset.classes == LLP
    assert {label for s in dataset.items for label in s.item.labels} == set(LLP)
    assert sum(len(s.item.labels) > 1 for s in dataset.items) == 7202 - 1
    assert len(dataset.list_files) == 5
    assert dataset.irregularities == dict(sorted((BOTH_EDITIONS | OWN[edition]).items()))
    assert edition in ("2024",) or any("before its correction" in n for n in dataset.notes)
    assert any("audio_repeated_row 8" in note for note in dataset.notes)


def test_the_test_truth_of_the_corrected_edition(editions: dict[str, Dataset]) -> None:
    test = [s.item for s in editions["2024"].items if s.item.split == "test"]
    events = {
        modality: [
            (item.item_id, event)
            for item in test
            for event in item.events or ()
            if event.modality == modality
        ]
        for modality in ("audio", "visual")
    }
    assert {m: len(of) for m, of in events.items()} == {"audio": 2638, "visual": 1625}
    seconds = {m: sum(e.offset_s - e.onset_s for _, e in of) for m, of in events.items()}
    assert seconds == {"audio": 14_576, "visual": 11_789}
    instances = {m: len({(i, e.label) for i, e in of}) for m, of in events.items()}
    assert instances == {"audio": 2083, "visual": 1444}
    without = {m: len(test) - len({i for i, _ in of}) for m, of in events.items()}
    assert without == {"audio": 6, "visual": 121}
    assert all(0 <= e.onset_s < e.offset_s <= 10 for of in events.values() for _, e in of)
    assert not any(item.events == () for item in test)


def test_training_has_weak_labels_only(editions: dict[str, Dataset]) -> None:
    assert all((s.item.events is None) == (s.item.split == "train") for s in editions["2024"].items)


def test_editions_differ_in_two_videos(editions: dict[str, Dataset]) -> None:
    differ = [
        old.clip_name
        for old, new in zip(editions["pre2024"].items, editions["2024"].items, strict=True)
        if old.item != new.item
    ]
    assert sorted(differ) == ["JfZEqeLZqWk_30_40", "KvIjsmANkxI_10_20"]


def test_items_are_windows_of_ten_seconds_with_their_official_names(
    editions: dict[str, Dataset],
) -> None:
    by_name = {s.clip_name: s for s in editions["2024"].items}
    assert len(by_name) == 11_849
    item = by_name["AP0061o0Nvk_101.8_111.8"]
    assert item.item.item_id == "youtube/AP0061o0Nvk/101800-111800"
    assert item.url == "https://www.youtube.com/watch?v=AP0061o0Nvk"
    assert item.path is None
    assert by_name["LcFWKgFphXI_20_30"].item.labels == ("Clapping",)


def test_intervals_of_a_class_are_united(editions: dict[str, Dataset]) -> None:
    by_name = {s.clip_name: s.item for s in editions["2024"].items}
    events = by_name["KSRjje7GH44_60_70"].events or ()
    assert Event(modality="audio", label="Speech", onset_s=0.0, offset_s=8.0) in events
    repeated = by_name["39KgkK23Zmk_0_10"].events or ()
    speech = [
        (e.onset_s, e.offset_s) for e in repeated if (e.modality, e.label) == ("audio", "Speech")
    ]
    assert speech == [(0.0, 3.0), (4.0, 9.0)]


def test_the_old_audio_list_is_known_by_its_content(copied: Path) -> None:
    """Other projects ship it under the new one's name."""
    (copied / "AVVP_eval_audio.csv").unlink()
    (copied / "AVVP_eval_audio_pre2024.csv").rename(copied / "AVVP_eval_audio.csv")
    assert read_llp(copied).irregularities["audio_name_with_backtick"] == 1
    with pytest.raises(DatasetError, match=r"no list llp/AVVP_eval_audio.csv; copy"):
        read_llp(copied, audio_edition="2024")


def test_unknown_edition(shared_dir: Path) -> None:
    with pytest.raises(DatasetError, match="expected one of pre2024, 2024"):
        read_llp(shared_dir / "data", audio_edition="2023")


@pytest.mark.parametrize(
    "file, line, row, message",
    [
        ("AVVP_train.csv", 3, "7nSYwyaP4QE_50_60", "1 fields; expected 2"),
        ("AVVP_train.csv", 3, "7nSYwyaP4QE_50_60\t", "label ''"),
        ("AVVP_train.csv", 3, "7nSYwyaP4QE_50_60\tSinging,Piano", "label 'Piano' of 7nSY"),
        ("AVVP_train.csv", 3, "7nSYwyaP4Q_50_60\tSinging", "expected a YouTube id of 11"),
        ("AVVP_train.csv", 3, "7nSYwyaP4QE_50\tSinging", "expected a YouTube id of 11"),
        ("AVVP_train.csv", 3, "7nSYwyaP4QE_50_65\tSinging", "is 15 s long; expected 10 s"),
        ("AVVP_train.csv", 3, "BjCEufrlXm4_40_50\tDog", "already at line 2 of AVVP_train.csv"),
        ("AVVP_test_pd.csv", 5, "BjCEufrlXm4_20_30\tDog", "already at line 2 of AVVP_train.csv"),
        ("AVVP_eval_visual.csv", 4, "McVcuryKUp4_160_170\t0\t2", "3 fields; expected 4"),
        ("AVVP_eval_visual.csv", 4, "McVcuryKUp4_160_170\t0\t12\tDog", "offset is '12'"),
        ("AVVP_eval_visual.csv", 4, "McVcuryKUp4_160_170\t-1\t2\tDog", "onset is '-1'"),
        ("AVVP_eval_visual.csv", 4, "McVcuryKUp4_160_170\t0\t2\tdog", "label 'dog'; expected"),
    ],
)
def test_bad_rows(copied: Path, file: str, line: int, row: str, message: str) -> None:
    edit(copied / file, line, row)
    with pytest.raises(DatasetError, match=f"{file}, row at line {line}: .*{message}"):
        read_llp(copied)


def test_a_list_cut_within_a_row(copied: Path) -> None:
    path = copied / "AVVP_val_pd.csv"
    path.write_text(path.read_text()[:10_004])
    with pytest.raises(DatasetError, match=r"AVVP_val_pd.csv, row at line \d+: "):
        read_llp(copied)


def test_a_list_cut_after_a_row_differs_and_counts_the_rows_it_leaves(copied: Path) -> None:
    path = copied / "AVVP_val_pd.csv"
    path.write_text("".join(path.read_text().splitlines(keepends=True)[:601]))
    dataset = read_llp(copied)
    assert len(dataset.items) == 11_849 - 49
    assert dataset.irregularities["unlisted_name"] > 8 + 40
    assert any("AVVP_val_pd.csv differs from the published" in note for note in dataset.notes)


def test_another_header(copied: Path) -> None:
    edit(copied / "AVVP_train.csv", 1, "filename\tlabels")
    with pytest.raises(DatasetError, match="no column event_labels"):
        read_llp(copied)
