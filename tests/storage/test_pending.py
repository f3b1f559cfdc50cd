import pytest

from storage import MAX_ATTEMPTS, FeatureStore, PlanShard, StageRecord, pending_items
from storage.pending import upstream_name


@pytest.fixture
def shard(ids):
    return PlanShard(source="demo", number=0, item_ids=tuple(ids(4)))


@pytest.fixture
def pending(builder, shard):
    def call(media=None, name=None):
        store = FeatureStore(builder.layout.root)
        return pending_items(store, name or builder.name, shard, media or {})

    return call


def test_all_of_an_unpublished_shard_is_missing(pending, shard):
    assert pending() == dict.fromkeys(shard.item_ids, "missing")


def test_nothing_of_a_good_shard_is_pending(builder, pending, shard):
    builder.make(shard.item_ids)
    assert pending() == {}
    assert pending(dict.fromkeys(shard.item_ids, "m1")) == {}


def test_permanent_failures_count_as_done(builder, pending, shard):
    for item_id in shard.item_ids:
        builder.stage(item_id, failure="no_audio")
    builder.publish(shard.item_ids)
    assert pending() == {}


def test_changed_media_make_an_item_stale_until_its_supplement(builder, pending, shard):
    builder.make(shard.item_ids)
    media = dict.fromkeys(shard.item_ids, "m1") | {shard.item_ids[2]: "m2"}
    assert pending(media) == {shard.item_ids[2]: "stale"}
    builder.stage(shard.item_ids[2], failure="corrupt", media="m2")
    builder.publish([shard.item_ids[2]], supplement=1)
    assert pending(media) == {}
    assert pending() == {}


def test_passing_failures_are_tried_three_times(builder, pending, shard):
    bad = shard.item_ids[1]
    for item_id in shard.item_ids:
        builder.stage(item_id, failure="network" if item_id == bad else "")
    builder.publish(shard.item_ids)
    for attempt in range(1, MAX_ATTEMPTS):
        assert pending() == {bad: "retry"}
        builder.stage(bad, failure="out_of_memory")
        builder.publish([bad], supplement=attempt)
    assert pending() == {}
    assert pending({bad: "m2"}) == {bad: "stale"}


def test_an_item_waits_for_its_upstream_stage(builder, pending, shard, layout):
    first, second = shard.item_ids[:2]
    upstream = builder.record
    for item_id in shard.item_ids:
        builder.stage(item_id, failure="timeout" if item_id in (first, second) else "")
    builder.publish(shard.item_ids)

    middle = StageRecord(stage="resnet", stage_version=1, upstream={"frames": upstream.fingerprint})
    last = StageRecord(stage="pooled", stage_version=1, upstream={"resnet": middle.fingerprint})
    for record in (middle, last):
        builder.record = record
        for item_id in shard.item_ids:
            failed = item_id in (first, second)
            builder.stage(item_id, failure="upstream:frames" if failed else "")
        builder.publish(shard.item_ids)
        assert pending() == {}

    builder.record = upstream
    builder.stage(first)
    builder.stage(second, failure="corrupt")
    builder.publish([first, second], supplement=1)
    assert pending(name=middle.name) == {first: "upstream"}
    assert pending(name=last.name) == {first: "upstream"}  # frames is two stages up
    assert upstream_name(layout, last.name, "frames") == upstream.name
    assert upstream_name(layout, last.name, "poses") is None
