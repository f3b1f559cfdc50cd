from __future__ import annotations

import errno
import os
import pickle
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipeline import work
from pipeline.extractors import audio, frames
from pipeline.failures import (
    ItemFailure,
    ProcessFailed,
    ProcessTimeout,
    ProgramMissing,
    WeightsMissing,
)
from pipeline.stages import resolve
from pipeline.work import provenance, run_item, stage_schema
from storage.errors import StoreNotWritable
from storage.records import ArraySpec, StageSchema, TimeBase
from storage.staging import read_staged


class Scripted:
    """An extractor that yields two rows and then does what the test says."""

    schema = StageSchema(arrays=(ArraySpec(name="x", dtype="float16"),))

    def __init__(self, act: Callable[[], Any]) -> None:
        self.act = act
        self.closed = False

    def time_base(self, inputs: Any) -> TimeBase:
        return TimeBase(0.0, 1.0)

    def extract(self, inputs: Any) -> Iterator[Any]:
        try:
            yield {"x": np.zeros(2, np.float16)}
            yield {"x": np.full(1, self.act(), np.float16)}
        finally:
            self.closed = True


@pytest.fixture
def job(clips: Any, laboratory: Any) -> Any:
    """A frames job of an ordinary clip whose probe is done."""
    item = laboratory.add(clips.tone(seconds=2.0))
    stages = resolve({"frames": work_default("frames")})
    laboratory.run_stage(stages["probe"], [item])
    return laboratory.job(stages["frames"], item)


def work_default(name: str) -> Any:
    from pipeline.stages import STAGES

    return STAGES[name].default


def act_as(monkeypatch: pytest.MonkeyPatch, act: Callable[[], Any]) -> Scripted:
    scripted = Scripted(act)
    monkeypatch.setattr(work, "_EXTRACTORS", {})
    monkeypatch.setattr(frames, "build", lambda stage: scripted)
    return scripted


def raising(error: BaseException) -> Callable[[], Any]:
    def act() -> Any:
        raise error

    return act


@pytest.mark.parametrize(
    "error, reason",
    [
        (ItemFailure("corrupt", "why"), "corrupt"),
        (ProcessFailed("ffmpeg", 1, "tail"), "corrupt"),
        (ProcessTimeout("ffmpeg", 3.0), "timeout"),
        (MemoryError(), "out_of_memory"),
        (OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)), "disk_full"),
        (OSError(errno.EIO, os.strerror(errno.EIO)), "crash"),
        (ZeroDivisionError("of no account"), "crash"),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: 5 bytes"), "out_of_memory"),
    ],
)
def test_an_exception_becomes_a_typed_outcome(
    job: Any, monkeypatch: pytest.MonkeyPatch, error: Exception, reason: str
) -> None:
    scripted = act_as(monkeypatch, raising(error))
    outcome = run_item(job)
    assert outcome.reason == reason
    assert scripted.closed
    staged = read_staged(Path(job.staged_path))
    assert staged.outcome == outcome
    assert staged.length == 0
    assert staged.media_sha256 == job.media.sha256
    if reason == "crash":
        assert "Traceback" in outcome.detail
        assert type(error).__name__ in outcome.detail


def test_a_value_that_float16_cannot_hold_names_the_array(
    job: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    act_as(monkeypatch, lambda: np.inf)
    outcome = run_item(job)
    assert outcome.reason == "value_overflow"
    assert "'x'" in outcome.detail


@pytest.mark.parametrize(
    "error",
    [ProgramMissing("ffmpeg"), WeightsMissing("gone"), StoreNotWritable("ro"), KeyboardInterrupt()],
)
def test_what_would_fail_every_item_stops_the_run(
    job: Any, monkeypatch: pytest.MonkeyPatch, error: BaseException
) -> None:
    act_as(monkeypatch, raising(error))
    with pytest.raises(type(error)):
        run_item(job)
    assert not Path(job.staged_path).exists()


def test_ffmpeg_missing_stops_the_run(job: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(ProgramMissing, match="apt-get install ffmpeg"):
        run_item(job)


def test_a_time_limit_is_a_transient_outcome(job: Any) -> None:
    outcome = run_item(replace(job, timeout_s=0.001))
    assert (outcome.reason, outcome.transient) == ("timeout", True)


def test_a_good_item_is_staged_with_its_rows(job: Any) -> None:
    outcome = run_item(job)
    assert outcome.ok
    staged = read_staged(Path(job.staged_path))
    assert staged.length in (16, 17)
    assert staged.time_base == TimeBase(0.0, 0.125)
    assert len(pickle.dumps(job)) < 4000
    assert len(pickle.dumps(outcome)) < 500


def test_two_runs_stage_equal_bytes(job: Any) -> None:
    run_item(job)
    first = Path(job.staged_path).read_bytes()
    run_item(job)
    assert Path(job.staged_path).read_bytes() == first


def test_what_an_upstream_stage_lacks_is_said(clips: Any, laboratory: Any) -> None:
    mute = laboratory.add(clips.numbered("mute.mp4", count=25))
    done = laboratory.run(["frames", "stft"], [mute])
    reasons = {stage: outcomes[mute].reason for stage, outcomes in done.items()}
    assert reasons == {
        "probe": "ok",
        "frames": "ok",
        "audio_11025": "no_audio",
        "stft": "upstream:audio_11025",
    }
    assert "no_audio" in done["stft"][mute].detail


def test_a_stage_that_never_ran_is_upstream(clips: Any, laboratory: Any) -> None:
    item = laboratory.add(clips.tone(seconds=2.0))
    outcome = run_item(laboratory.job(resolve({"stft": work_default("stft")})["stft"], item))
    assert outcome.reason == "upstream:audio_11025"


def test_rows_of_other_media_are_not_used(clips: Any, laboratory: Any) -> None:
    item = laboratory.add(clips.tone(seconds=2.0))
    stages = resolve({"audio_11025": work_default("audio_11025")})
    laboratory.run_stage(stages["probe"], [item])
    laboratory.media[item] = replace(laboratory.media[item], sha256="f" * 64)
    outcome = run_item(laboratory.job(stages["audio_11025"], item))
    assert outcome.reason == "upstream:probe"
    assert "other media" in outcome.detail


def test_an_empty_and_a_vanished_file(laboratory: Any, tmp_path: Path) -> None:
    empty = tmp_path / "empty.mp4"
    empty.touch()
    items = [
        laboratory.link(empty, "lab/empty/whole"),
        laboratory.link(tmp_path / "gone.mp4", "lab/gone/whole"),
    ]
    done = laboratory.run(["frames"], items)
    assert [done["probe"][i].reason for i in items] == ["empty", "missing_file"]
    assert {done["frames"][i].reason for i in items} == {"upstream:probe"}


def test_an_extractor_is_built_once_per_process(job: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    built = []
    monkeypatch.setattr(work, "_EXTRACTORS", {})
    real = frames.build
    monkeypatch.setattr(frames, "build", lambda stage: built.append(stage) or real(stage))
    run_item(job)
    run_item(job)
    assert len(built) == 1


def test_an_extractor_that_reads_what_it_does_not_declare_is_told(
    job: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Greedy(Scripted):
        def extract(self, inputs: Any) -> Iterator[Any]:
            yield {"x": inputs.rows("audio_16000")}

    monkeypatch.setattr(work, "_EXTRACTORS", {})
    monkeypatch.setattr(frames, "build", lambda stage: Greedy(lambda: 0))
    outcome = run_item(job)
    assert outcome.reason == "crash"
    assert "does not list" in outcome.detail


def test_schema_without_an_item() -> None:
    stages = resolve({"audio_16000": work_default("audio_16000")})
    assert stage_schema(stages["audio_16000"]) == audio.SCHEMA


def test_provenance_names_versions_and_device() -> None:
    found = provenance("cuda")
    assert {"python", "numpy", "ffmpeg", "device", "torch"} <= set(found)
    assert found["numpy"] == np.__version__
    assert found["device"] == "cuda"
    assert all(isinstance(value, str) for value in found.values())


HANGS = """
import sys, time
import pipeline.work as work
work.GRACE_S, work.run_item = 0.2, lambda job: time.sleep(30)
class Job:
    timeout_s = 0.1
work.run_watched(Job())
"""


def test_a_worker_that_hangs_beyond_its_limit_says_where_and_ends() -> None:
    done = subprocess.run(
        [sys.executable, "-c", HANGS],
        capture_output=True,
        text=True,
        cwd=Path(__file__).parents[2],
        timeout=60,
        check=False,
    )
    assert done.returncode == 1
    assert "Timeout" in done.stderr
    assert "run_watched" in done.stderr
