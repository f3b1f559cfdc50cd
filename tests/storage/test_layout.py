import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from storage import Layout, open_store
from storage.errors import (
    InvalidRecord,
    StoreError,
    StoreNotFound,
    StoreNotWritable,
    StoreTooNew,
)


def test_a_store_is_made_once_and_opened_again(tmp_path):
    made = open_store(tmp_path / "s", create=True)
    before = made.store_file.stat().st_mtime_ns
    assert open_store(tmp_path / "s", create=True) == made == open_store(str(tmp_path / "s"))
    assert made.store_file.stat().st_mtime_ns == before
    assert [path.name for path in made.root.iterdir()] == ["store.json"]


def test_a_missing_store_says_what_to_do(tmp_path):
    with pytest.raises(StoreNotFound, match="no store here"):
        open_store(tmp_path / "absent")
    (tmp_path / "file").write_text("x")
    with pytest.raises(StoreNotFound):
        open_store(tmp_path / "file")


def test_a_newer_store_is_refused(tmp_path):
    (tmp_path / "store.json").write_text(json.dumps({"schema_version": 99}))
    with pytest.raises(StoreTooNew, match="99"):
        open_store(tmp_path)
    with pytest.raises(StoreTooNew):
        open_store(tmp_path, create=True)


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"schema_version": "x"}', "null"])
def test_a_damaged_description_is_named(tmp_path, text):
    (tmp_path / "store.json").write_text(text)
    with pytest.raises(StoreError, match=r"store\.json"):
        open_store(tmp_path)


def test_a_root_that_cannot_be_written_says_so(tmp_path):
    (tmp_path / "file").write_text("x")
    for root in (tmp_path / "file", tmp_path / "file" / "below", Path("/proc/soundstage")):
        with pytest.raises(StoreNotWritable, match="cannot write"):
            open_store(root, create=True)


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to drop to another user")
def test_permission_bits_are_tried_not_read(tmp_path):
    root = tmp_path / "s"
    open_store(root, create=True)
    for folder in (root, *root.parents[:-1]):
        if folder != Path("/tmp"):
            folder.chmod(0o755)
    code = (
        "import os, sys; sys.path.insert(0, sys.argv[2])\n"
        "import storage\nfrom storage.errors import StoreNotWritable\n"
        "os.setuid(65534)\n"
        "storage.open_store(sys.argv[1])\n"
        "try: storage.open_store(sys.argv[1], create=True)\n"
        "except StoreNotWritable: print('refused')\n"
    )
    here = str(Path(__file__).parents[2])
    out = subprocess.run(
        [sys.executable, "-c", code, str(root), here], capture_output=True, text=True, check=True
    )
    assert out.stdout == "refused\n"


def test_paths_follow_the_documented_tree():
    layout = Layout(Path("/r"))
    stage = "stft-0123456789ab"
    assert layout.shard(stage, "yt", 17) == Path(f"/r/stages/{stage}/yt/shard-00017.h5")
    assert layout.shard(stage, "yt", 17, 2).name == "shard-00017.r2.h5"
    assert layout.plan_shard("yt", 3) == Path("/r/sources/yt/plan/shard-00003.json")
    assert layout.staged_item(stage, "yt", 3, "yt/-abc/0-500") == Path(
        f"/r/staging/{stage}/yt/shard-00003/-abc.0-500.h5"
    )
    assert layout.media_dir("yt/-abc/whole") == Path("/r/media/yt/-abc")
    assert layout.snapshot("d", "0123") == Path("/r/datasets/d/snapshots/0123.jsonl")
    assert layout.model("han-0123456789ab") == Path("/r/models/han-0123456789ab")


@pytest.mark.parametrize("name", ["", "..", "a/b", ".hidden", "a b"])
def test_names_that_would_leave_their_folder_are_refused(name):
    layout = Layout(Path("/r"))
    for path in (layout.dataset, layout.model, layout.run, layout.source, layout.stage_dir):
        with pytest.raises(InvalidRecord):
            path(name)
