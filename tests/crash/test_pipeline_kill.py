"""The whole pipeline killed at random moments and started again leaves what a calm run leaves.

`SOUNDSTAGE_KILLS` sets how often; the default keeps the test short.
"""

from __future__ import annotations

import hashlib
import json
import os
import random
import signal
import time
from pathlib import Path

import pytest
from runs import Workspace

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]
KILLS = int(os.environ.get("SOUNDSTAGE_KILLS", "2"))
LONGEST_S = 25.0


def shard_digests(workspace: Workspace) -> dict[str, str]:
    return {
        str(path.relative_to(workspace.store)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in workspace.store.glob("stages/**/*.h5")
    }


def test_killed_runs_leave_a_whole_store(micro: Workspace, tmp_path: Path) -> None:
    rng = random.Random(int(os.environ.get("SOUNDSTAGE_KILL_SEED", "0")))
    killed = Workspace(tmp_path / "killed")
    for kill in range(KILLS):
        process = killed.start("--dataset", "demo:micro")
        time.sleep(rng.uniform(0.5, LONGEST_S))
        if kill % 2:
            os.killpg(process.pid, signal.SIGKILL)
        else:
            process.kill()
        process.wait()
        assert killed.left_processes() == []
    done = killed.luigi("--dataset", "demo:micro")
    assert done.returncode == 0, done.stderr
    assert killed.left_processes() == []
    assert json.loads(killed.soundstage("verify", "--json").stdout)["problems"] == []
    left, calm = shard_digests(killed), shard_digests(micro)
    assert len(left) > 10
    assert left == {name: calm.get(name) for name in left}
