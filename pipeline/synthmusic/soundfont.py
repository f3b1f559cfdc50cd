"""A setting in, the soundfont's file out; and what must be installed before clips can be made."""

from __future__ import annotations

import importlib.util
import shutil
from pathlib import Path

from pipeline.failures import EnvironmentBroken, ProgramMissing

SOUNDFONT = "TimGM6mb.sf2"
"""The soundfont of Debian's package timgm6mb-soundfont: General MIDI in 6 MB."""

USUAL_PLACES = (
    "/usr/share/sounds/sf2",
    "/usr/share/soundfonts",
    "/usr/local/share/sounds/sf2",
    "/usr/local/share/soundfonts",
    "/opt/homebrew/share/soundfonts",
    "~/.local/share/soundfonts",
)


class SoundfontMissing(EnvironmentBroken):
    """There is no soundfont where the setting points, or in the usual places."""


def soundfont_name(setting: str) -> str:
    """Return the name of the soundfont's file: part of what the clips depend on."""
    return Path(setting).name if setting else SOUNDFONT


def find_soundfont(setting: str) -> Path:
    """Return the file that `setting` names, or, where it is '', `SOUNDFONT` in the usual places.

    Raises
    ------
    SoundfontMissing
        No such file, or it is no soundfont.
    """
    package = (
        "install it (Debian, Ubuntu: apt-get install --no-install-recommends fluidsynth "
        "timgm6mb-soundfont) or set [soundstage] soundfont in luigi.cfg to a General MIDI "
        "soundfont (.sf2)"
    )
    if setting:
        path = Path(setting).expanduser()
        if not path.is_file():
            raise SoundfontMissing(f"[soundstage] soundfont = {setting}: no such file; {package}")
        return _checked(path.resolve(), package)
    for folder in USUAL_PLACES:
        path = Path(folder).expanduser() / SOUNDFONT
        if path.is_file():
            return _checked(path, package)
    raise SoundfontMissing(
        f"the soundfont {SOUNDFONT} is in none of {', '.join(USUAL_PLACES)}: {package}"
    )


def _checked(path: Path, advice: str) -> Path:
    with path.open("rb") as file:
        head = file.read(12)
    if head[:4] != b"RIFF" or head[8:] != b"sfbk":
        raise SoundfontMissing(
            f"{path} is no soundfont: expected a RIFF file of the kind 'sfbk', got "
            f"{head!r}; {advice}"
        )
    return path


def check_programs() -> None:
    """Check that the programs and the package that make clips are installed.

    Raises
    ------
    ProgramMissing
        There is no ffmpeg or no fluidsynth.
    EnvironmentBroken
        There is no mido.
    """
    for program in ("ffmpeg", "fluidsynth"):
        if shutil.which(program) is None:
            raise ProgramMissing(program)
    if importlib.util.find_spec("mido") is None:
        raise EnvironmentBroken(
            "the Python package 'mido' is not installed: pip install 'soundstage[synthmusic]', or "
            "pip install mido"
        )
