"""What of an AlphaPose checkout is there and works: a folder flows in, findings flow out.

Each finding says what was looked at, what was found, whether it stops AlphaPose, and what to do.
The checkout's own Python is asked about its packages; at the end the models are loaded, as a run
would do it.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.failures import EnvironmentBroken, ProcessFailed, ProcessTimeout, ProgramMissing
from pipeline.helper import Helper
from pipeline.pose.alphapose_backend import DRIVER, driver_command
from pipeline.pose.config import AlphaposeConfig
from pipeline.process import run
from pipeline.weights import check_file

PINNED_COMMIT = "c60106d"
"""The commit of AlphaPose (January 2023, the last one) that the driver was written for."""
PARTS = ("alphapose", "detector", "configs")
_PROBE_TIMEOUT_S = 300.0
_GIT_TIMEOUT_S = 30.0
_OPTIONAL = ("matplotlib",)
OK, NOTE, FAILED = "ok", "note", "failed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One line of the report: `state` is 'ok', 'note' (works, but worth knowing) or 'failed'."""

    what: str
    state: str
    found: str
    advice: str = ""


def check_checkout(config: AlphaposeConfig) -> Iterator[Finding]:
    """Yield what is found, from the folder to a start of the models; errors are findings, too."""
    folder = Path(config.root).expanduser().absolute()
    missing = [part for part in PARTS if not (folder / part).is_dir()]
    if missing:
        yield Finding(
            what="checkout",
            state=FAILED,
            found=f"{folder} has no folder {', '.join(missing)}",
            advice="give the folder of a clone of MVIG-SJTU/AlphaPose",
        )
        return
    yield Finding(what="checkout", state=OK, found=str(folder))
    yield _commit(folder)
    findings = [*_files(config), *_packages(config, folder)]
    yield from findings
    if any(finding.state == FAILED for finding in findings):
        yield Finding(
            what="start",
            state=FAILED,
            found="not tried: something above is missing",
            advice="mend that first",
        )
        return
    yield _start(config)


def _commit(folder: Path) -> Finding:
    """Which commit is checked out."""
    try:
        done = run(["git", "-C", str(folder), "rev-parse", "HEAD"], timeout_s=_GIT_TIMEOUT_S)
        commit = done.stdout.decode().strip()
    except (ProcessFailed, ProcessTimeout, ProgramMissing) as error:
        return Finding(
            what="commit",
            state=NOTE,
            found=f"unknown ({str(error).splitlines()[0]})",
            advice=f"the driver was written for commit {PINNED_COMMIT}",
        )
    if commit.startswith(PINNED_COMMIT):
        return Finding(what="commit", state=OK, found=commit)
    return Finding(
        what="commit",
        state=NOTE,
        found=commit,
        advice=f"the driver was written for {PINNED_COMMIT}: git checkout {PINNED_COMMIT}",
    )


def _files(config: AlphaposeConfig) -> Iterator[Finding]:
    """Configuration, weights and joints."""
    for what, path in config.files().items():
        if path.is_file():
            yield Finding(what=what, state=OK, found=f"{path} sha256 {check_file(path)[1][:12]}")
        else:
            key = what if what in ("config", "checkpoint") else "detector"
            yield Finding(
                what=what,
                state=FAILED,
                found=f"{path} is not there",
                advice=f"download it (docs/alphapose.md names it), or set [alphapose] {key}",
            )
    try:
        joints = config.joints()
    except EnvironmentBroken as error:
        yield Finding(what="joints", state=FAILED, found=str(error), advice="choose another config")
        return
    advice = "there are no hands" if joints == 26 else ""
    yield Finding(what="joints", state=NOTE if advice else OK, found=str(joints), advice=advice)


def _packages(config: AlphaposeConfig, folder: Path) -> Iterator[Finding]:
    """Python, packages and compiled parts, as the checkout's own Python sees them."""
    python = str(Path(config.python).expanduser()) if config.python else sys.executable
    try:
        found = _probe(python, folder)
    except (ProcessFailed, ProcessTimeout, ProgramMissing) as error:
        yield Finding(
            what="python",
            state=FAILED,
            found=f"{python}: {error}",
            advice="set [alphapose] python to the Python that AlphaPose is installed for",
        )
        return
    yield Finding(what="python", state=OK, found=f"{python}, version {found['python']}")
    for name, (there, version) in found["modules"].items():
        if there:
            yield Finding(what=name, state=OK, found=version or "there")
        else:
            state = NOTE if name in _OPTIONAL else FAILED
            advice = f"run: {python} -m pip install {_PACKAGES.get(name, name)}"
            yield Finding(what=name, state=state, found=version, advice=advice)
    yield from _compiled(found)
    device = config.device
    if device.startswith("cuda") and not found["cuda"]:
        yield Finding(
            what="device",
            state=FAILED,
            found=f"device = {device}, but its torch sees no GPU",
            advice="set [alphapose] device = cpu, or install a torch for your GPU",
        )
    else:
        yield Finding(what="device", state=OK, found="cuda" if found["cuda"] else "cpu")


_PACKAGES = {"cv2": "opencv-python", "yaml": "PyYAML"}
"""Packages that are installed under another name than they are imported by."""


def _probe(python: str, folder: Path) -> Mapping[str, Any]:
    """What the driver says of packages and compiled parts."""
    helper = Helper([python, str(DRIVER), str(folder), "--probe"])
    try:
        return helper.receive(timeout_s=_PROBE_TIMEOUT_S)
    finally:
        helper.stop()


def _compiled(found: Mapping[str, Any]) -> Iterator[Finding]:
    """Compiled parts, and what is used in the place of those that are not built."""
    for name, there in found["extensions"].items():
        if there:
            yield Finding(what=name, state=OK, found="built")
        else:
            yield Finding(
                what=name,
                state=NOTE,
                found="not built",
                advice=f"in its place: {found['instead'][name]}",
            )


def _start(config: AlphaposeConfig) -> Finding:
    """Load the models, as a run does."""
    helper = Helper(driver_command(config))
    try:
        ready = helper.receive(timeout_s=config.start_timeout_s)
    except (ProcessFailed, ProcessTimeout) as error:
        return Finding(
            what="start",
            state=FAILED,
            found=str(error),
            advice="docs/alphapose.md lists the known failures and their fixes",
        )
    finally:
        helper.stop()
    text = f"models loaded, {ready.get('joints')} joints, on {ready.get('device')}"
    return Finding(what="start", state=OK, found=text)
