"""Peak memory of a worker, stage by stage, on a one-minute and a ten-minute video.

    python -m bench.memory [--short-s 60] [--long-s 600] [--stages frames stft ...]

Each cell is the peak RSS of a process of its own that runs the stage (with what is upstream of it
already stored). The last line is the way of the usual extraction scripts, for comparison: every
picture of the video decoded into one list with OpenCV.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

import ffmpeg
from rich.console import Console
from rich.table import Table

from storage.fingerprint import sha256_file

ROOT = Path(__file__).resolve().parents[1]
STAGES = (
    "probe",
    "frames",
    "audio_11025",
    "audio_16000",
    "stft",
    "vggish",
    "resnet152",
    "r2plus1d",
    "pose",
)
ITEM = "lab/clip/whole"

WORKER = """
import json, resource, sys
from pathlib import Path
from pipeline.media import MediaRef
from pipeline.stages import STAGES, resolve
from pipeline.work import ItemJob, run_item, stage_schema
from storage.layout import open_store
from storage.plan import extend_plan
from storage.shard_writer import write_shard

root, path, digest, name, item = sys.argv[1:]
layout = open_store(root, create=True)
extend_plan(layout, "lab", [(item, 1e6)])
configs = {name: STAGES[name].default}
if name == "resnet152":
    from dataclasses import replace
    configs[name] = replace(configs[name], sampling="sparse")
stage = resolve(configs)[name]
staged = str(layout.staged_item(stage.record.name, "lab", 0, item))
outcome = run_item(ItemJob(
    stage=stage, media=MediaRef(item_id=item, path=path, sha256=digest),
    store_root=root, staged_path=staged, device="cpu", alone=True))
if not outcome.ok:
    raise SystemExit(f"{name}: {outcome}")
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
write_shard(layout, stage.record, "lab", 0, [item], provenance={},
            schema=stage_schema(stage, root))
print(json.dumps(peak))
"""

SCRIPT = """
import json, resource, sys, cv2
capture, pictures = cv2.VideoCapture(sys.argv[1]), []
while True:
    ok, picture = capture.read()
    if not ok:
        break
    pictures.append(picture)
print(json.dumps(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss))
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--short-s", type=int, default=60)
    parser.add_argument("--long-s", type=int, default=600)
    parser.add_argument("--stages", nargs="+", default=STAGES, choices=STAGES)
    arguments = parser.parse_args()
    table = Table("stage", f"{arguments.short_s} s, MB", f"{arguments.long_s} s, MB", "ratio")
    with tempfile.TemporaryDirectory(prefix="bench-memory-") as folder:
        clips = [
            make_clip(Path(folder), seconds) for seconds in (arguments.short_s, arguments.long_s)
        ]
        for stage in [s for s in STAGES if s in with_upstream(arguments.stages)]:
            table.add_row(stage, *cells([stage_peak(Path(folder), clip, stage) for clip in clips]))
        table.add_row(
            "script: all pictures in a list", *cells([peak(SCRIPT, clip) for clip in clips])
        )
    Console(width=100).print(table)


def with_upstream(stages: list[str]) -> set[str]:
    from pipeline.stages import upstream_closure

    return set(upstream_closure(set(stages)))


def make_clip(folder: Path, seconds: int) -> Path:
    """Write moving patterns and a swept tone at 320x240 and 12.5 pictures a second."""
    path = folder / f"{seconds}.mp4"
    video = f"testsrc2=size=320x240:rate=12.5:duration={seconds}"
    audio = f"aevalsrc=0.3*sin(2*PI*t*(200+50*sin(t))):duration={seconds}:sample_rate=44100"
    made = ffmpeg.output(
        ffmpeg.input(video, format="lavfi"),
        ffmpeg.input(audio, format="lavfi"),
        str(path),
        vcodec="libx264",
        preset="ultrafast",
        acodec="aac",
    )
    made.global_args("-v", "error").run()
    return path


def stage_peak(folder: Path, clip: Path, stage: str) -> int:
    return peak(WORKER, folder / f"store-{clip.stem}", clip, sha256_file(clip), stage, ITEM)


def peak(code: str, *arguments: object) -> int:
    """Return the peak RSS in KiB that a process of its own reports.

    The kernel counts the memory of the process that started it, too, so this one stays small.
    """
    done = subprocess.run(
        [sys.executable, "-c", code, *map(str, arguments)],
        capture_output=True,
        text=True,
        cwd=ROOT,
        check=False,
    )
    if done.returncode:
        raise SystemExit(done.stderr)
    return int(json.loads(done.stdout.splitlines()[-1]))


def cells(peaks: list[int]) -> list[str]:
    short, long = peaks
    return [f"{short / 1024:.0f}", f"{long / 1024:.0f}", f"{long / short:.2f}"]


if __name__ == "__main__":
    main()
