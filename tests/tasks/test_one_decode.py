"""The tasks of both sound stages in one run: one decode a clip."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from storage import FeatureStore

RUN = """
import sys
import luigi
from tasks import cluster
from tasks.context import load_context
from tasks.features import Ingest, StageShard

def main():
    cluster.prepare()
    run = {"dataset": sys.argv[1], "recipe": "features"}
    assert luigi.build([Ingest(**run)], local_scheduler=True)
    run |= {"source": load_context(*run.values()).sources[0], "number": 0}
    stages = ("audio_16000", "audio_11025")
    assert luigi.build([StageShard(stage=s, **run) for s in stages], local_scheduler=True)

if __name__ == "__main__":
    main()
"""


def test_both_stages_of_a_run_decode_once(
    clips: Any, tmp_path: Path, sound_decodes: Callable[[], list[str]]
) -> None:
    videos = tmp_path / "videos"
    videos.mkdir()
    for seconds in (1.5, 2.0):
        shutil.copy(clips.tone(seconds=seconds), videos / f"{seconds}.mp4")
    (tmp_path / "luigi.cfg").write_text("[soundstage]\nworkers = 1\n")
    (tmp_path / "run.py").write_text(RUN)
    done = subprocess.run(
        [sys.executable, "run.py", f"folder:{videos}"],
        cwd=tmp_path,
        env={k: v for k, v in os.environ.items() if not k.startswith("PYTEST")},
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    both = [call for call in sound_decodes() if "=11025" in call and "=16000" in call]
    assert len(both) == 2
    assert len(sound_decodes()) == 4, "probe hears each clip up to the first audible sample"
    store = FeatureStore(tmp_path / "store")
    found = {
        path.name.rpartition("-")[0]: path.name for path in (store.layout.root / "stages").iterdir()
    }
    assert set(found) == {"probe", "audio_11025", "audio_16000"}
    for name, rate_hz in (("audio_11025", 11025), ("audio_16000", 16000)):
        items = store.items(found[name])
        lengths_s = sorted(store.length(found[name], item) / rate_hz for item in items)
        assert [round(seconds, 1) for seconds in lengths_s] == [1.5, 2.0]
    assert not list((store.layout.root / "staging").rglob("*.h5"))
