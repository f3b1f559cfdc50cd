"""Downloads of weights from a server of this machine: whole, broken, resumed, wrong."""

from __future__ import annotations

import hashlib
import re
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from pipeline.failures import EnvironmentBroken, WeightsMissing
from pipeline.weights import PublishedWeights
from pipeline.weights_fetch import fetch_weights

CONTENT = bytes(range(256)) * 12000
DIGEST = hashlib.sha256(CONTENT).hexdigest()


class Server(ThreadingHTTPServer):
    """Serves CONTENT; what goes wrong is set by the test."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.content = CONTENT
        self.ranges = True
        self.says_length = True
        self.cut_after: list[int] = []
        """Bytes after which each of the next answers breaks off."""
        self.status = 200
        self.asked: list[str] = []
        """The Range header of each request."""

    def entry(self, prefix: str = DIGEST[:8]) -> PublishedWeights:
        url = f"http://127.0.0.1:{self.server_port}/net-{prefix}.pth"
        return PublishedWeights(
            name="NET", file_name="net.pth", sha256_prefix=prefix, url=url, stage="vggish"
        )


class Handler(BaseHTTPRequestHandler):
    server: Server

    def log_message(self, *arguments: object) -> None:
        pass

    def do_GET(self) -> None:
        server = self.server
        asked = self.headers.get("Range", "")
        server.asked.append(asked)
        if server.status != 200:
            self.send_error(server.status)
            return
        body, size = server.content, len(server.content)
        match = re.fullmatch(r"bytes=(\d+)-", asked)
        if match and server.ranges:
            start = int(match[1])
            if start >= size:
                self.send_error(416)
                return
            self.send_response(206)
            self.send_header("Content-Range", f"bytes {start}-{size - 1}/{size}")
            body = body[start:]
        else:
            self.send_response(200)
        if server.says_length:
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body[: server.cut_after.pop(0)] if server.cut_after else body)


@pytest.fixture
def server() -> Iterator[Server]:
    with Server() as made:
        thread = threading.Thread(target=made.serve_forever, args=(0.02,))
        thread.start()
        yield made
        made.shutdown()
        thread.join()


def test_a_whole_file_is_fetched_once(server: Server, tmp_path: Path) -> None:
    told = []
    folder = tmp_path / "new" / "weights"
    path = fetch_weights(server.entry(), folder, on_bytes=lambda *bytes_: told.append(bytes_))
    assert path == folder / "net.pth"
    assert path.read_bytes() == CONTENT
    assert told[-1] == (len(CONTENT), len(CONTENT))
    assert fetch_weights(server.entry(), folder) == path
    assert server.asked == [""]
    assert [p.name for p in folder.iterdir()] == ["net.pth"]


def test_a_broken_transfer_goes_on_where_it_stopped(server: Server, tmp_path: Path) -> None:
    server.cut_after = [1000000, 500000]
    assert fetch_weights(server.entry(), tmp_path).read_bytes() == CONTENT
    assert server.asked == ["", "bytes=1000000-", "bytes=1500000-"]


def test_a_later_call_goes_on_with_what_an_earlier_one_left(server: Server, tmp_path: Path) -> None:
    server.cut_after = [700000, 0, 0, 0]
    with pytest.raises(EnvironmentBroken, match=r"700000 bytes are here.*run the command again"):
        fetch_weights(server.entry(), tmp_path)
    assert not (tmp_path / "net.pth").exists()
    server.asked.clear()
    assert fetch_weights(server.entry(), tmp_path).read_bytes() == CONTENT
    assert server.asked == ["bytes=700000-"]


def test_a_server_without_ranges_begins_anew(server: Server, tmp_path: Path) -> None:
    server.ranges, server.cut_after = False, [1000]
    assert fetch_weights(server.entry(), tmp_path).read_bytes() == CONTENT


def test_a_server_that_states_no_length(server: Server, tmp_path: Path) -> None:
    server.says_length = False
    assert fetch_weights(server.entry(), tmp_path).read_bytes() == CONTENT


def test_a_part_that_is_whole_already(server: Server, tmp_path: Path) -> None:
    (tmp_path / ".net.pth.part").write_bytes(CONTENT)
    assert fetch_weights(server.entry(), tmp_path).read_bytes() == CONTENT


@pytest.mark.parametrize("part", [b"", b"of another file", CONTENT + b"more"])
def test_other_bytes_are_refused_and_leave_nothing(
    server: Server, tmp_path: Path, part: bytes
) -> None:
    if part:
        (tmp_path / ".net.pth.part").write_bytes(part)
    else:
        server.content = CONTENT[:-1] + b"!"
    with pytest.raises(WeightsMissing, match=f"expected {DIGEST[:8]}"):
        fetch_weights(server.entry(), tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_is_there_with_other_bytes_is_not_touched(
    server: Server, tmp_path: Path
) -> None:
    entry = PublishedWeights(
        name="AUDIOSET",
        file_name="vggish-10086976.pth",
        sha256_prefix="10086976",
        url=server.entry().url,
        stage="vggish",
    )
    (tmp_path / entry.file_name).write_bytes(b"mine")
    with pytest.raises(WeightsMissing, match="soundstage weights fetch AUDIOSET"):
        fetch_weights(entry, tmp_path)
    assert (tmp_path / entry.file_name).read_bytes() == b"mine"
    assert server.asked == []


def test_a_refusal_and_a_closed_door(server: Server, tmp_path: Path) -> None:
    server.status = 404
    with pytest.raises(EnvironmentBroken, match=r"answered 404.*by hand as net\.pth"):
        fetch_weights(server.entry(), tmp_path)
    closed = PublishedWeights(
        name="NET", file_name="net.pth", sha256_prefix="0", url="http://127.0.0.1:9/x", stage="s"
    )
    with pytest.raises(EnvironmentBroken, match="Look at the network"):
        fetch_weights(closed, tmp_path, timeout_s=5)


def test_two_processes_do_not_write_into_one_part(server: Server, tmp_path: Path) -> None:
    import fcntl

    with (tmp_path / ".net.pth.part").open("ab") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        with pytest.raises(EnvironmentBroken, match="another process"):
            fetch_weights(server.entry(), tmp_path)
    assert server.asked == []
