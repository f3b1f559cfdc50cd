"""A worker's memory does not grow with the length of a video."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

WORKER = """
import json, resource, sys
from pipeline.media import MediaRef
from pipeline.stages import FramesConfig, StftConfig, resolve
from pipeline.work import ItemJob, run_item, stage_schema
from storage.layout import open_store
from storage.plan import extend_plan
from storage.shard_writer import write_shard

root, path = sys.argv[1:]
layout = open_store(root, create=True)
item = "lab/clip/whole"
media = MediaRef(item_id=item, path=path, sha256="0" * 64)
extend_plan(layout, "lab", [(item, 1e6)])
stages = resolve({"frames": FramesConfig(fps=8.0, short_side_px=96), "stft": StftConfig()})
peaks = {}
for name, stage in stages.items():
    staged = str(layout.staged_item(stage.record.name, "lab", 0, item))
    outcome = run_item(ItemJob(stage=stage, media=media, store_root=root, staged_path=staged))
    assert outcome.ok, outcome
    write_shard(layout, stage.record, "lab", 0, [item], provenance={}, schema=stage_schema(stage))
    peaks[name] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
print(json.dumps(peaks))
"""


def peak_kib(path: Path, root: Path) -> dict[str, int]:
    done = subprocess.run(
        [sys.executable, "-c", WORKER, str(root), str(path)],
        capture_output=True,
        text=True,
        cwd=Path(__file__).parents[2],
        timeout=250,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.slow
def test_ten_minutes_take_no_more_memory_than_one(clips: Any, tmp_path: Path) -> None:
    short, long = (
        peak_kib(
            clips.tone(f"{seconds}.mp4", seconds=seconds, size="96x64", fps=10.0),
            tmp_path / f"store{seconds}",
        )
        for seconds in (60, 600)
    )
    for stage, kib in long.items():
        assert kib < 1.1 * short[stage], f"{stage}: {short[stage]} KiB, then {kib} KiB"
