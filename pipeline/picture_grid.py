"""The grid of rows that pictures are put on: pictures as ffmpeg sends them and its log flow in,
blocks of rows with the true time of each picture flow out.
"""

from __future__ import annotations

import queue
import re
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from math import ceil

import numpy as np

LOG_LEVEL = "repeat+level+info"
"""What ffmpeg's -loglevel must be for its log to be read here."""
_CHATTER = re.compile(r"\[(info|verbose|debug)\]")
_TIME_BASE = re.compile(r"\[showinfo@in @ \S+\] \[info\] config in time_base: (\d+)/(\d+)")
_PICTURE = re.compile(r"\[showinfo@(in|out) @ \S+\] \[info\] n: *\d+ pts: *(-?\d+) ")
_LINE_WAIT_S = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class FrameBlock:
    """Consecutive rows of the picture grid.

    `pictures` is uint8 (n, height, width, 3); `picture_time_s` float64 (n,) is when each picture
    that is shown truly begins, on the item's clock.
    """

    first_row: int
    pictures: np.ndarray
    picture_time_s: np.ndarray


def row_count(duration_s: float, fps: float) -> int:
    """Return the number of rows i with i / fps < duration (10 s at 8 fps: 80)."""
    return max(0, ceil(duration_s * fps - 1e-6))


class PictureGrid:
    """Gathers pictures into blocks of rows; a row that ffmpeg left out repeats the one before."""

    def __init__(self, rows: int, shape: tuple[int, int, int], block_frames: int) -> None:
        self._rows = rows
        self._done = 0
        self._used = 0
        self._last_time_s = 0.0
        self._shape = (block_frames, *shape)
        self._block = np.empty(self._shape, np.uint8)
        self._times = np.empty(block_frames, np.float64)
        self._last = np.empty(shape, np.uint8)
        self._next = np.empty(shape, np.uint8)

    @property
    def target(self) -> np.ndarray:
        """Where the pixels of the next picture are to be written, before `put`."""
        return self._next

    @property
    def missing(self) -> bool:
        """Whether rows are still to come."""
        return self._done < self._rows

    @property
    def empty(self) -> bool:
        """Whether no picture came at all, though rows were due."""
        return self._done == 0 and self._rows > 0

    def put(self, row: int, time_s: float) -> Iterator[FrameBlock]:
        """Take the picture in `target` for one row; rows that were filled already are ignored.

        ffmpeg sets its filters up anew where the picture size changes within a file, and its grid
        then starts at row 0 again.
        """
        if row < self._done:
            return
        if self._done:
            while self._done < min(row, self._rows):
                yield from self._fill(self._last, self._last_time_s)
        self._last, self._next = self._next, self._last
        self._last_time_s = time_s
        while self._done <= min(row, self._rows - 1):
            yield from self._fill(self._last, time_s)

    def hold_last(self) -> Iterator[FrameBlock]:
        """Yield what is left, up to the last row."""
        while self.missing:
            yield from self._fill(self._last, self._last_time_s)
        if self._used:
            yield self._take()

    def _fill(self, picture: np.ndarray, time_s: float) -> Iterator[FrameBlock]:
        self._block[self._used] = picture
        self._times[self._used] = time_s
        self._used += 1
        self._done += 1
        if self._used == len(self._block):
            yield self._take()

    def _take(self) -> FrameBlock:
        block = FrameBlock(
            first_row=self._done - self._used,
            pictures=self._block[: self._used],
            picture_time_s=self._times[: self._used].copy(),
        )
        self._used = 0
        if self.missing:
            self._block = np.empty(self._shape, np.uint8)
        return block


class PictureTimes:
    """Learns from ffmpeg's showinfo lines which picture each row shows.

    The lines stand in the order of events: a row's own line (after the grid) comes behind the
    lines of all pictures that decide it (before the grid), and before its bytes.
    """

    def __init__(self, rate: Fraction) -> None:
        self._rate = rate
        self._unit_s = Fraction(0)
        self._seen_s: deque[Fraction] = deque()
        self._rows: queue.SimpleQueue[tuple[int, float]] = queue.SimpleQueue()

    def read_line(self, line: str) -> bool:
        """Take one line of stderr; True when it is no message for a person."""
        match = _PICTURE.match(line)
        if match is not None:
            if match[1] == "in":
                self._seen_s.append(int(match[2]) * self._unit_s)
            else:
                self._settle(int(match[2]))
            return True
        match = _TIME_BASE.match(line)
        if match is not None:
            self._unit_s = Fraction(int(match[1]), int(match[2]))
        return is_chatter(line)

    def next(self) -> tuple[int, float]:
        """Return (row, picture_time_s) of the next picture in the pipe."""
        try:
            return self._rows.get(timeout=_LINE_WAIT_S)
        except queue.Empty:
            raise RuntimeError(
                "ffmpeg sent a picture but no readable showinfo line for it: this ffmpeg's log "
                "format is not known; expected a version from 5.1 on"
            ) from None

    def _settle(self, row: int) -> None:
        while len(self._seen_s) > 1 and self._seen_s[1] <= row / self._rate:
            self._seen_s.popleft()
        self._rows.put((row, float(self._seen_s[0])))


def is_chatter(line: str) -> bool:
    """Whether a line of ffmpeg's log tells of no problem."""
    return _CHATTER.search(line) is not None
