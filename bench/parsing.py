"""AVVP's speed: the metric over LLP's 1 200 test videos, against one that loops over them.

    python -m bench.parsing [--videos 1200] [--json]

Both levels are computed, as an evaluation does. `metric_s` is ours, `metric_original_s` the plain
loops' (`bench.parsing_metric`), on the same made-up events and with the same figures.
"""

from __future__ import annotations

import argparse
import json

from rich.console import Console
from rich.table import Table

from bench import parsing_metric


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--videos", type=int, default=parsing_metric.VIDEOS)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    found = parsing_metric.measure(arguments.videos)
    if arguments.json:
        print(json.dumps(found))
        return
    table = Table("", "value")
    for name, value in found.items():
        table.add_row(name, f"{value:.4g}")
    Console(width=100).print(table)


if __name__ == "__main__":
    main()
