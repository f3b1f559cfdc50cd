"""`soundstage coverage`: who is there, who is not and why, and the list that others can compare."""

from __future__ import annotations

import hashlib
import time
from typing import Any

import pytest

from storage import DatasetItem
from tasks.coverage import ItemCoverage
from tasks.coverage_report import by_class, ids_sha256, ids_text

ROWS = [
    ("a.mp4", "dog", "train"),
    ("b.mp4", "cat;dog", "train"),
    ("c.mp4", "cat", "test"),
    ("d.mp4", "cat", "test"),
    ("e.mp4", "cat", ""),
]


@pytest.fixture
def partly(desk: Any) -> Any:
    """One item without an import, one refused at import, one refused by probe, two sound ones."""
    desk.list(ROWS)
    for file in ("a.mp4", "b.mp4", "e.mp4"):
        desk.fetched(file)
    desk.fetched("c.mp4", "empty", detail="0 bytes")
    return desk


def test_nothing_fetched(desk: Any) -> None:
    desk.list(ROWS)
    found = desk.json("coverage", "--dataset", desk.name)
    assert (found["items"], found["fetched"], found["ok"]) == (5, 0, 0)
    assert found["reasons"] == {"fetch: not imported yet": 5}
    assert found["used"] == []
    assert found["used_sha256"] == hashlib.sha256(b"").hexdigest()
    assert found["published"]["train"]["published"] == 2
    assert found["published"]["all"]["published"] == 4, "e has no split in the list"


def test_reasons_by_split_and_class(partly: Any) -> None:
    partly.computed("probe", {"a.mp4": "ok", "b.mp4": "corrupt", "e.mp4": "ok"})
    found = partly.json("coverage", "--dataset", partly.name)
    assert [row["item"] for row in found["missing"]] == [
        partly.item(f"{name}.mp4") for name in "bcd"
    ]
    assert found["missing"][1]["detail"] == "0 bytes"
    assert found["missing"][2]["reason"] == "not imported yet"
    assert found["fetched"] == 3
    assert found["splits"]["test"]["reasons"] == {"fetch: empty": 1, "fetch: not imported yet": 1}
    assert found["splits"]["train"]["reasons"]["probe: corrupt"] == 1
    assert found["classes"]["dog"]["items"] == 2
    assert found["classes"]["dog"]["reasons"]["probe: corrupt"] == 1
    assert found["classes"]["cat"]["items"] == 4
    assert found["classes"]["dog"]["ok"] == 1
    assert set(found["reasons"]) == {"fetch: empty", "fetch: not imported yet", "probe: corrupt"}
    assert sum(found["reasons"].values()) == 3
    assert found["published"]["train"] | {"share": 0.5, "used": 1} == found["published"]["train"]


def test_the_list_of_the_items_used(partly: Any) -> None:
    partly.computed("probe", {"a.mp4": "ok", "b.mp4": "corrupt", "e.mp4": "ok"})
    path = partly.path / "lists" / "ids.txt"
    found = partly.json("coverage", "--dataset", partly.name, "--out", str(path))
    assert path.read_text().split("\n") == found["used"]
    assert found["used"] == [partly.item("a.mp4"), partly.item("e.mp4")]
    assert hashlib.sha256(path.read_bytes()).hexdigest() == found["used_sha256"]
    rows = [row(f"lab/{name}/whole") for name in "cab"]
    ids = [r.item.item_id for r in rows]
    assert ids_text(ids) == "lab/a/whole\nlab/b/whole\nlab/c/whole"
    assert ids_sha256(ids) == hashlib.sha256(ids_text(ids).encode()).hexdigest()
    assert ids_sha256(reversed(ids)) == ids_sha256(ids)
    assert partly.run("coverage", "--dataset", partly.name, "--out", "/dev/null/ids.txt") == 2
    assert "--out /dev/null/ids.txt: cannot be written" in partly.capsys.readouterr().err


def row(item_id: str, reason: str = "ok", labels: tuple[str, ...] = ()) -> ItemCoverage:
    item = DatasetItem(item_id=item_id, labels=labels)
    stage = "" if reason == "ok" else "fetch"
    return ItemCoverage(item=item, reason=reason, stage=stage, detail="")


def test_an_item_counts_in_each_of_its_classes() -> None:
    rows = [
        row("s/a/whole", labels=("x", "y")),
        row("s/b/whole", "empty", ("y",)),
        row("s/c/whole"),
    ]
    found = by_class(rows)
    assert {name: (g["ok"], g["items"]) for name, g in found.items()} == {
        "(no label)": (1, 1),
        "x": (1, 1),
        "y": (1, 2),
    }
    assert found["y"]["reasons"] == {"fetch: empty": 1}


def test_a_person_reads_tables(partly: Any) -> None:
    assert partly.run("coverage", "--dataset", partly.name) == 0
    out = partly.capsys.readouterr().out
    assert "5 items, 3 with media, 0 came through" in out
    assert "published list" in out
    assert ids_sha256([]) in out


def test_eleven_thousand_items_take_less_than_two_seconds(desk: Any) -> None:
    """A list without files is read as fast as one with; only the account is timed."""
    from dataclasses import replace

    from tasks.coverage_report import coverage_report

    desk.list(ROWS)
    context = desk.context
    entry = context.dataset.items[0]
    names = [f"{n:05d}" for n in range(11_849)]
    items = tuple(
        replace(
            entry,
            item=DatasetItem(
                item_id=f"youtube/{n}abc-_/{1000 * i}-{1000 * i + 10_000}",
                labels=("Speech", f"class {i % 25}"),
                split=("train", "val", "test")[i % 3],
            ),
            path=None,
        )
        for i, n in enumerate(names)
    )
    large = replace(context, dataset=replace(context.dataset, name="large", items=items))
    began = time.process_time()
    found = coverage_report(large)
    took_s = time.process_time() - began
    assert found["reasons"] == {"fetch: not downloaded yet": 11_849}
    assert found["published"]["all"]["published"] == 11_849
    assert took_s < 2.0
