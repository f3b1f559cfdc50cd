"""`python -m model.separation.table RESULTS.json ...`: the papers' tables with our rows beside.

In: results of evaluations of separation. Out: text: every row with its interval, both ways to
count silence and how its estimates were named; below, the printed numbers, marked as such.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from model.separation.published import PUBLISHED_ROWS
from model.text import aligned
from model.train.errors import RecipeError

METRICS = ("sdr", "sir", "sar")
HEADINGS = (
    "row",
    "SDR",
    "95 %",
    "SIR",
    "SAR",
    "pairs",
    "empty",
    "SDR, official skip",
    "permutation",
)


def table(results: Sequence[Mapping[str, Any]]) -> str:
    """Return the text of the evaluations' rows, one evaluation after the other.

    Parameters
    ----------
    results
        As `model.tribert.evaluate` writes them, in decibels.

    Raises
    ------
    RecipeError
        Results of something else than separation.
    """
    parts = []
    for each in results:
        if each.get("kind") != "separation":
            raise RecipeError(
                f"results of kind {each.get('kind')!r}: expected 'separation'; give the "
                "results.json of an evaluation of separation"
            )
        rows = [HEADINGS, *(_measured(name, row) for name, row in each["summary"].items())]
        said = f"{each['model']}: {len(each['pairs'])} pairs, {len(each['skipped'])} left out"
        parts.append("\n".join([said, *aligned(rows)]))
    printed = [("row", "SDR", "SIR", "SAR", "data", "printed in")]
    for row in PUBLISHED_ROWS:
        figures = (_number(row.sdr), _number(row.sir), _number(row.sar))
        printed.append((row.system, *figures, row.data, row.source))
    parts.append("\n".join(["printed numbers, not measured here:", *aligned(printed)]))
    return "\n\n".join(parts) + "\n"


def _measured(name: str, row: Mapping[str, Any]) -> tuple[str, ...]:
    interval, official = row["interval_95"]["sdr"], row["official"]
    return (
        name,
        _number(row["sdr"]),
        f"{_number(interval[0])} to {_number(interval[1])}" if interval else "-",
        _number(row["sir"]),
        _number(row["sar"]) if name != "mixture" else "-",
        str(row["pairs"]),
        str(row["silent"]),
        f"{_number(official['sdr'])} ({official['pairs']})",
        row["permutation"],
    )


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the tables of some results; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m model.separation.table", description=__doc__)
    parser.add_argument("results", type=Path, nargs="+", help="results.json of an evaluation")
    options = parser.parse_args(arguments)
    try:
        text = table([json.loads(path.read_text(encoding="utf-8")) for path in options.results])
    except (OSError, json.JSONDecodeError, RecipeError) as error:
        print(f"table: {error}", file=sys.stderr)
        return 1
    print(text, end="")
    return 0


if __name__ == "__main__":
    sys.exit(main())
