import multiprocessing
import os
import pickle
import sys
import threading
from pathlib import Path

import numpy as np
import pytest

from storage import FeatureStore, StageRecord, TimeBase
from storage.catalog import list_stages, next_supplement
from storage.errors import CorruptShard, InvalidRecord, ItemNotFound, StageNotFound, StoreNotFound
from storage.views import read_source_view, write_source_view


@pytest.fixture
def store(builder, ids):
    builder.make(ids(4))
    builder.make(ids(2, "other"))
    return FeatureStore(builder.layout.root)


def test_read_returns_rows_with_their_times(store, ids, expected):
    item_id = ids(4)[2]
    feature = store.read("frames", item_id)
    wanted = expected(item_id, 5)
    assert np.array_equal(feature.values, wanted["value"])
    assert feature.unit == "1"
    assert feature.times_s.tolist() == [0, 0.125, 0.25, 0.375, 0.5]
    assert feature.arrays["jpeg"].dtype == object
    assert feature.arrays["jpeg"].tolist() == wanted["jpeg"]
    part = store.read("frames", item_id, start_s=0.2, end_s=0.5)
    assert part.times_s.tolist() == [0.25, 0.375]
    assert np.array_equal(part.arrays["value"], wanted["value"][2:4])
    assert part.arrays["jpeg"].tolist() == wanted["jpeg"][2:4]


def test_rows_are_slices_of_one_array(store, builder, ids, expected):
    item_id = ids(4)[1]
    wanted = expected(item_id, 5)
    assert np.array_equal(store.rows(builder.name, item_id), wanted["value"])
    assert np.array_equal(store.rows("frames", item_id, "value", 1, 3), wanted["value"][1:3])
    assert store.rows("frames", item_id, "jpeg", 3) == wanted["jpeg"][3:]
    assert len(store.rows("frames", item_id, stop=99)) == 5  # never the next item's rows
    assert len(store.rows("frames", item_id, start=7, stop=9)) == 0
    with pytest.raises(IndexError, match="video1"):
        store.rows("frames", item_id, start=-1)
    with pytest.raises(InvalidRecord, match="jpeg"):
        store.rows("frames", item_id, "nothing")


def test_facts_about_items(store, builder, ids):
    assert store.items("frames") == [*ids(4), *ids(2, "other")]
    assert store.length("frames", ids(4)[0]) == 5
    assert store.time_base("frames", ids(4)[0]) == TimeBase(0.0, 0.125)
    assert store.schema("frames") == builder.schema
    assert set(store.media_sha256("frames").values()) == {"m1"}
    assert all(outcome.ok for outcome in store.outcomes("frames").values())


def test_an_item_without_rows_says_why(store, builder, ids):
    builder.stage("demo/bad/whole", failure="no_audio", number=1)
    builder.publish(["demo/bad/whole"], number=1)
    with pytest.raises(ItemNotFound, match=r"demo/bad/whole.*no_audio \(why\)"):
        store.read("frames", "demo/bad/whole")
    with pytest.raises(ItemNotFound, match="not computed yet"):
        store.rows("frames", "demo/never/whole")
    with pytest.raises(KeyError):
        store.length("frames", "nowhere/x/whole")
    assert "demo/bad/whole" not in store.items("frames")
    assert store.outcomes("frames")["demo/bad/whole"].reason == "no_audio"


def test_shards_that_appear_later_are_found(store, builder, ids):
    store.read("frames", ids(4)[0])
    builder.make(["demo/later/whole"], number=1)
    assert store.length("frames", "demo/later/whole") == 5
    assert "demo/later/whole" in store.items("frames")


def test_the_latest_supplement_wins(store, builder, ids, layout):
    ok = ids(4)[0]
    builder.stage("demo/x/whole", failure="network", number=1)
    builder.publish(["demo/x/whole"], number=1)
    assert store.attempts("frames")["demo/x/whole"] == 1
    builder.stage("demo/x/whole", failure="timeout", number=1)
    builder.publish(["demo/x/whole"], number=1, supplement=1)
    assert store.attempts("frames")["demo/x/whole"] == 2
    assert store.outcomes("frames")["demo/x/whole"].reason == "timeout"
    assert next_supplement(layout, builder.name, "demo", 1) == 2
    builder.stage("demo/x/whole", 3, number=1)
    builder.publish(["demo/x/whole"], number=1, supplement=2)
    assert store.length("frames", "demo/x/whole") == 3
    builder.stage(ok, 2, media="m2")
    builder.publish([ok], supplement=1)
    assert store.length("frames", ok) == 5  # known and good: seen after a refresh
    store.refresh()
    assert store.length("frames", ok) == 2
    assert store.media_sha256("frames")[ok] == "m2"
    assert store.items("frames")[0] == ok  # a supplement does not move an item


def test_attempts_begin_again_with_other_media(store, builder):
    for supplement, media in enumerate(["a", "a", "b"]):
        builder.stage("demo/x/whole", failure="network", media=media, number=1)
        builder.publish(["demo/x/whole"], number=1, supplement=supplement)
    assert store.attempts("frames")["demo/x/whole"] == 1


def test_ten_supplements_are_taken_in_the_order_of_their_numbers(store, builder):
    for supplement in range(12):
        builder.stage("demo/x/whole", supplement + 1, number=1)
        builder.publish(["demo/x/whole"], number=1, supplement=supplement)
    assert store.length("frames", "demo/x/whole") == 12


def test_the_order_of_items_does_not_depend_on_when_shards_appeared(builder, ids):
    builder.make(["demo/late/whole"], number=2)
    early = FeatureStore(builder.layout.root)
    assert early.items("frames") == ["demo/late/whole"]
    builder.make(ids(2), number=0)
    assert early.items("frames") == FeatureStore(builder.layout.root).items("frames")
    assert early.items("frames") == [*ids(2), "demo/late/whole"]


def test_a_name_is_resolved_by_the_view_of_the_items_source(builder, ids, layout):
    first = builder.name
    builder.make(ids(1))
    store = FeatureStore(layout.root)
    assert store.resolve("frames") == store.resolve("frames", "demo") == first
    builder.record = StageRecord(stage="frames", stage_version=2)
    builder.make(ids(1), count=3)
    builder.make(ids(1, "other"), count=3)
    assert list_stages(layout, "frames") == sorted([first, builder.name])
    with pytest.raises(StageNotFound, match=f"choose.*{min(first, builder.name)}"):
        store.read("frames", ids(1, "other")[0])
    write_source_view(layout, "demo", {"frames": first})
    write_source_view(layout, "other", {"frames": builder.record.fingerprint})
    assert store.length("frames", ids(1)[0]) == 5
    assert store.length("frames", ids(1, "other")[0]) == 3
    assert store.length(builder.name, ids(1)[0]) == 3
    with pytest.raises(StageNotFound):
        store.items("frames")
    write_source_view(layout, "demo", {"frames": builder.name})
    assert store.length("frames", ids(1)[0]) == 5  # as resolved, until a refresh
    store.refresh()
    assert store.length("frames", ids(1)[0]) == 3
    assert store.resolve("frames") == builder.name


def test_views_keep_the_stages_they_are_not_given(layout):
    assert read_source_view(layout, "demo") == {}
    write_source_view(layout, "demo", {"stft": "0" * 12})
    write_source_view(layout, "demo", {"frames": "1" * 12})
    write_source_view(layout, "demo", {"frames": "1" * 12})
    assert read_source_view(layout, "demo") == {"stft": "0" * 12, "frames": "1" * 12}
    assert len(list(layout.source_views("demo").iterdir())) == 2
    with pytest.raises(InvalidRecord):
        write_source_view(layout, "demo", {"frames": "short"})


def test_unknown_stages_list_what_there_is(store, builder, tmp_path):
    with pytest.raises(StageNotFound, match=builder.name):
        store.items("poses")
    with pytest.raises(StageNotFound, match=builder.name):
        store.resolve("frames-000000000000")
    with pytest.raises(StoreNotFound):
        FeatureStore(tmp_path)


def test_damage_is_named_when_it_is_read(store, builder, ids):
    path = builder.make(["demo/damaged/whole"], number=1)
    assert store.length("frames", "demo/damaged/whole") == 5
    whole = path.read_bytes()
    at = whole.index(np.float32(sum(b"demo/damaged/whole")).tobytes())
    path.chmod(0o644)
    path.write_bytes(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :])
    store.refresh()
    with pytest.raises(CorruptShard, match=r"shard-00001\.h5: data/value"):
        store.read("frames", "demo/damaged/whole")
    assert store.length("frames", ids(4)[0]) == 5


def read_all(store, item_ids):
    return [store.rows("frames", i, "value").sum().item() for i in item_ids]


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_used_store_works_in_child_processes(store, ids, method):
    here = read_all(store, ids(4))
    context = multiprocessing.get_context(method)
    with context.Pool(2) as pool:
        there = pool.starmap(read_all, [(store, ids(4))] * 6)
        pool.close()
        pool.join()
    assert there == [here] * 6


def test_children_of_a_fork_leave_the_parents_files_alone(store, ids):
    wanted = read_all(store, ids(4))
    children = []
    for _ in range(3):
        pid = os.fork()
        if pid == 0:
            same = all(read_all(store, ids(4)) == wanted for _ in range(20))
            store.close()
            os._exit(0 if same else 1)
        children.append(pid)
    assert all(read_all(store, ids(4)) == wanted for _ in range(20))
    assert [os.waitpid(pid, 0)[1] for pid in children] == [0, 0, 0]
    assert read_all(store, ids(4)) == wanted


def test_pickles_are_small_and_hold_no_handles(store, ids):
    store.read("frames", ids(4)[0])
    data = pickle.dumps(store)
    assert len(data) < 1000
    assert read_all(pickle.loads(data), ids(4)) == read_all(store, ids(4))


def test_threads_share_a_store_with_fewer_files_than_shards(builder, ids):
    for number in range(6):
        builder.make([f"demo/n{number}/whole"], number=number)
    store = FeatureStore(builder.layout.root, max_open_files=2)
    wanted = read_all(store, store.items("frames"))
    results = []
    threads = [
        threading.Thread(
            target=lambda: results.extend(
                read_all(store, [f"demo/n{n}/whole" for n in range(6)]) for _ in range(20)
            )
        )
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == [wanted] * 80
    assert descriptors_below(builder.layout.root) <= 2


def descriptors_below(root):
    count = 0
    for link in Path("/proc/self/fd").iterdir():
        try:
            count += str(link.readlink()).startswith(str(root))
        except FileNotFoundError:
            continue
    return count


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_memory_and_descriptors_stay_flat_over_many_reads(builder):
    for number in range(5):
        builder.make([f"demo/n{number}i{i}/whole" for i in range(8)], number=number, count=200)
    store = FeatureStore(builder.layout.root, max_open_files=3)
    items = store.items("frames")
    rng = np.random.default_rng(0)

    def epoch(reads):
        for index in rng.integers(0, len(items), reads):
            start = int(rng.integers(0, 150))
            store.rows("frames", items[index], "value", start, start + 50)
            store.rows("frames", items[index], "jpeg", start, start + 2)
        return resident_kib()

    epoch(300)
    before = epoch(300)
    assert epoch(2500) - before < 4 * 1024
    assert descriptors_below(builder.layout.root) == 3


def resident_kib():
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") // 1024
