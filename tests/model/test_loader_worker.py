"""What a loader's worker frees goes back to the system."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

GROWTH = """
import json, sys
import psutil
from model.train.loader_worker import return_freed_memory

if sys.argv[1] == "yes":
    return_freed_memory()
before = psutil.Process().memory_info().rss
for _ in range(3):  # freed blocks of this size raise glibc's own limit
    blocks = [bytearray(b"x" * (1 << 20)) for _ in range(60)]
    pins = [bytearray(b"x" * 5000) for _ in range(60)]
    kept, blocks = blocks[::6], None
print(json.dumps((psutil.Process().memory_info().rss - before) >> 20))
"""


def growth_mib(tuned: str) -> int:
    done = subprocess.run(
        [sys.executable, "-c", GROWTH, tuned], capture_output=True, text=True, check=True
    )
    return json.loads(done.stdout)


def test_a_worker_holds_no_more_than_what_is_in_use() -> None:
    assert growth_mib("yes") <= 12  # ten blocks of 1 MiB are in use


def test_without_it_the_heap_keeps_more() -> None:
    if sys.platform != "linux":
        pytest.skip("glibc's malloc only")
    assert growth_mib("no") > growth_mib("yes") + 5
