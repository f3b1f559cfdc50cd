import json
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from storage import extend_plan, open_store, plan, read_plan
from storage.errors import InvalidRecord, StoreDamaged


def items(*names, size=1.0):
    return [(f"demo/{name}/whole", size) for name in names]


def held(layout, source="demo"):
    return [item_id for shard in read_plan(layout, source) for item_id in shard.item_ids]


def test_new_items_go_to_new_shards_and_old_ones_never_change(layout):
    first = extend_plan(layout, "demo", items("b", "a"))
    before = layout.plan_shard("demo", 0).read_bytes()
    second = extend_plan(layout, "demo", items("a", "c", "b", "d"))
    assert [s.item_ids for s in first] == [("demo/b/whole", "demo/a/whole")]
    assert [(s.number, s.item_ids) for s in second] == [(1, ("demo/c/whole", "demo/d/whole"))]
    assert layout.plan_shard("demo", 0).read_bytes() == before
    assert read_plan(layout, "demo") == first + second
    assert extend_plan(layout, "demo", items("a", "d")) == []
    assert read_plan(layout, "elsewhere") == []


def test_a_shard_is_closed_by_items_and_by_bytes(layout):
    extend_plan(layout, "demo", items(*"abcde"), max_items=2)
    assert [len(s.item_ids) for s in read_plan(layout, "demo")] == [2, 2, 1]
    sized = [("big/a/whole", 900.0), ("big/b/whole", 60.0), ("big/c/whole", 50.0)]
    shards = extend_plan(layout, "big", sized, max_bytes=100)
    assert [len(s.item_ids) for s in shards] == [1, 1, 1]


def test_an_item_named_twice_is_planned_once(layout):
    extend_plan(layout, "demo", items("a", "b", "a"))
    assert held(layout) == ["demo/a/whole", "demo/b/whole"]


def test_items_of_another_source_are_refused(layout):
    with pytest.raises(InvalidRecord, match="other/a/whole"):
        extend_plan(layout, "demo", [*items("b"), ("other/a/whole", 1)])
    assert held(layout) == []


def test_a_missing_number_stops_planning(layout, monkeypatch):
    monkeypatch.setattr(plan, "_VISIBLE_AFTER_S", 0.1)
    extend_plan(layout, "demo", items(*"abc"), max_items=1)
    layout.plan_shard("demo", 1).unlink()
    with pytest.raises(StoreDamaged, match="shard-00001"):
        extend_plan(layout, "demo", items("z"))


def test_a_damaged_shard_is_named(layout):
    path = layout.plan_shard("demo", 0)
    path.parent.mkdir(parents=True)
    path.write_text("{")
    with pytest.raises(StoreDamaged, match="shard-00000"):
        read_plan(layout, "demo")


def test_a_listing_that_misses_a_shard_does_not_plan_its_items_again(layout, monkeypatch):
    extend_plan(layout, "demo", items("a"))
    monkeypatch.setattr(plan, "_highest", lambda layout, source: -1)
    extend_plan(layout, "demo", items("a", "b"))
    assert held(layout) == ["demo/a/whole", "demo/b/whole"]


@settings(deadline=None, max_examples=40)
@given(
    calls=st.lists(
        st.tuples(st.integers(1, 4), st.lists(st.sampled_from("abcdefghij"), max_size=8)),
        min_size=1,
        max_size=5,
    ),
    rival_at=st.sets(st.integers(0, 8)),
)
def test_every_item_is_in_exactly_one_shard_whoever_plans_in_between(
    tmp_path_factory, calls, rival_at
):
    layout = open_store(tmp_path_factory.mktemp("plan"), create=True)
    publish = plan._publish
    steps = iter(range(1000))

    def publish_after_a_rival(layout, shard):
        if next(steps) in rival_at:  # another planner takes the number with some of our items
            rival = plan.PlanShard(
                source="demo",
                number=shard.number,
                item_ids=(*shard.item_ids[:1], f"demo/rival{shard.number}/whole"),
            )
            publish(layout, rival)
        return publish(layout, shard)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(plan, "_publish", publish_after_a_rival)
        for max_items, names in calls:
            extend_plan(layout, "demo", items(*names), max_items=max_items)
    counts = Counter(held(layout))
    assert set(counts.values()) <= {1}
    assert set(counts) >= {f"demo/{name}/whole" for _, names in calls for name in names}


PLANNER = """
import random, sys
import storage
layout = storage.open_store(sys.argv[1])
order = [f"demo/v{i}/whole" for i in range(60)]
random.Random(int(sys.argv[2])).shuffle(order)
sys.stdin.readline()
for start in range(0, 60, 10):
    storage.extend_plan(layout, "demo", [(i, 1.0) for i in order[:start + 10]], max_items=3)
"""


def test_planners_racing_in_processes_plan_every_item_once(layout):
    racers = [
        subprocess.Popen(
            [sys.executable, "-c", PLANNER, str(layout.root), str(seed)],
            stdin=subprocess.PIPE,
            cwd=Path(__file__).parents[2],
        )
        for seed in range(3)
    ]
    for racer in racers:
        racer.stdin.write(b"\n")
        racer.stdin.close()
    assert [racer.wait(60) for racer in racers] == [0, 0, 0]
    assert sorted(held(layout)) == sorted(f"demo/v{i}/whole" for i in range(60))
    files = [json.loads(p.read_text()) for p in sorted(layout.plan_dir("demo").glob("*.json"))]
    assert [f["number"] for f in files] == list(range(len(files)))
