"""What a user gets wrong: one line that names it, a non-zero exit, and nothing lost."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest
from runs import BIN, Workspace

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return Workspace(tmp_path)


def make_clip(path: Path, *streams: str, seconds: int = 2) -> None:
    sources = {
        "video": ["-f", "lavfi", "-i", f"testsrc2=size=96x64:rate=10:duration={seconds}"],
        "tone": ["-f", "lavfi", "-i", f"sine=frequency=440:duration={seconds}"],
        "silence": ["-f", "lavfi", "-i", f"anullsrc=duration={seconds}"],
    }
    inputs = [part for stream in streams for part in sources[stream]]
    encode = ["-pix_fmt", "yuv420p", "-c:a", "aac"]
    command = ["ffmpeg", "-v", "error", "-y", *inputs, *encode, str(path)]
    subprocess.run(command, check=True, timeout=60)


def test_bad_files_get_typed_outcomes_and_the_others_go_on(workspace: Workspace) -> None:
    folder = workspace.path / "videos"
    folder.mkdir()
    make_clip(folder / "good.mp4", "video", "tone")
    make_clip(folder / "mute.mp4", "video")
    make_clip(folder / "silent.mp4", "video", "silence")
    make_clip(folder / "blind.mp4", "tone")
    (folder / "corrupt.mp4").write_bytes(b"this is no video" * 100)
    (folder / "empty.mp4").touch()
    done = workspace.luigi("--dataset", f"folder:{folder}", "--recipe", "features")
    assert done.returncode == 0, done.stderr
    listing = workspace.soundstage("status", "--dataset", f"folder:{folder}", "--json")
    status = json.loads(listing.stdout)
    rejected = {row["item"].split("/")[1]: row["reason"] for row in status["rejected"]}
    assert rejected == {"corrupt.mp4": "corrupt", "empty.mp4": "empty"}
    outcomes = {row["stage"].rpartition("-")[0]: row["outcomes"] for row in status["stages"]}
    assert outcomes["audio_11025"] == {"ok": 2, "no_audio": 1, "silent": 1, "upstream:probe": 1}
    assert outcomes["stft"] == {"ok": 2, "upstream:audio_11025": 3}
    assert outcomes["frames"] == {"ok": 3, "no_video": 1, "upstream:probe": 1}


@pytest.mark.parametrize(
    "section, key, value, expected",
    [
        ("stft", "hop_sample", "256", "did you mean 'hop_samples'"),
        ("stft", "hop_samples", "many", "expected int"),
        ("sftt", "hop_samples", "256", "unknown section [sftt]"),
        ("soundstage", "import_mode", "move", "expected one of copy, hardlink, symlink"),
    ],
)
def test_a_wrong_setting_is_named(
    workspace: Workspace, section: str, key: str, value: str, expected: str
) -> None:
    text = (workspace.path / "luigi.cfg").read_text()
    lines = [line for line in text.splitlines() if not line.startswith(f"{key} ")]
    where = f"[{section}]"
    if where in lines:
        lines.insert(lines.index(where) + 1, f"{key} = {value}")
    else:
        lines += [where, f"{key} = {value}"]
    (workspace.path / "luigi.cfg").write_text("\n".join(lines))
    done = workspace.luigi("--dataset", "demo:micro")
    assert done.returncode not in (0, None)
    assert expected in done.stderr
    assert key in done.stderr or section in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    "arguments, expected",
    [
        (("--dataset", "demmo"), "unknown dataset 'demmo'"),
        (("--dataset", "folder:/no/such/folder"), "/no/such/folder"),
        (("--dataset", "folder"), "no folder given"),
        (("--recipe", "tribet"), "--recipe tribet"),
    ],
)
def test_a_wrong_name_is_said(
    workspace: Workspace, arguments: tuple[str, ...], expected: str
) -> None:
    done = workspace.luigi(*arguments)
    assert done.returncode != 0
    assert expected in done.stderr
    assert "Traceback" not in done.stderr


def test_a_wrong_label_file_names_the_row(workspace: Workspace) -> None:
    folder = workspace.path / "videos"
    folder.mkdir()
    make_clip(folder / "a.mp4", "video", "tone")
    (folder / "labels.csv").write_text("file,labels\na.mp4,drum\nb.mp4,drum\n")
    done = workspace.luigi("--dataset", f"folder:{folder}")
    assert done.returncode != 0
    assert "labels.csv" in done.stderr
    assert "b.mp4" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_root_that_cannot_be_written_is_named(workspace: Workspace) -> None:
    workspace.set_key("soundstage", "root", "/proc/store")
    done = workspace.luigi("--dataset", "demo:micro")
    assert done.returncode != 0
    assert "/proc/store: cannot write to the store" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.skipif(os.geteuid() != 0, reason="becoming another user takes root")
def test_another_user_without_rights_is_told(tmp_path: Path) -> None:
    program = shutil.which("setpriv")
    if program is None:
        pytest.skip("setpriv (util-linux) is not installed")
    code = (
        "from storage.layout import open_store; from storage.errors import StoreNotWritable\n"
        f"try: open_store({str(tmp_path / 'store')!r}, create=True)\n"
        "except StoreNotWritable as error: print('said:', error)"
    )
    become = [program, "--reuid", "65534", "--regid", "65534", "--clear-groups"]
    argv = [*become, str(BIN / "python"), "-c", code]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=60, check=False)
    if "Permission denied" in done.stderr and "said:" not in done.stdout:
        pytest.skip("another user cannot run this interpreter")
    assert "said:" in done.stdout
    assert "cannot write to the store" in done.stdout


def test_missing_ffmpeg_ends_the_run_with_its_name(workspace: Workspace) -> None:
    folder = workspace.path / "videos"
    folder.mkdir()
    make_clip(folder / "a.mp4", "video", "tone")
    done = workspace.luigi("--dataset", f"folder:{folder}", env={"PATH": "/nonexistent"})
    assert done.returncode != 0
    assert "ffmpeg" in done.stderr or "ffprobe" in done.stderr
    assert "install" in done.stderr
