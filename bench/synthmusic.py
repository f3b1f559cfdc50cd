"""Separation, retrieval and fine-tuning on `synthmusic`: every row, trained and judged alike.

    python -m bench.synthmusic [--size small] [--folder DIR] [--steps N] [--pairs 84] [--json]

Needs FluidSynth and a soundfont (docs/synthmusic.md). One command makes the clips and the features,
trains a TriBERT and everything that stands beside it on the same mixes for the same number of
steps, mixes test clips of different instruments, and prints:

1. the separation table, with 95 % intervals over pairs, and how far TriBERT lies above each row on
   the same pairs (paired interval);
2. top-1 of retrieval after the transformer, before it, leak-free and at random;
3. validation SDR on 11 instruments (`synthmusic11`: other melodies and performers) after a few
   budgets of steps, fine-tuned from that TriBERT and from scratch.

What is in the folder is not made again: an interrupted run goes on. `small` (the preset `tiny`,
64 x 64 spectrograms) is for two CPU cores, `full` (the preset `modern`) for a GPU.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from bench.synthmusic_steps import Place, fine_tuning, retrieval, run_dataset, separation
from model.separation.jobs import SYSTEMS

SIZES: Mapping[str, Mapping[str, Any]] = {
    "small": {
        "preset": "tiny",
        "steps": 1600,
        "budgets": (50, 100, 200, 400),
        "pairs": 84,
        "val_pairs": 22,
    },
    "full": {
        "preset": "modern",
        "steps": 40_000,
        "budgets": (500, 1000, 2000, 4000),
        "pairs": 168,
        "val_pairs": 33,
    },
}
TRIBERT, SWAPPED = "TriBERT", "swapped pictures and poses"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--size", choices=SIZES, default="small")
    parser.add_argument("--folder", type=Path, default=Path("synthmusic-bench"))
    parser.add_argument("--steps", type=int, default=0, help="0: the size's own")
    parser.add_argument("--pairs", type=int, default=0, help="0: the size's own")
    parser.add_argument("--systems", nargs="*", choices=SYSTEMS, default=list(SYSTEMS))
    parser.add_argument("--device", default="auto")
    parser.add_argument("--processes", type=int, default=2, help="trainings side by side")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    chosen = SIZES[arguments.size]
    place = Place(
        folder=arguments.folder.resolve(),
        size=arguments.size,
        preset=chosen["preset"],
        steps=arguments.steps or chosen["steps"],
        device=arguments.device,
        processes=arguments.processes,
    )
    found = measured(place, arguments, chosen)
    (place.folder / "results.json").write_text(json.dumps(found, indent=1) + "\n")
    if arguments.json:
        print(json.dumps({"synthmusic": found}))
    else:
        print_tables(found)


def measured(
    place: Place, arguments: argparse.Namespace, chosen: Mapping[str, Any]
) -> dict[str, Any]:
    """Return all figures; `seconds` counts only what this call had to make."""
    seconds: dict[str, float] = {}
    with timed(seconds, "clips, features, TriBERT, its report"):
        tribert = run_dataset(place, "synthmusic")
    with timed(seconds, "baselines, separation"):
        pairs = arguments.pairs or chosen["pairs"]
        table, trained = separation(place, tribert, arguments.systems, pairs)
    with timed(seconds, "retrieval"):
        found = retrieval(place, tribert)
    with timed(seconds, "fine-tuning"):
        tuned = fine_tuning(place, tribert, chosen["budgets"], chosen["val_pairs"])
    rows = table["summary"]
    return {
        "size": place.size,
        "preset": place.preset,
        "steps": place.steps,
        "model": tribert,
        "seconds": seconds | {f"training {name}": took for name, took in trained.items()},
        "pairs": len(table["pairs"]),
        "separation": rows,
        "above": table["differences"],
        "seeing_is_worth_db": rows[TRIBERT]["sdr"] - rows[SWAPPED]["sdr"],
        "retrieval": top1(found),
        "pool": found["pool"],
        "fine_tuning": tuned,
    }


def top1(found: Mapping[str, Any]) -> dict[str, dict[str, float]]:
    """Return top-1 of each variant, in percent, by kind of embedding."""
    names = {
        ("transformer", "joint"): "transformer (paper)",
        ("transformer", "alone"): "transformer, leak-free",
        ("input", "joint"): "before the transformer",
    }
    columns: dict[str, dict[str, float]] = {name: {} for name in names.values()}
    for row in found["rows"]:
        columns[names[row["embedding"], row["protocol"]]][row["variant"]] = row["top1"]
    random = dict.fromkeys(columns["before the transformer"], found["chance"]["top1"])
    return {**columns, "random": random}


@contextmanager
def timed(seconds: dict[str, float], name: str) -> Iterator[None]:
    """Note the seconds of the block under its name."""
    began = time.monotonic()
    yield
    seconds[name] = time.monotonic() - began


def print_tables(found: Mapping[str, Any]) -> None:
    console = Console(width=120)
    console.print(separation_table(found))
    console.print(retrieval_table(found))
    console.print(tuning_table(found))
    total = sum(took for name, took in found["seconds"].items() if not name.startswith("training"))
    console.print(f"made in {total / 60:.0f} min")


def separation_table(found: Mapping[str, Any]) -> Table:
    table = Table("separation", "SDR", "95 %", "SIR", "SAR", "permutation", "TriBERT above, 95 %")
    for name, row in found["separation"].items():
        above = found["above"].get(name)
        table.add_row(
            name,
            f"{row['sdr']:.2f}",
            interval(row["interval_95"]["sdr"]),
            f"{row['sir']:.2f}",
            f"{row['sar']:.2f}",
            row["permutation"],
            "" if above is None else f"{above['sdr']:+.2f} {interval(above['interval_95'])}",
        )
    table.caption = f"{found['pairs']} pairs of test clips, {found['steps']} steps"
    return table


def interval(bounds: list[float] | None) -> str:
    return "" if bounds is None else f"[{bounds[0]:.2f}, {bounds[1]:.2f}]"


def retrieval_table(found: Mapping[str, Any]) -> Table:
    table = Table("retrieval", *found["retrieval"])
    variants = next(iter(found["retrieval"].values()))
    for variant in variants:
        cells = (f"{column[variant]:.1f}" for column in found["retrieval"].values())
        table.add_row(variant, *cells)
    table.caption = f"top-1 in percent, pool of {found['pool']}"
    return table


def tuning_table(found: Mapping[str, Any]) -> Table:
    ways = found["fine_tuning"]
    budgets = next(iter(ways.values()))
    table = Table("validation SDR after steps", *map(str, budgets))
    for way, sdr in ways.items():
        table.add_row(way, *(f"{sdr[steps]:.2f}" for steps in budgets))
    return table


if __name__ == "__main__":
    main()
