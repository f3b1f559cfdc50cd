"""Marks to try failed items again: what they select, how they are used up, what damages them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from storage import (
    MAX_ATTEMPTS,
    FeatureStore,
    FetchEvent,
    FetchLog,
    PlanShard,
    pending_items,
    read_fetch_log,
    verify_store,
)
from storage.errors import StoreDamaged
from storage.failed import failures, retry
from storage.retries import FETCH, RetryMark, fetch_marks, is_marked, mark, read_marks

A, B = "demo/a/whole", "demo/b/whole"


@pytest.fixture
def shard(ids):
    return PlanShard(source="demo", number=0, item_ids=tuple(ids(4)))


@pytest.fixture
def pending(builder, shard):
    def call(media=None):
        store = FeatureStore(builder.layout.root)
        return pending_items(store, builder.name, shard, media or {})

    return call


@pytest.fixture
def fail(builder, shard):
    """Publish the shard with one failed item, or a supplement in which it fails again."""

    def call(reason, supplement=0):
        bad = shard.item_ids[1]
        chosen = [bad] if supplement else shard.item_ids
        for item_id in chosen:
            builder.stage(item_id, failure=reason if item_id == bad else "")
        builder.publish(chosen, supplement=supplement)
        return bad

    return call


def log(layout, item_id, reason, utc=""):
    event = FetchEvent(
        item_id=item_id, reason=reason, utc=utc or datetime.now(UTC).isoformat(), detail="said so"
    )
    with FetchLog(layout, item_id.partition("/")[0]) as journal:
        journal.append(event)
    return event


def reason_is(*reasons):
    return lambda failure: failure.reason in reasons


def test_a_permanent_failure_of_a_stage_is_tried_once_more(layout, pending, fail):
    bad = fail("corrupt")
    assert pending() == {}
    assert [f.item_id for f in retry(layout, reason_is("corrupt"))] == [bad]
    assert pending() == {bad: "retry"}
    fail("corrupt", supplement=1)
    assert pending() == {}, "the next outcome uses the mark up"


def test_attempts_start_anew_after_a_mark(layout, builder, pending, fail):
    bad = fail("network")
    for attempt in range(1, MAX_ATTEMPTS):
        fail("timeout", supplement=attempt)
    assert pending() == {}
    retry(layout, reason_is("timeout"))
    for attempt in range(MAX_ATTEMPTS, 2 * MAX_ATTEMPTS):
        assert pending() == {bad: "retry"}
        fail("network", supplement=attempt)
    assert pending() == {}
    assert FeatureStore(layout.root).attempts(builder.name)[bad] == MAX_ATTEMPTS


def test_a_mended_item_is_not_pending_and_cannot_be_marked(layout, builder, pending, fail):
    bad = fail("crash")
    retry(layout, reason_is("crash"))
    builder.stage(bad)
    builder.publish([bad], supplement=1)
    assert pending() == {}
    assert retry(layout, lambda failure: True) == []


def test_a_mark_of_another_fingerprint_changes_nothing(layout, builder, pending, fail):
    bad = fail("corrupt")
    mark(layout, [RetryMark(scope="frames-000000000000", item_id=bad, utc="2026-01-01")])
    assert pending() == {}


def test_marking_twice_marks_once(layout, fail):
    fail("corrupt")
    assert len(retry(layout, reason_is("corrupt"))) == 1
    assert retry(layout, reason_is("corrupt")) == []
    assert [f.marked for f in failures(layout)] == [True]


def test_a_fetch_failure_is_marked_until_its_next_event(layout):
    first = log(layout, A, "corrupt")
    log(layout, B, "ok")
    assert fetch_marks(layout, "demo") == {}
    assert not is_marked(first, None)
    (chosen,) = retry(layout, reason_is("corrupt"), FETCH)
    assert (chosen.scope, chosen.stage, chosen.item_id) == (FETCH, FETCH, A)
    assert chosen.detail == "said so"
    marks = fetch_marks(layout, "demo")
    assert list(marks) == [A]
    assert is_marked(read_fetch_log(layout, "demo")[A], marks[A])
    again = log(layout, A, "corrupt")
    assert not is_marked(again, marks[A])
    assert len(retry(layout, reason_is("corrupt"))) == 1
    assert is_marked(again, fetch_marks(layout, "demo")[A])


def test_an_outcome_of_a_fast_clock_is_marked_all_the_same(layout):
    ahead = log(layout, A, "timeout", (datetime.now(UTC) + timedelta(hours=5)).isoformat())
    retry(layout, reason_is("timeout"))
    assert is_marked(ahead, fetch_marks(layout, "demo")[A])


def test_age_is_that_of_the_outcome(layout, builder, fail):
    fail("timeout")
    log(layout, A, "timeout", (datetime.now(UTC) - timedelta(days=3)).isoformat())
    log(layout, B, "timeout")
    two_days = timedelta(days=2)
    assert [f.item_id for f in failures(layout) if f.older_than(two_days)] == [A]
    path = layout.shard(builder.name, "demo", 0)
    then = path.stat().st_mtime - 2.5 * 86400
    os.utime(path, (then, then))
    old = {f.scope for f in failures(layout) if f.older_than(two_days)}
    assert old == {FETCH, builder.name}


def test_stages_are_chosen_by_name_or_fingerprint(layout, builder, fail):
    fail("timeout")
    log(layout, A, "timeout")
    assert {f.scope for f in failures(layout)} == {FETCH, builder.name}
    assert {f.stage for f in failures(layout, "frames")} == {"frames"}
    assert {f.scope for f in failures(layout, builder.name)} == {builder.name}
    assert list(failures(layout, "probe")) == []


def test_items_that_wait_for_a_stage_are_no_failures(layout, fail):
    fail("upstream:probe")
    assert list(failures(layout)) == []


def test_a_damaged_mark_is_named_and_found_by_verify(layout):
    log(layout, A, "corrupt")
    retry(layout, reason_is("corrupt"))
    (path,) = layout.retry_log("demo", FETCH).iterdir()
    path.chmod(0o644)
    for wrong in ('{"scope": "fetch"}', "nonsense", json.dumps({"utc": "x"})):
        path.write_text(path.read_text().splitlines()[0] + "\n" + wrong + "\n")
        with pytest.raises(StoreDamaged, match=r"line 2: .*delete the file"):
            fetch_marks(layout, "demo")
        assert ["line 2" in p.message for p in verify_store(layout)] == [True]


def test_a_killed_marking_leaves_all_or_nothing(layout, tmp_path):
    """A process that marks without end is killed at several moments: every file left is whole."""
    code = (
        "import sys; from storage import open_store; from storage.retries import *\n"
        "layout = open_store(sys.argv[1])\n"
        "print('go', flush=True)\n"
        "while True:\n"
        "    mark(layout, (RetryMark(scope='fetch', item_id=f'demo/v{i}/whole', utc='2026-01-01')\n"
        "                  for i in range(50)))\n"
    )
    root = Path(__file__).parents[2]
    for delay_s in (0.02, 0.05, 0.11):
        process = subprocess.Popen(
            [sys.executable, "-c", code, str(layout.root)], cwd=root, stdout=subprocess.PIPE
        )
        with process:
            assert process.stdout is not None
            assert process.stdout.readline() == b"go\n"
            with pytest.raises(subprocess.TimeoutExpired):
                process.wait(delay_s)
            process.kill()
        files = list(layout.retry_log("demo", FETCH).glob("*.jsonl"))
        assert len(list(read_marks(layout, "demo", FETCH))) == 50 * len(files)
    assert files
