"""How busy a GPU is while a block runs: nvidia-smi's samples flow in, their median flows out."""

from __future__ import annotations

import statistics
import subprocess
import threading
from types import TracebackType

QUERY = (
    "nvidia-smi",
    "--query-gpu=utilization.gpu",
    "--format=csv,noheader,nounits",
    "-lms",
    "100",
)


class GpuUse:
    """Percent of the time in which some kernel ran, ten samples a second; none without a GPU."""

    def __init__(self) -> None:
        self.samples: list[float] = []
        self._program: subprocess.Popen[str] | None = None
        self._reader: threading.Thread | None = None

    def __enter__(self) -> GpuUse:
        try:
            self._program = subprocess.Popen(QUERY, stdout=subprocess.PIPE, text=True)
        except FileNotFoundError:
            return self
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._program is not None and self._reader is not None:
            self._program.terminate()
            self._program.wait()
            self._reader.join()

    def median(self) -> float | None:
        """Return the median over the samples in which the GPU did anything, in percent."""
        busy = [value for value in self.samples if value > 0]
        return statistics.median(busy) if busy else None

    def mean(self) -> float | None:
        """Return the mean over all samples, in percent."""
        return statistics.fmean(self.samples) if self.samples else None

    def _read(self) -> None:
        program = self._program
        if program is None or program.stdout is None:
            return
        for line in program.stdout:
            if line.strip().isdigit():
                self.samples.append(float(line))
