"""`soundstage estimate`: what is left to do, where the numbers come from, whether it fits."""

from __future__ import annotations

import shutil
from typing import Any

import pytest

from storage.rates import Rate, read_rates, record_rate
from tasks.estimate import said_bytes
from tasks.rates import keep_rate

ROWS = [(f"{name}.mp4", "dog", "train") for name in "abcdefgh"]


@pytest.fixture
def begun(desk: Any) -> Any:
    """Eight files of which two are imported, 30 seconds each, and one was refused for good."""
    desk.parser.read_string("[soundstage]\ndevice = cpu\nworkers = 4\n")
    desk.list(ROWS, size_bytes=5000)
    desk.fetched("a.mp4", duration_s=30.0)
    desk.fetched("b.mp4", duration_s=30.0)
    desk.fetched("c.mp4", "corrupt")
    return desk


def rows(found: Any) -> dict[str, Any]:
    return {row["stage"]: row for row in found["stages"]}


def test_what_is_left_to_do(begun: Any) -> None:
    found = begun.json("estimate", "--dataset", begun.name)
    (source,) = found["sources"]
    assert (source["items"], source["here"], source["lost"]) == (8, 2, 1)
    assert (source["to_import"], source["to_download"]) == (5, 0)
    assert source["new_bytes"] == 5 * 5000
    assert found["download"] == {"videos": 0, "transfer_bytes": 0, "days": 0.0}
    assert {row["items"] for row in found["stages"]} == {7}
    assert rows(found)["audio_16000"]["bytes_from"] == "schema"
    assert rows(found)["frames"]["bytes_from"] == "stated"
    assert found["compute"]["workers"] == 4
    assert found["compute"]["gpu_hours"] == 0
    assert found["compute"]["hours"] == pytest.approx(found["compute"]["cpu_hours"] / 4)
    assert any("AMD EPYC" in note for note in found["notes"])
    assert found["disk"]["fits"]
    begun.computed("probe", {"a.mp4": "ok", "b.mp4": "corrupt"})
    probe = rows(begun.json("estimate", "--dataset", begun.name))["probe"]
    assert (probe["items"], probe["done"]) == (5, 2)


def test_a_mark_brings_a_lost_item_back(begun: Any) -> None:
    assert begun.run("retry", "--reason", "corrupt") == 0
    (source,) = begun.json("estimate", "--dataset", begun.name)["sources"]
    assert (source["lost"], source["to_import"]) == (0, 6)


def test_measured_speeds_win_over_the_table(begun: Any) -> None:
    before = rows(begun.json("estimate", "--dataset", begun.name))["frames"]
    assert before["hours_from"] == "stated"
    name = begun.context.stages["frames"].record.name
    rate = Rate(items=2, media_s=60.0, wall_s=30.0, slots=4)
    record_rate(begun.context.layout, name, rate)
    record_rate(begun.context.layout, name, Rate(items=2, media_s=1, wall_s=9, slots=4, host="far"))
    found = begun.json("estimate", "--dataset", begun.name)
    frames = rows(found)["frames"]
    assert frames["hours_from"] == "measured"
    mean_s = found["sources"][0]["mean_s"]
    assert frames["cpu_hours"] == pytest.approx(2.0 * mean_s * 7 / 3600)


def test_a_run_keeps_its_speed(begun: Any) -> None:
    context = begun.context
    name, source = context.stages["frames"].record.name, context.sources[0]
    ids = [begun.item("a.mp4"), begun.item("b.mp4")]
    keep_rate(context, name, source, ids, wall_s=3.0)
    (rate,) = read_rates(context.layout, name)
    assert (rate.items, rate.media_s, rate.wall_s, rate.slots) == (2, 60.0, 3.0, 2)
    assert rate.device == "cpu"
    keep_rate(context, name, source, [], wall_s=3.0)
    keep_rate(context, name, source, [begun.item("c.mp4")], wall_s=3.0)  # of no known length
    assert len(read_rates(context.layout, name)) == 1
    frames = rows(begun.json("estimate", "--dataset", begun.name))["frames"]
    assert frames["hours_from"] == "measured"


def test_networks_are_counted_on_a_gpu_where_one_is_asked_for(begun: Any) -> None:
    begun.parser.read_string("[soundstage]\ndevice = cuda\n")
    found = rows(begun.json("estimate", "--dataset", begun.name))
    assert found["resnet152"]["gpu_hours"] > 0 == found["resnet152"]["cpu_hours"]
    assert found["frames"]["cpu_hours"] > 0 == found["frames"]["gpu_hours"]


def test_a_disk_that_is_too_small_is_said(begun: Any) -> None:
    """A sparse file is larger than what is free."""
    free = shutil.disk_usage(begun.root).free
    with (begun.videos / "h.mp4").open("r+b") as file:
        file.truncate(free + 10**9)
    assert begun.run("estimate", "--dataset", begun.name) == 1
    out = begun.capsys.readouterr().out
    assert "it does not fit" in out
    assert "training and evaluation are not counted" in out


def test_nothing_is_started(begun: Any) -> None:
    before = sorted(path for path in begun.root.rglob("*"))
    begun.json("estimate", "--dataset", begun.name)
    assert sorted(path for path in begun.root.rglob("*")) == before


@pytest.mark.parametrize(
    "count, said", [(0, "0 B"), (999, "999 B"), (1500, "1.5 kB"), (2.5e12, "2.5 TB")]
)
def test_bytes_as_people_read_them(count: float, said: str) -> None:
    assert said_bytes(count) == said
