"""Items made in a thread while earlier ones are used: an iterator flows in, its items flow out."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

T = TypeVar("T")
_END: Any = object()
THREAD_NAME = "ahead"


def ahead(items: Iterator[T], depth: int = 2) -> Iterator[T]:
    """Yield the items of an iterator in order, at most `depth` of them made before they are asked.

    What the iterator raises is raised here, in its place. When this generator is closed, the thread
    ends behind the item that it is making.
    """
    pool = ThreadPoolExecutor(1, thread_name_prefix=THREAD_NAME)
    try:
        waiting = deque(pool.submit(next, items, _END) for _ in range(depth))
        while (item := waiting.popleft().result()) is not _END:
            waiting.append(pool.submit(next, items, _END))
            yield item
    finally:
        pool.shutdown(cancel_futures=True)
