"""What the parsing tables are asked for, on which items, and what is said before they are there."""

from __future__ import annotations

import json
import re
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from model.avvp.config import DEFECT, networks
from model.avvp.metrics import FIGURES, LEVELS
from model.avvp.rows import KIND, row_jobs
from model.jobs import TrainJob
from pipeline.synthllp.write import write_synthllp
from storage.layout import open_store
from storage.models import list_snapshots, publish_model, write_snapshot
from tasks.context import load_context
from tasks.lists import synthllp
from tasks.parsing import (
    newer_items,
    publish_tables,
    published_tables,
    table_ground,
    table_spec,
)
from tasks.parsing_tables import ReproduceParsingTables
from tasks.report.gallery import Gallery
from tasks.report.gather import gather, report_name
from tasks.report.render import render
from tasks.settings import ListSettings, ParsingTableSettings, SettingsError

CHOSEN = ParsingTableSettings()
QUICK = json.dumps({"max_steps": 2, "width": 16})


def test_what_is_not_asked_for_stands_in_the_settings() -> None:
    spec = table_spec(CHOSEN)
    assert (spec.rows, spec.seeds, spec.preset) == (tuple(networks), (0, 1, 2), "paper")
    assert spec.changes == {}
    spec = table_spec(CHOSEN, rows=f"HAN; {DEFECT}", seeds="3, 5", settings='{"epochs": 8}')
    assert (spec.rows, spec.seeds, spec.changes) == (("HAN", DEFECT), (3, 5), {"epochs": 8})


@pytest.mark.parametrize(
    "asked, message",
    [
        ({"rows": "HAN;Basis"}, r"row 'Basis': expected one of \['HAN', 'Base',"),
        ({"rows": "HAN,Base"}, r"row 'HAN,Base': .* \(rows are separated by ';'\)"),
        ({"rows": "HAN;HAN"}, "one is named twice"),
        ({"seeds": ","}, "no seeds; name at least one"),
        ({"seeds": "0,one"}, "seeds '0,one': expected numbers such as 0,1,2"),
        ({"preset": "papers"}, r"preset 'papers': expected one of \['han', "),
        ({"settings": "[8]"}, "expected a JSON object"),
        ({"settings": '{"depth": 8}'}, r"no setting \['depth'\]"),
    ],
)
def test_what_cannot_be_trained_is_named(asked: dict[str, str], message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        table_spec(CHOSEN, **asked)


@pytest.fixture(scope="module")
def synthetic(shared_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with a synthetic LLP, to be copied."""
    root = tmp_path_factory.mktemp("synthllp") / "store"
    made = synthllp(ListSettings(dir=str(shared_dir / "data")), "micro")
    list(write_synthllp(open_store(root, create=True), made))
    return root


@pytest.fixture
def store(desk: Any, synthetic: Path, shared_dir: Path) -> Any:
    """A desk with a synthetic LLP in its store."""
    shutil.copytree(synthetic, desk.root)
    desk.parser.read_string(
        f"[lists]\ndir = {shared_dir / 'data'}\n"
        f"[parsing_tables]\npreset = tiny\nrows = HAN\nsettings = {QUICK}\n"
    )
    load_context.cache_clear()
    return desk


def test_the_luigi_task_says_what_is_wrong_and_ends(store: Any) -> None:
    with pytest.raises(SystemExit):
        ReproduceParsingTables(dataset="synthllp:micro", rows="Basis")
    assert "soundstage: parsing tables: row 'Basis': expected" in store.capsys.readouterr().err
    tasks = ReproduceParsingTables(dataset="synthllp:micro", seeds="0,4").requires()
    assert [(task.row, task.seed) for task in tasks] == [("HAN", 0), ("HAN", 4)]
    assert not any(task.complete() for task in tasks)


def test_rows_that_are_not_there_are_named_with_what_makes_them(store: Any) -> None:
    assert store.run("parsing-tables", "--dataset", "synthllp:micro", "--rows", "HAN;Base") == 0
    said = store.capsys.readouterr().out
    assert "  HAN, seeds 0, 1, 2\n  Base, seeds 0, 1, 2\n" in said
    assert said.endswith(
        "luigi --module tasks ReproduceParsingTables --dataset synthllp:micro --rows 'HAN;Base'\n"
    )
    assert not (store.root / "datasets").exists(), "looking writes nothing"
    assert store.run("parsing-tables", "--dataset", "synthllp:micro", "--seeds", ",") == 2
    assert "no seeds" in store.capsys.readouterr().err


def trained(job: TrainJob, folder: Path) -> None:
    """Publish a model without weights: whether it is there is all that is asked here."""
    prepared = folder / job.name
    prepared.mkdir()
    assert publish_model(open_store(job.store_root), job.record, prepared, {})


def test_rows_keep_the_items_of_those_that_are_trained(store: Any, tmp_path: Path) -> None:
    context = load_context("synthllp:micro", "avvp")
    spec = table_spec(context.settings.parsing_tables)
    fresh = table_ground(context, spec, write=False)
    assert list_snapshots(context.layout, context.name) == []
    items = [entry.item for entry in context.dataset.items]
    older = replace(fresh, snapshot=write_snapshot(context.layout, context.name, items[3:]))
    changed = [replace(items[0], labels=("Dog",)), *items[1:]]
    wrong = replace(fresh, snapshot=write_snapshot(context.layout, context.name, changed))
    for ground in (older, wrong):
        (job,) = row_jobs(ground, spec, "HAN", 1)
        trained(job, tmp_path)
    table_ground.cache_clear()
    kept = table_ground(context, spec)
    assert kept == older, "a changed label is another list"
    assert newer_items(context, kept) == 3
    assert table_ground(context, spec, latest=True) == fresh


def test_what_a_row_starts_from_is_a_task_before_it(store: Any, tmp_path: Path) -> None:
    asked = {"rows": "Pretrain (uni);Pretrain frozen (uni)", "seeds": "1"}
    quick = json.dumps({"max_steps": 2})
    root = ReproduceParsingTables(dataset="synthllp:micro", pretraining=quick, **asked)
    row, frozen = root.requires()
    row.requires().requires().run()
    before = next(row.run())
    assert (before.step, before.job().recipe, before.job().seed) == (0, "avg", 1)
    assert before.job().configuration["max_steps"] == 2
    assert before.requires().complete()
    assert not before.complete()
    trained(before.job(), tmp_path)
    assert before.complete()
    *_, own = row.jobs()
    assert own.configuration["initial"] == before.job().name
    assert next(frozen.run()).job() == before.job(), "both rows start from one model"
    assert not row.complete()


def test_a_report_shows_the_datasets_published_tables(store: Any, tmp_path: Path) -> None:
    context = load_context("synthllp:micro", "avvp")
    figures = {level: {f: [50.0, 52.0] for f in FIGURES} for level in LEVELS}
    one = {level: dict.fromkeys(FIGURES, 8.4) for level in LEVELS}
    results = {
        "kind": KIND,
        "dataset": context.name,
        "snapshot": "0" * 12,
        "preset": "tiny",
        "changes": {"epochs": 8},
        "pretraining": {},
        "seeds": [0, 1, 2],
        "gates": {"HAN": "video"},
        "rows": {"HAN": figures},
        "reference": {"predict nothing": one},
        "missing": {"HAN": [2]},
    }
    before = report_name(context, [])
    folder = publish_tables(context.layout, results)
    assert publish_tables(context.layout, results) == folder
    publish_tables(context.layout, {**results, "dataset": "other"})
    assert published_tables(context.layout, context.name) == [folder.name]
    assert report_name(context, []) != before
    page = render(gather(context, []), Gallery(tmp_path / "figures"))
    section = re.sub(r"<[^>]+>", " ", page[page.index('<h2 id="parsing-tables">') :])
    assert "preset tiny, 3 seeds, settings {&#34;epochs&#34;: 8}, gate video" in section
    assert section.count("HAN (2 of 3 seeds)") == 2
    assert section.count("51.0 ± 1.4") == 10
    assert "Base+Adv+Skip+GCAA  61.6  54.7  50.3  55.5  56.1" in section
    assert "not measured here" in section
    assert (folder / "tables.txt").read_text().count("51.0 ± 1.4") == 10
