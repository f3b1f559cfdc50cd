"""The parsing tables by one command: trained once, printed each time, mended where one is gone."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from runs import Workspace

from model.avvp.published import PUBLISHED_ROWS

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]
QUICK = json.dumps({"epochs": 1, "val_every_epochs": 1, "width": 16, "batch_size": 16})
ASKED = ("--dataset", "synthllp:micro", "--rows", "HAN;Base", "--preset", "tiny")
LEVELS = ("segment", "event")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory, shared_dir: Path) -> Workspace:
    """A workspace with a synthetic LLP and the tables of two rows with two seeds."""
    workspace = Workspace(tmp_path_factory.mktemp("tables"))
    workspace.set_key("lists", "dir", str(shared_dir / "data"))
    workspace.set_key("parsing_tables", "seeds", "0,1")
    workspace.set_key("parsing_tables", "settings", QUICK)
    written = workspace.soundstage("synthllp", "--size", "micro")
    assert written.returncode == 0, written.stderr
    done = workspace.tables(*ASKED)
    assert done.returncode == 0, done.stderr
    (workspace.path / "printed.txt").write_text(done.stdout)
    return workspace


def published(made: Workspace) -> Path:
    """Return the folder of the only published tables."""
    (results,) = made.store.glob("evaluations/parsing_tables-*/results.json")
    return results.parent


def test_the_tables_hold_measured_printed_and_reference_rows(made: Workspace) -> None:
    text = (made.path / "printed.txt").read_text()
    assert (published(made) / "tables.txt").read_text() == text
    results = json.loads((published(made) / "results.json").read_text())
    assert (results["seeds"], results["missing"]) == ([0, 1], {})
    assert {len(set(models)) for models in results["models"].values()} == {2}
    said, *tables = text.split("\n\n")[: 1 + len(LEVELS)]
    assert said.startswith("synthllp-micro, snapshot ")
    for level, table in zip(LEVELS, tables, strict=True):
        assert table.startswith(f"{level} level, percent")
        rows = {line.split("  ")[0]: line for line in table.splitlines()[2:] if line[0] != " "}
        first, second = results["rows"]["Base"][level]["audio"]
        assert f"{(first + second) / 2:.1f} ± " in rows["Base"]
        assert {"HAN", "predict nothing", "always Speech", "weak-tag oracle"} < set(rows)
        for name, row in PUBLISHED_ROWS.items():
            (line,) = [line for line in table.splitlines() if line.startswith(f"  {name}  ")]
            assert tuple(map(float, line.split()[-5:])) == row.level(level)


def test_what_is_there_is_not_done_again_and_what_is_gone_is(made: Workspace) -> None:
    again = made.tables(*ASKED)
    assert again.returncode == 0, again.stderr
    assert "seed" not in again.stderr
    assert again.stdout == (made.path / "printed.txt").read_text()
    results = json.loads((published(made) / "results.json").read_text())
    shutil.rmtree(made.store / "evaluations" / results["evaluations"]["Base"][1])
    listed = json.loads(made.soundstage("parsing-tables", *ASKED, "--json").stdout)
    assert listed["missing"] == {"Base": [1]}
    assert listed["rows"]["HAN"] == results["rows"]["HAN"]
    figures = results["rows"]["Base"]["event"]["visual"]
    assert listed["rows"]["Base"]["event"]["visual"] == figures[:1]
    mended = made.tables(*ASKED)
    assert mended.returncode == 0, mended.stderr
    assert mended.stderr.count(", seed ") == mended.stderr.count("Base, seed 1") == 1
    assert "is published already" in mended.stderr, "the model stayed"
    assert mended.stdout == again.stdout
    assert published(made).is_dir()
