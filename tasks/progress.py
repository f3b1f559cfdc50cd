"""What a run says while it works: a bar on a terminal, one line a shard elsewhere."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from typing import TypeVar

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

T = TypeVar("T")
_CONSOLE = Console(stderr=True, highlight=False)


def announce(what: str, text: str) -> None:
    """Print one line: what was done, and how it went."""
    _CONSOLE.print(f"[bold]{escape(what)}[/bold]: {escape(text)}", soft_wrap=True)


def track(values: Iterable[T], title: str, total: int) -> Iterator[T]:
    """Yield `values`, with a progress bar on a terminal."""
    if not sys.stderr.isatty():
        yield from values
        return
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=_CONSOLE, transient=True) as progress:
        task = progress.add_task(title, total=total)
        for value in values:
            progress.advance(task)
            yield value
