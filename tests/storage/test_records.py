import os

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from storage import DatasetItem, Event, ItemId, Layout, TimeBase, path_safe, path_text
from storage.errors import InvalidRecord

names = st.text(min_size=1, max_size=80) | st.binary(min_size=1, max_size=40).map(os.fsdecode)
windows = st.just("whole") | st.tuples(st.integers(0, 10**7), st.integers(1, 10**6)).map(
    lambda w: f"{w[0]}-{w[0] + w[1]}"
)


@given(name=names, window=windows)
def test_any_video_name_makes_an_id_that_reads_back(name, window):
    item = ItemId("source-1", path_safe(name), window)
    assert ItemId.parse(str(item)) == item
    assert path_text(item.video_id) == name
    assert str(item).isascii()
    assert str(item).count("/") == 2


@given(name=names, window=windows)
def test_every_path_of_an_item_stays_in_its_folder_and_is_short_enough(name, window):
    layout = Layout("/store")
    item = ItemId("source-1", path_safe(name), window)
    staged = layout.staged_item("stft-0123456789ab", "source-1", 3, item)
    assert staged.parent == layout.staging("stft-0123456789ab", "source-1", 3)
    assert layout.media_dir(item).parent.name == "source-1"
    for part in (*staged.parts, *layout.media_dir(item).parts):
        assert part not in ("", ".", "..")
        assert len(part.encode()) <= 250
    assert not staged.name.startswith(".")


def test_long_names_that_share_a_beginning_get_different_paths():
    layout = Layout("/store")
    ids = [f"s/{'é' * 100}{end}/whole" for end in "ab"]
    encoded = [ItemId("s", path_safe(i.split("/")[1])) for i in ids]
    paths = {layout.staged_item("stft-0123456789ab", "s", 0, i) for i in encoded}
    assert len(paths) == len({layout.media_dir(i) for i in encoded}) == 2


@pytest.mark.parametrize(
    "text", ["", "a/b", "a/b/c/d", "a//whole", "../b/whole", "a/../whole", "a/b/5-5", "a/ü/whole"]
)
def test_malformed_ids_are_refused(text):
    with pytest.raises(InvalidRecord):
        ItemId.parse(text)


@given(
    t0=st.floats(-5, 5),
    hop=st.sampled_from([1 / 8, 0.1, 256 / 11025, 1 / 30, 1.0, 1 / 16000]),
    length=st.integers(0, 2000),
    data=st.data(),
)
def test_rows_between_are_those_whose_time_lies_between(t0, hop, length, data):
    base = TimeBase(t0, hop)
    start_s, end_s = sorted(data.draw(st.floats(-10, 300)) for _ in range(2))
    start, stop = base.rows_between(start_s, end_s, length)
    times = base.times_s(0, length)
    slack = 2e-6 * hop + 1e-9
    assert 0 <= start <= stop <= length
    assert np.all(times[:start] < start_s + slack)
    assert np.all(times[start:stop] >= start_s - slack)
    assert np.all(times[start:stop] < end_s + slack)
    assert np.all(times[stop:] >= end_s - slack)
    assert base.rows_between(None, None, length) == (0, length)


@given(row=st.integers(0, 100_000), hop=st.sampled_from([0.1, 1 / 3, 256 / 11025, 1 / 29.97]))
def test_a_rows_own_time_finds_that_row(row, hop):
    base = TimeBase(0.0, hop)
    time_s = float(base.times_s(row, row + 1)[0])
    assert base.rows_between(time_s, None, row + 5)[0] == row
    assert base.rows_between(0.0, time_s, row + 5)[1] == row


def test_neighbouring_windows_share_no_row():
    base = TimeBase(0.0, 0.1)
    edges = [base.rows_between(t / 10 * 3, (t + 1) / 10 * 3, 50) for t in range(10)]
    assert [a[1] for a in edges[:-1]] == [b[0] for b in edges[1:]]


def test_an_item_without_a_hop_is_all_or_nothing():
    base = TimeBase(0.0, 0.0)
    assert base.rows_between(None, None, 1) == (0, 1)
    assert base.rows_between(0.0, 1.0, 1) == (0, 1)
    assert base.rows_between(1.0, 2.0, 1) == (0, 0)


def test_dataset_items_read_back():
    event = Event(modality="audio", label="dog", onset_s=0.0, offset_s=3.5)
    item = DatasetItem(item_id="a/b/whole", labels=("x", "y"), split="val", events=(event,))
    assert DatasetItem.from_json(item.as_json()) == item
    assert DatasetItem.from_json(DatasetItem(item_id="a/b/whole").as_json()).events is None
