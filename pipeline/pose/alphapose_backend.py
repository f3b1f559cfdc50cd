"""Persons found by the user's own AlphaPose, in a process of its own that serves many videos.

Flows in: RGB pictures of our own decode. Flows out: for each a list of `Person`. The pictures are
handed over as files, a batch at a time, so that neither memory nor disk grows with the video and
their number is ours. AlphaPose is trusted with nothing else: it is killed with its process group at
a time limit and started anew, its exit code and its word are not believed, and what it wrote is
checked.
"""

from __future__ import annotations

import errno
import shutil
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count, islice
from pathlib import Path

import cv2
import numpy as np

from pipeline.extractors.base import Inputs
from pipeline.failures import ItemFailure, ProcessFailed, ProcessTimeout
from pipeline.helper import Helper
from pipeline.pose.alphapose_format import read_detections
from pipeline.pose.backends import BackendUnavailable, RowOfPersons
from pipeline.pose.config import AlphaposeConfig, PoseConfig
from pipeline.pose.person import Person
from pipeline.pose.pictures import pose_pictures

DRIVER = Path(__file__).with_name("alphapose_driver.py")
RESULTS = "alphapose-results.json"
BATCH_PICTURES = 128
_PNG = (cv2.IMWRITE_PNG_COMPRESSION, 1)


class AlphaposeBackend:
    """Starts AlphaPose at the first clip and keeps it; `close` ends it."""

    def __init__(self, parameters: PoseConfig) -> None:
        self._config = parameters.alphapose
        self._short_side_max_px = parameters.short_side_max_px
        self._joints = self._config.joints()
        self._helper: Helper | None = None
        self._jobs = count()

    def rows(self, inputs: Inputs, *, rate_hz: float) -> Iterator[RowOfPersons]:
        """Yield the persons of each picture of the clip.

        Raises
        ------
        ItemFailure
            'timeout' when AlphaPose takes too long for this clip, 'crash' when it ends, writes no
            result or an incomplete one.
        BackendUnavailable
            It does not start.
        """
        left_s = min(inputs.timeout_s, self._config.video_timeout_s)
        pictures = pose_pictures(inputs, rate_hz=rate_hz, short_side_max_px=self._short_side_max_px)
        for batch in _batches(pictures, inputs.scratch / "alphapose"):
            helper = self._running()
            started_s = time.monotonic()
            persons = self._look(helper, batch, left_s)
            left_s -= time.monotonic() - started_s
            for row in batch.rows:
                yield RowOfPersons(size_px=batch.size_px, persons=persons.get(row, []))

    def close(self) -> None:
        """End AlphaPose; it is started again when it is needed."""
        if self._helper is not None:
            self._helper.stop()
            self._helper = None

    def _running(self) -> Helper:
        """AlphaPose with its models loaded."""
        if self._helper is None:
            helper = Helper(driver_command(self._config))
            try:
                ready = helper.receive(timeout_s=self._config.start_timeout_s)
            except (ProcessFailed, ProcessTimeout) as error:
                root = self._config.folder()
                raise BackendUnavailable(
                    f"AlphaPose in {root} does not start: {error}\n"
                    f"To see what it lacks, run: soundstage doctor --alphapose {root}"
                ) from error
            if ready.get("joints") != self._joints:
                helper.stop()
                raise BackendUnavailable(
                    f"AlphaPose has {ready.get('joints')} joints, expected the {self._joints} of "
                    f"its configuration {self._config.config}"
                )
            self._helper = helper
        return self._helper

    def _look(self, helper: Helper, batch: _Batch, left_s: float) -> dict[int, list[Person]]:
        """{row: persons} of a batch; AlphaPose is ended when anything is wrong with it."""
        results = batch.folder.with_name("alphapose-results")
        results.mkdir()
        job = next(self._jobs)
        names = [_name(row) for row in batch.rows]
        try:
            helper.send(
                {"job": job, "pictures": str(batch.folder), "names": names, "results": str(results)}
            )
            answer = helper.receive(timeout_s=max(0.0, left_s))
            if answer != {"event": "done", "job": job}:
                raise ItemFailure("crash", f"AlphaPose answered {answer} to job {job}; {batch}")
            return _read(results / RESULTS, batch, self._joints)
        except (ProcessTimeout, ProcessFailed, ItemFailure) as error:
            self.close()
            if isinstance(error, ItemFailure):
                raise
            reason = "timeout" if isinstance(error, ProcessTimeout) else "crash"
            raise ItemFailure(reason, f"AlphaPose at {batch}: {error}") from error
        finally:
            shutil.rmtree(results, ignore_errors=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Batch:
    """Pictures of consecutive rows, as files in a folder; all have one size (width, height)."""

    folder: Path
    rows: range
    size_px: tuple[int, int]

    def __str__(self) -> str:
        return f"the pictures of rows {self.rows[0]} to {self.rows[-1]}"


def driver_command(config: AlphaposeConfig, *options: str) -> list[str]:
    """Return the command that starts the driver with the user's Python."""
    files = config.files()
    return [
        str(Path(config.python).expanduser()) if config.python else sys.executable,
        str(DRIVER),
        str(config.folder()),
        *("--config", str(files["config"]), "--checkpoint", str(files["checkpoint"])),
        *("--detector", config.detector, "--device", config.device),
        *("--detector-batch", str(config.detector_batch), "--pose-batch", str(config.pose_batch)),
        *options,
    ]


def _name(row: int) -> str:
    return f"{row}.png"


def _batches(pictures: Iterator[np.ndarray], folder: Path) -> Iterator[_Batch]:
    """Write the pictures, a batch at a time, without loss; a batch is gone when the next comes."""
    row = 0
    while True:
        folder.mkdir()
        first, size_px = row, (0, 0)
        for picture in islice(pictures, BATCH_PICTURES):
            size_px = picture.shape[1], picture.shape[0]
            path = folder / _name(row)
            if not cv2.imwrite(str(path), cv2.cvtColor(picture, cv2.COLOR_RGB2BGR), _PNG):
                raise OSError(errno.EIO, "a picture for AlphaPose could not be written", str(path))
            row += 1
        if row == first:
            return
        yield _Batch(folder=folder, rows=range(first, row), size_px=size_px)
        shutil.rmtree(folder)


def _read(path: Path, batch: _Batch, joints: int) -> dict[int, list[Person]]:
    """Persons of a batch from AlphaPose's file, which is checked in every respect."""
    if not path.is_file():
        raise ItemFailure("crash", f"AlphaPose ended its work on {batch} without a {path.name}")
    persons: dict[int, list[Person]] = {}
    try:
        for found in read_detections(path):
            if found.picture not in batch.rows or found.joints != joints:
                raise ItemFailure(
                    "crash",
                    f"entry {found.number} has {found.joints} joints and is of picture "
                    f"{found.picture}; expected {joints} joints",
                )
            persons.setdefault(found.picture, []).append(found.person)
    except ItemFailure as error:
        raise ItemFailure("crash", f"AlphaPose at {batch}: {error.detail}") from error
    return persons


def build(parameters: PoseConfig) -> AlphaposeBackend:
    """Return the backend; AlphaPose itself is started at the first clip."""
    return AlphaposeBackend(parameters)
