"""`soundstage retry`: what it chooses, marks and says."""

from __future__ import annotations

import argparse
from datetime import timedelta
from typing import Any

import pytest

from storage.pending import pending_items
from storage.plan import read_plan
from storage.retries import FETCH, fetch_marks
from tasks.commands.retry import REASONS, parse_age
from tasks.ingest import ingest, pending_imports

ROWS = [("a.mp4", "dog", "train"), ("b.mp4", "cat", "train"), ("c.mp4", "cat", "test")]


@pytest.fixture
def failed(desk: Any) -> Any:
    """Two files imported of three, one of them refused by probe."""
    desk.list(ROWS)
    desk.fetched("a.mp4")
    desk.fetched("b.mp4")
    desk.fetched("c.mp4", "corrupt")
    desk.computed("probe", {"a.mp4": "ok", "b.mp4": "timeout"})
    return desk


def pending(desk: Any) -> dict[str, str]:
    context = desk.context
    (shard,) = read_plan(context.layout, context.sources[0])
    name = context.stages["probe"].record.name
    return pending_items(context.store, name, shard, {})


def test_failures_of_fetch_and_stages_are_marked_by_reason(failed: Any) -> None:
    found = failed.json("retry", "--reason", "corrupt", "--reason", "timeout")
    name = failed.context.stages["probe"].record.name
    assert found["marked"] == 2
    assert found["stages"] == {FETCH: 1, name: 1}
    assert {row["item"] for row in found["items"]} == {failed.item("b.mp4"), failed.item("c.mp4")}
    assert pending(failed) == {failed.item("b.mp4"): "retry"}
    layout, source = failed.context.layout, failed.context.sources[0]
    assert list(fetch_marks(layout, source)) == [failed.item("c.mp4")]
    again = failed.json("retry", "--reason", "corrupt", "--reason", "timeout")
    assert (again["marked"], again["marked_before"]) == (0, 2)


def test_stage_dataset_and_age_narrow_the_choice(failed: Any) -> None:
    reasons = ("--reason", "corrupt", "--reason", "timeout", "--dry-run")
    name = failed.context.stages["probe"].record.name
    for stage in ("probe", name):
        found = failed.json("retry", *reasons, "--stage", stage, "--dataset", failed.name)
        assert found["stages"] == {name: 1}
    assert failed.json("retry", *reasons, "--older-than", "1h")["marked"] == 0
    assert failed.json("retry", *reasons, "--older-than", "0s")["marked"] == 2
    failed.list(ROWS[:2])
    (failed.videos / "c.mp4").unlink()
    assert failed.json("retry", *reasons, "--dataset", failed.name)["stages"] == {name: 1}
    assert fetch_marks(failed.context.layout, failed.context.sources[0]) == {}, "a dry run"


def test_a_person_is_told_how_many(failed: Any) -> None:
    assert failed.run("retry", "--reason", "timeout") == 0
    assert "1 failure(s) marked to be tried again" in failed.capsys.readouterr().out


def test_what_cannot_be_chosen_is_named(failed: Any) -> None:
    for arguments, expected in (
        (["--reason", "netwrok"], "did you mean 'network'"),
        (["--reason", "ok"], "no reason that can be tried again"),
        (["--reason", "network", "--older-than", "soon"], "such as 2d"),
        ([], "--reason"),
    ):
        with pytest.raises(SystemExit) as stopped:
            failed.run("retry", *arguments)
        assert stopped.value.code == 2
        assert expected in failed.capsys.readouterr().err
    assert failed.run("retry", "--reason", "network", "--stage", "frame") == 2
    assert "there are fetch, probe, probe-" in failed.capsys.readouterr().err
    assert failed.run("retry", "--reason", "network", "--root", str(failed.path / "no")) == 2
    assert "no store here" in failed.capsys.readouterr().err


@pytest.mark.parametrize(
    "text, hours",
    [("90m", 1.5), ("2d", 48), ("1w", 168), ("36h", 36), ("1.5 d", 36), ("60s", 1 / 60)],
)
def test_ages(text: str, hours: float) -> None:
    assert parse_age(text) == timedelta(hours=hours)


@pytest.mark.parametrize("text", ["", "2", "d", "-1d", "2 years", "99999999999w"])
def test_ages_that_are_none(text: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError):
        parse_age(text)


def test_every_reason_but_ok_can_be_chosen() -> None:
    assert {"network", "corrupt", "no_audio", "timeout"} <= set(REASONS)
    assert "ok" not in REASONS


def test_a_marked_import_is_tried_by_the_next_run_and_only_by_it(desk: Any, clips: Any) -> None:
    desk.list([("a.mp4", "dog", "train"), ("b.mp4", "cat", "train")], size_bytes=0)
    (desk.videos / "a.mp4").write_bytes(clips.tone(seconds=2.0).read_bytes())
    source = desk.context.sources[0]

    def run() -> dict[str, int]:
        assert [entry.path.name for entry in pending_imports(desk.context, source)] == expected
        return dict(ingest(desk.context).counts)

    expected = ["a.mp4", "b.mp4"]
    assert run() == {"ok": 1, "empty": 1}
    expected = []
    assert run() == {}
    assert desk.json("retry", "--reason", "empty", "--dataset", desk.name)["marked"] == 1
    expected = ["b.mp4"]
    assert run() == {"empty": 1}
    expected = []
    assert run() == {}
