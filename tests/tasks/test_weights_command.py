"""`soundstage weights`: what it lists, fetches and checks."""

from __future__ import annotations

import hashlib
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from pipeline import weights
from pipeline.weights import KNOWN, PublishedWeights


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *arguments: object) -> None:
        pass


def test_list_names_every_file_and_where_it_is(desk: Any, tmp_path: Path) -> None:
    (tmp_path / KNOWN["AUDIOSET"].file_name).write_bytes(b"")
    found = desk.json("weights", "list", "--dir", str(tmp_path))
    rows = {row["name"]: row for row in found["files"]}
    assert rows.keys() == KNOWN.keys()
    assert rows["AUDIOSET"]["path"] == str(tmp_path / KNOWN["AUDIOSET"].file_name)
    assert rows["IMAGENET1K_V1"] == {
        "name": "IMAGENET1K_V1",
        "stage": "resnet152",
        "file_name": "resnet152-394f9c45.pth",
        "sha256_prefix": "394f9c45",
        "url": "https://download.pytorch.org/models/resnet152-394f9c45.pth",
        "path": None,
    }
    assert found["settings"]["r2plus1d"] == "random:0"
    assert desk.run("weights", "list") == 0
    assert "weights directory: not set" in desk.capsys.readouterr().out


def test_fetch_puts_a_file_where_the_settings_find_it(
    desk: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "www").mkdir()
    (tmp_path / "www" / "net.pth").write_bytes(b"numbers")
    digest = hashlib.sha256(b"numbers").hexdigest()
    handler = partial(Quiet, directory=str(tmp_path / "www"))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        entry = PublishedWeights(
            name="NET",
            file_name="net.pth",
            sha256_prefix=digest[:8],
            url=f"http://127.0.0.1:{server.server_port}/net.pth",
            stage="vggish",
        )
        for table in (weights.KNOWN, weights.PUBLISHED):
            monkeypatch.setitem(table, "NET", entry)
        folder = tmp_path / "weights"
        assert desk.run("weights", "fetch", "NET") == 2
        assert "set [soundstage] weights_dir" in desk.capsys.readouterr().err
        desk.parser.set("soundstage", "weights_dir", str(folder))
        fetched = desk.json("weights", "fetch", "NET")["fetched"]
        server.shutdown()
        thread.join()
    path = str(folder / "net.pth")
    assert fetched == [{"name": "NET", "path": path, "sha256": digest, "verified": True}]
    assert weights.resolve_weights("NET", folder) == (digest, folder / "net.pth")


def test_fetch_knows_only_published_names(desk: Any) -> None:
    with pytest.raises(SystemExit):
        desk.run("weights", "fetch", "AUDIOSETS")
    assert "AUDIOSET" in desk.capsys.readouterr().err


def test_check_measures_bfloat16_with_the_weights_of_the_settings(desk: Any) -> None:
    (row,) = desk.json("weights", "check", "vggish")["networks"]
    assert (row["setting"], row["weights"], row["problem"]) == ("random:0", "random:0", "")
    assert 1e-4 < row["bfloat16"]["relative"] < 0.1
    assert 0.99 < row["bfloat16"]["cosine"] < 1
    assert row["bfloat16"]["largest"] > 0


def test_check_fails_on_a_broken_file_and_on_missing_weights(desk: Any, tmp_path: Path) -> None:
    (tmp_path / KNOWN["KINETICS400_V1"].file_name).write_bytes(b"half a download")
    desk.parser.read_string("[r2plus1d]\nweights = KINETICS400_V1\n")
    desk.parser.read_string("[vggish]\nweights = AUDIOSET\n")
    assert desk.run("weights", "check", "vggish", "r2plus1d", "--dir", str(tmp_path)) == 1
    said = desk.capsys.readouterr().out
    assert "expected 91a641e6.." in said
    assert "soundstage weights fetch AUDIOSET" in said.replace("\n", " ")
    desk.parser.set("vggish", "weights", "imported:0123")
    (row,) = desk.json("weights", "check", "vggish")["networks"]
    assert (row["weights"], row["bfloat16"], row["problem"]) == ("imported:0123", None, "")
    assert desk.run("weights", "check", "pose") == 2
    assert "expected one of vggish" in desk.capsys.readouterr().err
