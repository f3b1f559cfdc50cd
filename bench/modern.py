"""What each switch of the preset `modern` is worth: one training a row, on the same mixes.

    python -m bench.modern STORE [--dataset NAME] [--size small|full] [--steps N] [--json]
        [--rows WORD ...] [--device auto|cpu|cuda] [--out FILE]

STORE is a feature store with the stages of a dataset (frames, stft, pose_embed and what they were
computed from). Rows are `modern`, `modern` with one switch the other way, `paper`, and `paper` with
one switch of `modern`; all start from the same seed, see the same clips in the same order for the
same number of steps, and separate the same pairs of validation clips, which choose the switches;
test clips are not touched. `small` is the presets `reduced`.

SDR is the mean over pairs (BSS-eval version 3); beside it stand its paired difference to the preset
that the row is made of, with a 95 % bootstrap interval, SDR with pictures and poses handed to the
wrong video, the mask loss straight and so swapped (comparable between rows of the same target
masks), and seconds of one step on one batch, loader not included. Rows that are in FILE already are
not made again; an interrupted one goes on from its last checkpoint beside FILE.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Container, Sequence
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.table import Table

from bench.modern_row import HEARD, find_place, make_row
from bench.modern_rows import SIZES, rows
from model.separation.statistics import paired_interval
from model.train.errors import TrainingError
from model.train.fit import Device
from storage.atomic import replace_json
from storage.errors import StoreError
from storage.fingerprint import sha256_json


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("store", type=Path, help="directory of the feature store")
    parser.add_argument("--dataset", default="", help="where the store has several")
    parser.add_argument("--size", choices=SIZES, default="small")
    parser.add_argument("--steps", type=int, default=0, help="0: the preset's own")
    parser.add_argument("--pairs", type=int, default=24)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--rows", nargs="*", default=[], help="names, or parts of names")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--workers", type=int, default=0)
    parser.add_argument("--weights-dir", default="", help="where VGGish's published weights lie")
    parser.add_argument("--out", type=Path, help="default: modern-SIZE-DATASET.json here")
    parser.add_argument("--json", action="store_true", help="print one line of JSON, no table")
    options = parser.parse_args(arguments)
    torch.set_flush_denormal(True)  # as the trainer does
    try:
        found = measured(options)
    except (TrainingError, StoreError) as error:
        print(f"bench.modern: {error}", file=sys.stderr)
        return 1
    if options.json:
        print(json.dumps({"modern": found}))
    else:
        Console(width=130).print(table(found))
    return 0


def measured(options: argparse.Namespace) -> dict[str, Any]:
    """Return the results of all rows that were asked for, or are in the file."""
    place = find_place(options.store, options.dataset)
    kind = Device.parse(options.device).kind
    precision = "32-true" if kind == "cpu" else "bf16-mixed"
    out = options.out or Path(f"modern-{options.size}-{place.dataset}.json")
    conditions = {
        "dataset": place.dataset,
        "size": options.size,
        "steps": options.steps,
        "seed": options.seed,
        "pairs": options.pairs,
        "device": kind,
    }
    found = read_results(out, conditions)
    known = {row["row"]: row for row in found["rows"]}
    heard = HEARD in place.stages
    wanted = rows(options.size, place.pose, precision=precision, heard=heard)
    for name, config in wanted.items():
        if options.rows and not any(meant(word, name, wanted) for word in options.rows):
            continue
        hears = config.audio.encoder == HEARD
        stages = {n: stage for n, stage in place.stages.items() if hears or n != HEARD}
        decisive = {"configuration": config.as_json(), "stages": stages}
        digest = sha256_json(decisive)[:12]
        if known.get(name, {}).get("digest") == digest:
            continue
        print(f"{name} ...", file=sys.stderr, flush=True)
        made = make_row(place, config, options, run_dir=out.with_suffix(".runs") / digest)
        known[name] = {"row": name, "digest": digest, **made}
        found["rows"] = [known[each] for each in wanted if each in known]
        replace_json(out, found)
    return found


def meant(word: str, name: str, rows: Container[str]) -> bool:
    """Whether a word of `--rows` means this row: it is its name, or else part of it."""
    return word == name if word in rows else word in name


def read_results(path: Path, conditions: dict[str, Any]) -> dict[str, Any]:
    """Return what the file has, or an empty table; raise TrainingError where it is another's."""
    if not path.exists():
        return {"conditions": conditions, "rows": []}
    found = json.loads(path.read_text())
    if found["conditions"] != conditions:
        other = {
            name: (found["conditions"].get(name), conditions[name])
            for name in conditions
            if found["conditions"].get(name) != conditions[name]
        }
        raise TrainingError(
            f"{path} was made under other conditions (there, here): {other}; give the same, or "
            "another --out"
        )
    return found


def table(found: dict[str, Any]) -> Table:
    """Return the rows, each compared with the preset that it is made of."""
    known = {row["row"]: row for row in found["rows"]}
    title = ", ".join(f"{name} {value}" for name, value in found["conditions"].items())
    columns = ("SDR", "worth", "95 %", "swapped", "mask loss", "swapped", "s a step")
    made = Table("row", *columns, title=title)
    for name, row in known.items():
        made.add_row(
            name,
            f"{row['sdr']:.2f}",
            *difference(row, known.get(base_of(name))),
            f"{row['sdr_swapped']:.2f}",
            f"{row['mask_loss']:.4f}",
            f"{row['mask_loss_swapped']:.4f}",
            f"{row['step_s']:.3f}",
        )
    for row in found["rows"][:1]:
        bounds = (row["sdr_mixture"], row["sdr_oracle"])
        made.caption = "mixture {:.2f}, oracle mask of the first row {:.2f}".format(*bounds)
    return made


def base_of(name: str) -> str:
    """Return the row that a row is compared with."""
    for base in ("modern", "paper"):
        if name.startswith(base) and name != base:
            return base
    return "modern" if name == "paper" else ""


def difference(row: dict[str, Any], base: dict[str, Any] | None) -> tuple[str, str]:
    """Return how far the row lies above its base in SDR on the same pairs, and the interval."""
    if base is None or row["pairs"] != base["pairs"]:
        return "", ""
    low, high = paired_interval(row["sdr_pairs"], base["sdr_pairs"], seed=0)
    return f"{row['sdr'] - base['sdr']:+.2f}", f"{low:+.2f} .. {high:+.2f}"


if __name__ == "__main__":
    sys.exit(main())
