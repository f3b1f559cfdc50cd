"""AVVP's speed: the metric over LLP's 1 200 test videos, and HAN's epoch, against plain ones.

    python -m bench.parsing [--videos 1200] [--clips 320] [--json]

Both levels are computed, as an evaluation does. `metric_s` is ours, `metric_original_s` the plain
loops' (`bench.parsing_metric`), on the same made-up events and with the same figures.

`speedup_epoch` is how many times faster HAN's epoch is in bfloat16, and `speedup_epoch_float32` in
float32, than the original way at the same batch of 16 (`bench.parsing_epoch`); seconds are for
1 000 clips. `--clips 0` leaves it out.
"""

from __future__ import annotations

import argparse
import json

from rich.console import Console
from rich.table import Table

from bench import parsing_epoch, parsing_metric


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--videos", type=int, default=parsing_metric.VIDEOS)
    parser.add_argument("--clips", type=int, default=parsing_epoch.ITEMS)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    found = parsing_metric.measure(arguments.videos)
    if arguments.clips:
        found |= parsing_epoch.measure(arguments.clips)
    if arguments.json:
        print(json.dumps(found))
        return
    table = Table("", "value")
    for name, value in found.items():
        table.add_row(name, f"{value:.4g}")
    Console(width=100).print(table)


if __name__ == "__main__":
    main()
