import errno
import json
import os
import socket
import stat
import subprocess
import sys
import time
import uuid

import pytest

from storage import atomic
from storage.errors import StoreError, StoreNotWritable


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_a_published_file_is_complete_read_only_and_alone(tmp_path):
    final = tmp_path / "a" / "b.txt"
    assert atomic.publish_file(final, lambda temp: temp.write_text("one"))
    assert final.read_text() == "one"
    assert stat.S_IMODE(final.stat().st_mode) == 0o444
    assert names(final.parent) == ["b.txt"]


def test_the_second_writer_loses_and_leaves_nothing(tmp_path):
    final = tmp_path / "b.txt"
    assert atomic.publish_file(final, lambda temp: temp.write_text("one"))
    assert not atomic.publish_file(final, lambda temp: temp.write_text("two"))
    assert final.read_text() == "one"
    assert names(tmp_path) == ["b.txt"]


def test_a_writer_that_fails_leaves_nothing(tmp_path):
    def write(temp):
        temp.write_text("half")
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        atomic.publish_file(tmp_path / "b.txt", write)
    assert names(tmp_path) == []


def refuse_links(monkeypatch, code):
    def link(source, target):
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(os, "link", link)


@pytest.mark.parametrize("code", [errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS])
def test_without_links_an_exclusive_rename_publishes(tmp_path, monkeypatch, code):
    refuse_links(monkeypatch, code)
    final = tmp_path / "b.txt"
    assert atomic.publish_file(final, lambda temp: temp.write_text("one"))
    assert not atomic.publish_file(final, lambda temp: temp.write_text("two"))
    assert final.read_text() == "one"
    assert names(tmp_path) == ["b.txt"]
    assert atomic.publish_method(tmp_path) == "renameat2"


def test_other_errors_of_link_are_not_hidden(tmp_path, monkeypatch):
    refuse_links(monkeypatch, errno.ENOSPC)
    with pytest.raises(OSError, match="space"):
        atomic.publish_file(tmp_path / "b.txt", lambda temp: temp.write_text("one"))
    assert names(tmp_path) == []


def test_with_neither_links_nor_exclusive_renames_publishing_is_refused(tmp_path, monkeypatch):
    refuse_links(monkeypatch, errno.EPERM)

    def rename(source, final):
        raise StoreNotWritable("neither")

    monkeypatch.setattr(atomic, "rename_exclusive", rename)
    with pytest.raises(StoreNotWritable):
        atomic.publish_file(tmp_path / "b.txt", lambda temp: temp.write_text("one"))
    assert atomic.publish_method(tmp_path) == "none"
    assert names(tmp_path) == []


def test_links_are_the_usual_method(tmp_path):
    assert atomic.publish_method(tmp_path) == "link"
    assert names(tmp_path) == []


def test_nfs_may_report_eexist_after_its_own_success(tmp_path, monkeypatch):
    real = os.link

    def link(source, target):
        real(source, target)
        raise FileExistsError(errno.EEXIST, "repeated request")

    monkeypatch.setattr(os, "link", link)
    final = tmp_path / "b.txt"
    assert atomic.publish_file(final, lambda temp: temp.write_text("one"))
    assert final.read_text() == "one"


def test_a_foreign_file_with_two_links_is_not_taken_for_ours(tmp_path):
    final = tmp_path / "b.txt"
    final.write_text("theirs")
    os.link(final, tmp_path / "other")
    assert not atomic.publish_file(final, lambda temp: temp.write_text("ours"))
    assert final.read_text() == "theirs"


def test_json_is_published_once_and_replaced_whole(tmp_path):
    path = tmp_path / "x.json"
    assert atomic.publish_json(path, {"b": 1, "a": "é"})
    assert not atomic.publish_json(path, {})
    assert json.loads(path.read_text(encoding="utf-8")) == {"a": "é", "b": 1}
    atomic.replace_json(path, {"c": 2})
    assert json.loads(path.read_text()) == {"c": 2}
    with pytest.raises(ValueError):
        atomic.replace_json(path, {"c": float("nan")})
    assert json.loads(path.read_text()) == {"c": 2}
    assert names(tmp_path) == ["x.json"]


def prepared(folder, text="one"):
    (folder / "log").mkdir(parents=True)
    (folder / "model.json").write_text(text)
    (folder / "log" / "x").write_text(text)
    return folder


def test_a_folder_is_published_whole_and_once(tmp_path):
    final = tmp_path / "models" / "m"
    assert atomic.publish_directory(final, prepared(tmp_path / "p1"))
    assert not (tmp_path / "p1").exists()
    assert (final / "log" / "x").read_text() == "one"
    assert stat.S_IMODE((final / "model.json").stat().st_mode) == 0o444
    assert not atomic.publish_directory(final, prepared(tmp_path / "p2", "two"))
    assert (tmp_path / "p2" / "model.json").read_text() == "two"
    assert (final / "model.json").read_text() == "one"


def test_a_folder_of_another_file_system_is_copied(tmp_path, monkeypatch):
    real = type(tmp_path).rename
    source = prepared(tmp_path / "p1")

    def rename(path, target):
        if path == source:
            raise OSError(errno.EXDEV, "other device")
        return real(path, target)

    monkeypatch.setattr(type(tmp_path), "rename", rename)
    final = tmp_path / "models" / "m"
    assert atomic.publish_directory(final, source)
    assert (final / "log" / "x").read_text() == "one"
    assert names(tmp_path / "models") == ["m"]


def test_a_link_in_a_published_folder_is_refused(tmp_path):
    folder = prepared(tmp_path / "p1")
    (folder / "weights").symlink_to("/etc/hostname")
    with pytest.raises(StoreError, match="weights"):
        atomic.publish_directory(tmp_path / "m", folder)


def dead_pid():
    return int(subprocess.check_output([sys.executable, "-c", "import os; print(os.getpid())"]))


def test_sweep_removes_old_leftovers_of_dead_writers_of_this_host(tmp_path):
    host, dead = socket.gethostname(), dead_pid()

    def leave(owner, pid, age_s, folder=False):
        path = tmp_path / f".tmp-{owner}-{pid}-{uuid.uuid4().hex}"
        if folder:
            prepared(path)
        else:
            path.write_text("x")
        os.utime(path, (time.time() - age_s,) * 2)
        return path

    gone = {leave(host, dead, 100), leave(host, dead, 100, folder=True)}
    kept = {
        leave(host, dead, 1),
        leave(host, os.getpid(), 100),
        leave("elsewhere", dead, 100),
        leave("elsewhere-" + host, dead, 100),
        tmp_path / "shard-00000.h5",
        tmp_path / ".tmp-other",
    }
    (tmp_path / "shard-00000.h5").write_text("x")
    (tmp_path / ".tmp-other").write_text("x")
    assert set(atomic.sweep_temp(tmp_path, older_than_s=50)) == gone
    assert set(tmp_path.iterdir()) == kept
    assert atomic.sweep_temp(tmp_path / "absent", older_than_s=0) == []
