"""A folder and a size in, the built-in dataset out: made on the spot, nothing is downloaded.

Music (solos and duets of synthetic performers, for TriBERT) and event clips (for AVVP), both laid
out as any folder of videos with its lists, and read as one.
"""

from __future__ import annotations

import csv
import io
import logging
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

from pipeline.datasets.base import Dataset, SourceItem
from pipeline.datasets.classes import LLP, order_classes
from pipeline.datasets.folder import read_folder
from pipeline.datasets.labels import EVENTS_FILE, LABELS_FILE
from pipeline.demo.plan import DemoPlan, plan_demo
from storage.atomic import publish_file, publish_json, sweep_temp
from storage.fingerprint import sha256_json

logger = logging.getLogger(__name__)

FINISHED_FILE = "finished.json"
_DATASET = {"demo": "demo", "micro": "demo-micro"}


def make_demo(folder: Path, *, size: str = "demo", seed: int = 0, jobs: int = 2) -> Dataset:
    """Return the demo dataset, making below `folder` what is not there yet.

    The clips lie in `folder/<size>-<digest>`, where the digest covers everything that they depend
    on; a finished one is only read. Killed at any moment, a later call goes on with the next clip.

    Parameters
    ----------
    size
        'demo': 72 music clips of about 11 s and 53 event clips of 10 s. 'micro': 10 and 8 short
        ones, for tests.
    jobs
        Processes that make clips at the same time.

    Raises
    ------
    ValueError
        Another size.
    ProgramMissing, ProcessFailed
        ffmpeg is missing or fails.
    """
    plan = plan_demo(size, seed)
    home = folder / f"{size}-{sha256_json(plan.as_json())[:12]}"
    if not (home / FINISHED_FILE).is_file():
        _make(home, plan, seed=seed, jobs=jobs)
    name = _DATASET[size]
    music = read_folder(home / "music", source=f"{name}-music")
    llp = read_folder(home / "llp", source=f"{name}-llp")
    return Dataset(
        name=name,
        items=(*serving("tribert", music.items), *serving("avvp", llp.items)),
        classes=(*order_classes(music.classes), *LLP),
        notes=("synthetic clips made by this package: figures show that it works, nothing else",),
        preset={"pose": {"backend": "alphapose-json"}, "resnet152": {"sampling": "sparse"}},
    )


def serving(recipe: str, items: Iterable[SourceItem]) -> Iterable[SourceItem]:
    """Yield `items`, each marked as serving `recipe` alone."""
    return (replace(s, item=replace(s.item, tasks=(recipe,))) for s in items)


def _make(home: Path, plan: DemoPlan, *, seed: int, jobs: int) -> None:
    from pipeline.demo.make import make_clips  # draws and encodes: OpenCV and ffmpeg

    logger.info("making %d demo clips in %s", len(plan.music) + len(plan.llp), home)
    for part in ("music", "llp"):
        (home / part).mkdir(parents=True, exist_ok=True)
    make_clips(home, size=plan.size, seed=seed, jobs=jobs)
    music = [[f"{clip.name}.mp4", ";".join(clip.instruments), clip.split] for clip in plan.music]
    llp = [[f"{clip.name}.mp4", ";".join(clip.labels), clip.split] for clip in plan.llp]
    events = [
        [f"{clip.name}.mp4", e.modality, e.label, e.onset_s, e.offset_s]
        for clip in plan.llp
        for e in clip.events
        if clip.dense
    ]
    labels = ["file", "labels", "split"]
    publish_csv(home / "music" / LABELS_FILE, [labels, *music])
    publish_csv(home / "llp" / LABELS_FILE, [labels, *llp])
    columns = ["file", "modality", "label", "onset_s", "offset_s"]
    publish_csv(home / "llp" / EVENTS_FILE, [columns, *events])
    for part in ("music", "llp"):
        sweep_temp(home / part, 0)
    publish_json(home / FINISHED_FILE, plan.as_json())


def publish_csv(path: Path, rows: Sequence[Sequence[object]]) -> None:
    """Publish a CSV file whole, with `rows` as its lines, unless it is there."""
    text = io.StringIO(newline="")
    csv.writer(text, lineterminator="\n").writerows(rows)

    def write(draft: Path) -> None:
        draft.write_text(text.getvalue(), encoding="utf-8")

    publish_file(path, write)
