"""Clips a minute through ResNet-152, R(2+1)D-18 and VGGish, against a straightforward script.

    python -m bench.extract [--clips 6] [--rounds 3] [--json]

Both sides get the same ten-second clips (640x360, 25 pictures a second, H.264 and AAC), the same
networks with random weights, and two cores. The script works as the published extraction scripts
do: `ffmpeg -r 8` to JPEG files, Pillow, float32, one clip at a time and one batch a clip, two torch
threads. Ours goes through the stages into shards, two workers of one thread, in float32 and in
bfloat16. Networks are loaded before the clock starts. Times are medians over the rounds.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import resource
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import ffmpeg
from rich.console import Console
from rich.table import Table

from bench.decode import measure as measure_decode
from bench.extract_script import Script
from bench.extract_workers import prepare, run_stage
from bench.gpu_use import GpuUse
from pipeline.media import MediaRef
from pipeline.stages import STAGES, ResolvedStage, resolve, upstream_closure
from pipeline.work import ItemJob, provenance, stage_schema
from storage.layout import Layout, open_store
from storage.plan import extend_plan
from storage.shard_writer import write_shard

NETWORKS = ("resnet152", "r2plus1d", "vggish")
SOURCE = "bench"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--clips", type=int, default=6)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--device", default="cpu", choices=["cpu", "cuda"])
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="bench-extract-") as folder:
        clips = [make_clip(Path(folder), number) for number in range(arguments.clips)]
        rows = measure(Path(folder), clips, arguments)
        decode = measure_decode(clips[0], repeats=3)["ours_vs_ffmpeg"]
    if arguments.json:
        print(json.dumps({**as_json(rows), "decode_vs_ffmpeg": decode}, indent=1))
    else:
        print_table(rows, arguments)
        print(f"decoding: {decode:.2f} of the speed of ffmpeg writing the same pictures to a pipe")


def measure(
    folder: Path, clips: Sequence[Path], given: argparse.Namespace
) -> dict[str, dict[str, Any]]:
    """Return for each way its seconds a clip, one value a round, and what else was seen."""
    ways: dict[str, Callable[[], dict[str, Any]]] = {
        "script, float32": ScriptWay(folder, clips, given.device),
        "stages, float32": StagesWay(folder, clips, "float32", given),
        "stages, bfloat16": StagesWay(folder, clips, "bfloat16", given),
    }
    found: dict[str, dict[str, Any]] = {name: {"clip_s": [], "parts": {}} for name in ways}
    for _ in range(given.rounds):
        for name, way in ways.items():
            result = way()
            found[name]["clip_s"].append(result.pop("clip_s"))
            found[name].update(result)
    return found


class ScriptWay:
    """The peer: one process, two threads."""

    def __init__(self, folder: Path, clips: Sequence[Path], device: str) -> None:
        self.folder, self.clips, self.device = folder, clips, device

    def __call__(self) -> dict[str, Any]:
        clips = [str(clip) for clip in self.clips]
        with ProcessPoolExecutor(1, get_context("spawn"), _threads, (2,)) as pool, GpuUse() as use:
            found = pool.submit(_script, str(self.folder), clips, self.device).result()
        return {**found, "gpu_use": use.mean()}


class StagesWay:
    """Ours: every stage of every clip through the workers, then shards."""

    def __init__(
        self, folder: Path, clips: Sequence[Path], precision: str, given: argparse.Namespace
    ) -> None:
        self.folder, self.clips, self.precision = folder, clips, precision
        self.workers, self.device = given.workers, given.device
        self.round = 0

    def __call__(self) -> dict[str, Any]:
        self.round += 1
        layout = open_store(self.folder / f"{self.precision}-{self.round}", create=True)
        names = upstream_closure(set(NETWORKS))
        configs = {n: STAGES[n].default for n in STAGES if n in names}
        stages = resolve(configs, precision=self.precision)
        return run_stages(layout, stages, self.clips, self.workers, self.device)


def run_stages(
    layout: Layout,
    stages: dict[str, ResolvedStage],
    clips: Sequence[Path],
    workers: int,
    device: str,
) -> dict[str, Any]:
    media = [
        MediaRef(
            item_id=f"{SOURCE}/{clip.stem}/whole",
            path=str(clip),
            sha256=hashlib.sha256(clip.read_bytes()).hexdigest(),
        )
        for clip in clips
    ]
    extend_plan(layout, SOURCE, [(m.item_id, 1e6) for m in media])
    parts: dict[str, float] = {}
    busy: dict[str, float | None] = {}
    with ProcessPoolExecutor(workers, get_context("spawn"), _threads, (1,)) as pool:
        loaded = [pool.submit(prepare, stages, workers, device) for _ in range(workers)]
        for each in loaded:
            each.result()
        began = time.perf_counter()
        for name, stage in stages.items():
            start = time.perf_counter()
            jobs = [job_of(layout, stage, m, device) for m in media]
            with GpuUse() as use:
                for outcome in pool.map(run_stage, jobs):
                    if not outcome.ok:
                        raise SystemExit(str(outcome))
            busy[name] = use.mean()
            ids = [m.item_id for m in media]
            schema = stage_schema(stage, str(layout.root))
            write_shard(
                layout, stage.record, SOURCE, 0, ids, provenance=provenance("cpu"), schema=schema
            )
            parts[name] = (time.perf_counter() - start) / len(clips)
        clip_s = (time.perf_counter() - began) / len(clips)
    peak_kib = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
    return {"clip_s": clip_s, "parts": parts, "peak_rss_mb": peak_kib / 1024, "gpu_use": busy}


def job_of(layout: Layout, stage: ResolvedStage, media: MediaRef, device: str = "cpu") -> ItemJob:
    staged = layout.staged_item(stage.record.name, SOURCE, 0, media.item_id)
    return ItemJob(
        stage=stage,
        media=media,
        store_root=str(layout.root),
        staged_path=str(staged),
        device=device,
    )


def _threads(count: int) -> None:
    """Set a worker's threads before it imports torch."""
    os.environ["OMP_NUM_THREADS"] = str(count)


def _script(folder: str, clips: list[str], device: str) -> dict[str, Any]:
    script = Script(Path(folder), device)
    began = time.perf_counter()
    parts: dict[str, float] = {}
    for clip in clips:
        for name, seconds in script.extract(Path(clip)).items():
            parts[name] = parts.get(name, 0.0) + seconds / len(clips)
    clip_s = (time.perf_counter() - began) / len(clips)
    peak_kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return {"clip_s": clip_s, "parts": parts, "peak_rss_mb": peak_kib / 1024}


def make_clip(folder: Path, number: int) -> Path:
    """Write ten seconds of moving patterns with noise, and a tone, at a web video's bit rate."""
    path = folder / f"clip{number}.mp4"
    picture = ffmpeg.input("testsrc2=size=640x360:rate=25:duration=10", f="lavfi")
    noisy = picture.filter("noise", alls=8, allf="t", all_seed=number)
    sound = ffmpeg.input(f"sine=frequency={300 + 50 * number}:duration=10", f="lavfi")
    coded = {"vcodec": "libx264", "preset": "fast", "video_bitrate": "700k", "acodec": "aac"}
    made = ffmpeg.output(noisy, sound, str(path), **coded)
    made.global_args("-v", "error").run()
    return path


def as_json(rows: dict[str, dict[str, Any]]) -> dict[str, Any]:
    median = {name: statistics.median(row["clip_s"]) for name, row in rows.items()}
    script = median["script, float32"]
    return {
        "speedup": script / median["stages, bfloat16"],
        "speedup_float32": script / median["stages, float32"],
        "clips_per_minute": {name: 60 / seconds for name, seconds in median.items()},
        "peak_rss_mb": {name: row["peak_rss_mb"] for name, row in rows.items()},
        "parts_s": {name: row["parts"] for name, row in rows.items()},
        "clip_s": {name: row["clip_s"] for name, row in rows.items()},
        "gpu_use": {name: row["gpu_use"] for name, row in rows.items()},
    }


def print_table(rows: dict[str, dict[str, Any]], arguments: argparse.Namespace) -> None:
    found = as_json(rows)
    table = Table(
        "way", "s a clip", "clips a minute", "times the script", "peak MB of a process", "parts, s"
    )
    script = statistics.median(rows["script, float32"]["clip_s"])
    for name, row in rows.items():
        median = statistics.median(row["clip_s"])
        parts = ", ".join(f"{part} {seconds:.2f}" for part, seconds in row["parts"].items())
        table.add_row(
            name,
            f"{median:.2f}",
            f"{found['clips_per_minute'][name]:.1f}",
            f"{script / median:.2f}",
            f"{row['peak_rss_mb']:.0f}",
            parts,
        )
    Console(width=140).print(table)
    print(
        f"{arguments.clips} clips of 10 s, median of {arguments.rounds} rounds, "
        f"{arguments.workers} workers, {arguments.device}"
    )


if __name__ == "__main__":
    main()
