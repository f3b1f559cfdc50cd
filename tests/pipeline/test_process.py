from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from pipeline import process
from pipeline.failures import ProcessFailed, ProcessTimeout, ProgramMissing
from pipeline.process import Child, run, stream


def is_alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state != "Z"


def wait_until_dead(pid: int, limit_s: float = 5.0) -> bool:
    end = time.monotonic() + limit_s
    while is_alive(pid) and time.monotonic() < end:
        time.sleep(0.02)
    return not is_alive(pid)


def test_run_returns_stdout_and_keeps_odd_arguments() -> None:
    odd = ["-n", "a b", "$(id)", "'", '"', "ü", ""]
    code = "import sys; sys.stdout.write('|'.join(sys.argv[1:]))"
    done = run([sys.executable, "-c", code, *odd], timeout_s=20)
    assert done.stdout.decode() == "|".join(odd)


def test_run_feeds_stdin() -> None:
    data = os.urandom(300_000)
    assert run(["cat"], timeout_s=20, stdin=data).stdout == data


def test_a_child_without_stdin_reads_nothing() -> None:
    assert run(["cat"], timeout_s=20).stdout == b""


def test_failure_says_program_code_and_stderr() -> None:
    with pytest.raises(ProcessFailed, match="sh ended with code 7") as caught:
        run(["sh", "-c", "echo first >&2; echo second >&2; exit 7"], timeout_s=20)
    assert caught.value.returncode == 7
    assert caught.value.stderr_tail == "first\nsecond"


def test_death_by_signal_is_said() -> None:
    with pytest.raises(ProcessFailed, match="killed by signal 9"):
        run(["sh", "-c", "kill -9 $$"], timeout_s=20)


def test_stderr_tail_is_bounded_and_never_blocks() -> None:
    code = "import sys; [print('x' * 1000, file=sys.stderr) for _ in range(3000)]; sys.exit(1)"
    with pytest.raises(ProcessFailed) as caught:
        run([sys.executable, "-c", code], timeout_s=30)
    assert len(caught.value.stderr_tail) < 10_000


def test_a_program_that_is_missing_names_itself_and_the_cure() -> None:
    with pytest.raises(ProgramMissing, match="no-such-program"):
        run(["no-such-program", "x"], timeout_s=5)
    assert "apt-get install ffmpeg" in str(ProgramMissing("ffprobe"))


@pytest.mark.parametrize("with_setpriv", [True, False])
def test_timeout_kills_the_whole_group(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, with_setpriv: bool
) -> None:
    if not with_setpriv:
        monkeypatch.setattr(process, "_launcher", lambda: ())
    script = f"sleep 60 & echo $! > {tmp_path}/pid; sleep 60"
    began = time.monotonic()
    with pytest.raises(ProcessTimeout, match=r"sh was still running after 0\.5 s"):
        run(["sh", "-c", script], timeout_s=0.5)
    assert time.monotonic() - began < 10
    assert wait_until_dead(int((tmp_path / "pid").read_text()))


def test_stream_yields_what_was_written_in_order() -> None:
    chunks = list(stream(["seq", "1", "50000"], timeout_s=20, chunk_bytes=1000))
    assert all(len(c) == 1000 for c in chunks[:-1])
    assert b"".join(chunks).split() == [str(i).encode() for i in range(1, 50001)]


def test_closing_a_stream_kills_its_child() -> None:
    with Child(["sh", "-c", "echo $$; exec sleep 60"], timeout_s=60) as child:
        pid = int(next(child.lines()))
        assert is_alive(pid)
        child.stop()
    assert wait_until_dead(pid)
    chunks = stream(["sh", "-c", "echo $$; exec yes"], timeout_s=60, chunk_bytes=4096)
    pid = int(next(chunks).split()[0])
    chunks.close()  # type: ignore[attr-defined]
    assert wait_until_dead(pid)


@pytest.mark.parametrize("with_setpriv", [True, False])
def test_a_child_dies_with_its_killed_parent(tmp_path: Path, with_setpriv: bool) -> None:
    code = f"""
import sys
from pipeline import process
if not {with_setpriv}:
    process._launcher = lambda: ()
process.run(["sh", "-c", "echo $$ > {tmp_path}/pid; exec sleep 60"], timeout_s=60)
"""
    parent = subprocess.Popen([sys.executable, "-c", code], cwd=Path(__file__).parents[2])
    try:
        pid_file = tmp_path / "pid"
        end = time.monotonic() + 20
        while not (pid_file.exists() and pid_file.read_text()) and time.monotonic() < end:
            time.sleep(0.02)
        pid = int(pid_file.read_text())
        assert is_alive(pid)
    finally:
        parent.send_signal(signal.SIGKILL)
        parent.wait()
    assert wait_until_dead(pid)
