"""What goes wrong in the pipeline: an item's failure is data, a broken environment ends the run."""

from __future__ import annotations


class ItemFailure(Exception):
    """One item cannot be processed, for a typed reason; it becomes an `Outcome`, never a crash.

    Parameters
    ----------
    reason : str
        One of `storage.records.PERMANENT_REASONS` or `TRANSIENT_REASONS`.
    detail : str
        One or a few lines for a person: what was expected, what was found.
    """

    def __init__(self, reason: str, detail: str = "") -> None:
        super().__init__(reason, detail)
        self.reason = reason
        self.detail = detail

    def __str__(self) -> str:
        return f"{self.reason}: {self.detail}" if self.detail else self.reason


class ProcessFailed(Exception):
    """A child process ended with a code other than 0.

    `stderr_tail` holds the last lines it wrote; `program` and `returncode` say who and how.
    """

    def __init__(self, program: str, returncode: int, stderr_tail: str) -> None:
        super().__init__(program, returncode, stderr_tail)
        self.program = program
        self.returncode = returncode
        self.stderr_tail = stderr_tail

    def __str__(self) -> str:
        if self.returncode < 0:
            how = f"was killed by signal {-self.returncode}"
        else:
            how = f"ended with code {self.returncode}"
        return f"{self.program} {how}: {self.stderr_tail or '(nothing on stderr)'}"


class ProcessTimeout(Exception):
    """A child process was still running after its time limit and was killed with its group."""

    def __init__(self, program: str, timeout_s: float, stderr_tail: str = "") -> None:
        super().__init__(program, timeout_s, stderr_tail)
        self.program = program
        self.timeout_s = timeout_s
        self.stderr_tail = stderr_tail

    def __str__(self) -> str:
        text = f"{self.program} was still running after {self.timeout_s:g} s and was killed"
        return f"{text}: {self.stderr_tail}" if self.stderr_tail else text


class EnvironmentBroken(Exception):
    """Something that every item needs is missing: the run stops, no item is blamed."""


class ProgramMissing(EnvironmentBroken):
    """A program that the pipeline calls is not installed."""

    def __init__(self, program: str) -> None:
        super().__init__(program)
        self.program = program

    def __str__(self) -> str:
        hint = f"install {self.program}"
        if self.program in ("ffmpeg", "ffprobe"):
            hint = "install ffmpeg, which brings ffprobe (Debian, Ubuntu: apt-get install ffmpeg)"
        if self.program == "fluidsynth":
            hint = (
                "install FluidSynth and a soundfont (Debian, Ubuntu: apt-get install "
                "--no-install-recommends fluidsynth timgm6mb-soundfont)"
            )
        return f"the program {self.program!r} is not on the PATH: {hint} and start the run again"


class WeightsMissing(EnvironmentBroken):
    """A network's weights are not where the settings point."""
