"""Fixtures for every package: synthetic clips, a store to run stages in, the shared files."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

if "PYTEST_XDIST_WORKER" in os.environ:  # before torch: threads of two workers would fight
    os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import pytest
from runs import Workspace
from scipy.io import wavfile

from pipeline.fetch import import_file
from pipeline.media import MediaRef
from pipeline.stages import ResolvedStage, resolve
from pipeline.work import ItemJob, run_item, stage_schema
from storage.layout import Layout, open_store
from storage.plan import extend_plan, read_plan
from storage.records import Outcome
from storage.shard_writer import write_shard
from storage.store import FeatureStore

SHARED = Path(__file__).parents[1].parent / "shared"
NUMBER_BITS = 12
BLOCK_PX = 16


def pytest_itemcollected(item: pytest.Item) -> None:
    """Keep a file's tests, and all tests of the one micro run, on one worker."""
    of_run = isinstance(item, pytest.Function) and "micro" in item.fixturenames
    item.add_marker(pytest.mark.xdist_group("micro" if of_run else str(item.path)))


@pytest.fixture(scope="session")
def shared_dir() -> Path:
    """The folder of reference files beside the repository; skips where there is none."""
    if not SHARED.is_dir():
        pytest.skip(f"no reference files in {SHARED}")
    return SHARED


@pytest.fixture(scope="session")
def micro(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """A workspace in which the micro demo has run once, undisturbed, with every recipe."""
    workspace = Workspace(tmp_path_factory.mktemp("micro"))
    done = workspace.luigi("--dataset", "demo:micro")
    if done.returncode:
        pytest.fail(done.stderr)
    return workspace


@pytest.fixture(scope="session")
def ffmpeg_program() -> str:
    found = shutil.which("ffmpeg")
    if found is None:
        pytest.fail("these tests need ffmpeg on the PATH")
    return found


def call_ffmpeg(*arguments: str, stdin: bytes | None = None) -> None:
    subprocess.run(
        ["ffmpeg", "-hide_banner", "-loglevel", "error", "-y", *arguments],
        input=stdin,
        stdin=None if stdin is not None else subprocess.DEVNULL,
        check=True,
        timeout=120,
    )


def numbered_pictures(count: int, width: int = 192, height: int = 96) -> np.ndarray:
    """Pictures, uint8 (count, height, width, 3), that carry their number in blocks: bits."""
    pictures = np.full((count, height, width, 3), 128, np.uint8)
    for number in range(count):
        for bit in range(NUMBER_BITS):
            value = 255 if number >> bit & 1 else 0
            pictures[number, :BLOCK_PX, bit * BLOCK_PX : (bit + 1) * BLOCK_PX] = value
    return pictures


def number_of(picture: np.ndarray, width: int = 192) -> int:
    """The number that a picture carries, whatever it was scaled to."""
    scale = picture.shape[1] / width
    centre = round(BLOCK_PX * scale / 2)
    columns = [round((bit + 0.5) * BLOCK_PX * scale) for bit in range(NUMBER_BITS)]
    return sum(1 << bit for bit, x in enumerate(columns) if picture[centre, x].mean() > 128)


@dataclass
class ClipMaker:
    """Makes synthetic clips in a folder, each name and content once."""

    folder: Path
    made: set[Path] = field(default_factory=set)

    def _once(self, name: str, content: tuple[object, ...], make: Callable[[Path], None]) -> Path:
        digest = hashlib.sha256(repr(content).encode()).hexdigest()[:8]
        path = self.folder / digest / name
        if path not in self.made:
            path.parent.mkdir(exist_ok=True)
            make(path)
            self.made.add(path)
        return path

    def tone(
        self,
        name: str = "tone.mp4",
        *,
        seconds: float = 2.0,
        size: str = "320x240",
        fps: float = 25.0,
        hz: int = 440,
        codecs: Sequence[str] = ("-c:v", "libx264", "-preset", "ultrafast", "-c:a", "aac"),
    ) -> Path:
        """A moving test picture and a tone."""

        def make(path: Path) -> None:
            call_ffmpeg(
                *("-f", "lavfi", "-i", f"testsrc2=s={size}:r={fps}:d={seconds}"),
                *("-f", "lavfi", "-i", f"sine=f={hz}:r=44100:d={seconds}"),
                *("-pix_fmt", "yuv420p", *codecs, str(path)),
            )

        return self._once(name, (seconds, size, fps, hz, *codecs), make)

    def numbered(
        self,
        name: str,
        *,
        count: int,
        fps: float = 25.0,
        times_s: Sequence[float] | None = None,
        extra: Sequence[str] = (),
    ) -> Path:
        """Numbered pictures, no sound, at a constant rate or at given times."""

        def make(path: Path) -> None:
            timing: tuple[str, ...] = ()
            if times_s is not None:
                steps = "+".join(f"eq(N,{n})*{t:.6f}" for n, t in enumerate(times_s))
                timing = ("-vf", f"settb=1/90000,setpts='({steps})/TB'", "-fps_mode", "passthrough")
                timing += ("-enc_time_base", "1:90000")
            call_ffmpeg(
                *("-f", "rawvideo", "-pix_fmt", "rgb24", "-s", "192x96", "-r", f"{fps}"),
                *("-i", "pipe:", *timing, "-pix_fmt", "yuv420p", "-c:v", "libx264"),
                *("-preset", "ultrafast", "-crf", "12", *extra, str(path)),
                stdin=numbered_pictures(count).tobytes(),
            )

        return self._once(name, (count, fps, times_s and tuple(times_s), *extra), make)

    def lossless(
        self, name: str, pictures: np.ndarray, fps: float, sound: np.ndarray, rate_hz: int
    ) -> Path:
        """Exactly these pictures, uint8 (n, height, width, 3), and samples, int16 (n,)."""
        wav = self.folder / f"{name}.wav"
        wavfile.write(wav, rate_hz, sound)

        def make(path: Path) -> None:
            size = f"{pictures.shape[2]}x{pictures.shape[1]}"
            call_ffmpeg(
                *("-f", "rawvideo", "-pix_fmt", "rgb24", "-s", size, "-r", f"{fps}"),
                *("-i", "pipe:", "-i", str(wav), "-c:v", "ffv1", "-pix_fmt", "bgr0"),
                *("-c:a", "pcm_s16le", str(path)),
                stdin=pictures.tobytes(),
            )

        return self._once(name, (pictures.tobytes(), fps, sound.tobytes(), rate_hz), make)

    def ffmpeg(self, name: str, *arguments: str) -> Path:
        """Whatever ffmpeg makes of these arguments."""
        return self._once(name, arguments, lambda path: call_ffmpeg(*arguments, str(path)))


@pytest.fixture(scope="session")
def clips(ffmpeg_program: str, tmp_path_factory: pytest.TempPathFactory) -> ClipMaker:
    """Makes synthetic clips, each once a session."""
    return ClipMaker(tmp_path_factory.mktemp("clips"))


@pytest.fixture(scope="session")
def read_number() -> Callable[[np.ndarray], int]:
    """Reads the number off a picture of `ClipMaker.numbered`."""
    return number_of


@pytest.fixture
def sound_decodes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[], list[str]]:
    """Gives the decodes of sound so far: the log of an ffmpeg on the PATH that keeps one."""
    log, folder = tmp_path / "calls", tmp_path / "bin"
    folder.mkdir()
    program = folder / "ffmpeg"
    program.write_text(f'#!/bin/sh\necho "$@" >> {log}\nexec {shutil.which("ffmpeg")} "$@"\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:{Path('/usr/bin')}:/bin")

    def calls() -> list[str]:
        lines = log.read_text().splitlines() if log.exists() else []
        return [line for line in lines if "aresample" in line]

    return calls


class Laboratory:
    """A store in which stages are run on files, one shard a call."""

    def __init__(self, root: Path) -> None:
        self.layout: Layout = open_store(root, create=True)
        self.store = FeatureStore(root)
        self.media: dict[str, MediaRef] = {}

    def add(
        self, path: Path, item_id: str | None = None, *, sidecars: Mapping[str, Path] | None = None
    ) -> str:
        """Import a file and return its item id."""
        item_id = item_id or f"lab/clip{len(self.media):03d}/whole"
        event = import_file(self.layout, item_id, path, sidecars, mode="copy")
        assert event.reason == "ok", event
        self.media[item_id] = MediaRef(
            item_id=item_id,
            path=str(self.layout.root / event.media),
            sha256=event.sha256,
            sidecars={k: str(self.layout.root / v["path"]) for k, v in event.sidecars.items()},
            sidecar_sha256={k: v["sha256"] for k, v in event.sidecars.items()},
        )
        return item_id

    def link(self, path: Path, item_id: str) -> str:
        """Take a file as it is, without an import."""
        self.media[item_id] = MediaRef(item_id=item_id, path=str(path), sha256=f"{item_id:0>64}")
        return item_id

    def run(
        self, stages: Mapping[str, Any] | Sequence[str], items: Sequence[str], **options: Any
    ) -> dict[str, dict[str, Outcome]]:
        """Run stages and all that they read on items; return outcomes by stage and item."""
        configs = stages if isinstance(stages, Mapping) else default_settings(stages)
        resolved = resolve(configs, **options)
        return {name: self.run_stage(stage, items) for name, stage in resolved.items()}

    def run_stage(self, stage: ResolvedStage, items: Sequence[str]) -> dict[str, Outcome]:
        """Run one stage on items and publish the shard; nothing is done twice."""
        name = stage.record.name
        source = items[0].partition("/")[0]
        extend_plan(self.layout, source, [(item, 1e6) for item in items])
        for shard in read_plan(self.layout, source):
            done = self.layout.shard(name, source, shard.number).exists()
            if done or not set(shard.item_ids) & set(items):
                continue
            for item in shard.item_ids:
                run_item(self.job(stage, item, shard.number))
            write_shard(
                self.layout,
                stage.record,
                source,
                shard.number,
                shard.item_ids,
                provenance={},
                schema=stage_schema(stage, str(self.layout.root)),
            )
        self.store.refresh()
        outcomes = self.store.outcomes(name)
        return {item: outcomes[item] for item in items}

    def job(self, stage: ResolvedStage, item: str, number: int = 0, **more: Any) -> ItemJob:
        """The job of one item."""
        source = item.partition("/")[0]
        staged = self.layout.staged_item(stage.record.name, source, number, item)
        options: dict[str, Any] = {"staged_path": str(staged), "device": "cpu"} | more
        return ItemJob(
            stage=stage, media=self.media[item], store_root=str(self.layout.root), **options
        )


def default_settings(names: Sequence[str]) -> dict[str, Any]:
    from pipeline.stages import STAGES

    return {name: STAGES[name].default for name in names}


@pytest.fixture
def laboratory(tmp_path: Path) -> Laboratory:
    """An empty store in which stages can be run on files."""
    return Laboratory(tmp_path / "store")


@pytest.fixture(scope="session")
def make_laboratory() -> Callable[[Path], Laboratory]:
    """Makes such a store in a folder of the test's choice."""
    return Laboratory
