"""A directory with its own luigi.cfg, store and demo, in which the real commands run."""

from __future__ import annotations

import configparser
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path

import psutil

ROOT = Path(__file__).parents[2]
BIN = Path(sys.executable).parent


class Workspace:
    """Commands of a user in a directory of their own."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.store = path / "store"
        path.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(ROOT / "luigi.cfg", path / "luigi.cfg")
        self.set_key("soundstage", "item_timeout_s", "180")

    def set_key(self, section: str, key: str, value: str) -> None:
        """Write one setting into luigi.cfg."""
        config = configparser.ConfigParser(interpolation=None)
        config.optionxform = str  # type: ignore[assignment,method-assign]
        config.read(self.path / "luigi.cfg")
        config[section][key] = value
        with (self.path / "luigi.cfg").open("w") as file:
            config.write(file)

    def environment(self, extra: Mapping[str, str] | None = None) -> dict[str, str]:
        """Return the environment of a plain user's shell."""
        kept = {k: v for k, v in os.environ.items() if not k.startswith(("PYTEST", "SOUNDSTAGE"))}
        return {**kept, "COLUMNS": "200", **(extra or {})}

    def luigi(
        self, *arguments: str, env: Mapping[str, str] | None = None, timeout_s: float = 500
    ) -> subprocess.CompletedProcess[str]:
        """Run FullPipeline to its end."""
        return self._run([str(BIN / "luigi"), *self._full(arguments)], env, timeout_s)

    def tables(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run ReproduceParsingTables to its end."""
        argv = [str(BIN / "luigi"), "--module", "tasks", "ReproduceParsingTables", *arguments]
        return self._run(argv, None, 250)

    def start(self, *arguments: str) -> subprocess.Popen[bytes]:
        """Start FullPipeline in a process group of its own."""
        return subprocess.Popen(
            [str(BIN / "luigi"), *self._full(arguments)],
            cwd=self.path,
            env=self.environment(),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )

    def soundstage(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run a subcommand of the console script."""
        return self._run([str(BIN / "soundstage"), *arguments], None, 120)

    def left_processes(self, grace_s: float = 10.0) -> list[str]:
        """Return the command lines of processes that go on working in this directory."""
        deadline = time.monotonic() + grace_s
        while (left := self._processes()) and time.monotonic() < deadline:
            time.sleep(0.1)
        return left

    def _processes(self) -> list[str]:
        found = []
        for process in psutil.process_iter(["pid", "cmdline"]):
            try:
                inside = Path(process.cwd()).is_relative_to(self.path)
            except (psutil.Error, OSError):
                continue
            if inside and process.pid != os.getpid():
                found.append(" ".join(process.info["cmdline"] or []))
        return found

    def _full(self, arguments: tuple[str, ...]) -> list[str]:
        return ["--module", "tasks", "FullPipeline", *arguments]

    def _run(
        self, argv: list[str], env: Mapping[str, str] | None, timeout_s: float
    ) -> subprocess.CompletedProcess[str]:
        process = subprocess.Popen(
            argv,
            cwd=self.path,
            env=self.environment(env),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        try:
            out, err = process.communicate(timeout=timeout_s)
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
            out, err = process.communicate()
            raise AssertionError(f"{argv} did not end in {timeout_s} s:\n{out}\n{err}") from None
        return subprocess.CompletedProcess(argv, process.returncode, out, err)
