"""A web server on this machine that serves real clips, well and badly, and helpers around it."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from pipeline.datasets.base import SourceItem
from pipeline.download.config import FetchSettings
from storage.layout import Layout, open_store
from storage.records import DatasetItem

CLIP = "vas_dog_02677.mp4"
SETTINGS = FetchSettings(
    sleep_s=0,
    sleep_max_s=0,
    sleep_requests_s=0,
    backoff_s=0,
    retries=0,
    socket_timeout_s=0.5,
    allowed_extractors="generic",
    allowed_hosts="127.0.0.1",
    network_failures=99,
)


class Site(ThreadingHTTPServer):
    """Serves `/<behaviour>/<video id>/<clip>`; remembers what was asked for."""

    daemon_threads = True
    block_on_close = False

    def __init__(self, clips: Path) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.clips = clips
        self.asked: Counter[str] = Counter()
        self.ranges: list[str] = []
        self.served: Counter[str] = Counter()
        self.closing = threading.Event()
        self.slow_chunk_s = 0.01
        self.folder = clips

    def url(self, behaviour: str, video: str = "video", clip: str = CLIP) -> str:
        return f"http://127.0.0.1:{self.server_port}/{behaviour}/{video}/{clip}"

    def item(
        self,
        behaviour: str,
        video: str | None = None,
        window: str = "whole",
        clip: str = CLIP,
        **more: Any,
    ) -> SourceItem:
        video = video or behaviour.replace("/", "-")
        return SourceItem(
            item=DatasetItem(item_id=f"web/{video}/{window}"),
            path=None,
            url=self.url(behaviour, video, clip),
            **more,
        )

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Clients leave when they like."""


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Site

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing."""

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        _, behaviour, *rest = self.path.split("/")
        video = rest[-2]
        self.server.asked[video] += 1
        if self.headers.get("Range"):
            self.server.ranges.append(self.headers["Range"])
        getattr(self, f"serve_{behaviour}")(*rest)

    def serve_clip(self, video: str, clip: str, *, chunk_s: float = 0.0, upto: float = 1.0) -> None:
        data = (self.server.clips / clip).read_bytes()
        asked = self.headers.get("Range", "bytes=0-").removeprefix("bytes=").split("-")[0]
        start = int(asked or 0)
        self.send_response(206 if self.headers.get("Range") else 200)
        self.send_header("Content-Type", "video/mp4")
        self.send_header("Content-Length", str(len(data) - start))
        self.send_header("Accept-Ranges", "bytes")
        if self.headers.get("Range"):
            self.send_header("Content-Range", f"bytes {start}-{len(data) - 1}/{len(data)}")
        self.end_headers()
        for at in range(start, int(len(data) * upto), 1 << 14):
            piece = data[at : min(at + (1 << 14), int(len(data) * upto))]
            self.wfile.write(piece)
            self.server.served[video] += len(piece)
            time.sleep(chunk_s)
        if upto < 1:
            self.close_connection = True

    def serve_file(self, video: str, name: str) -> None:
        kind = "application/dash+xml" if name.endswith(".mpd") else "video/mp4"
        self._body((self.server.folder / name).read_bytes(), kind)

    def serve_slow(self, video: str, clip: str) -> None:
        self.serve_clip(video, clip, chunk_s=self.server.slow_chunk_s)

    def serve_redirect(self, video: str, clip: str) -> None:
        self._to(self.server.url("clip", video, clip))

    def serve_away(self, video: str, clip: str) -> None:
        self._to(self.server.url("clip", video, clip).replace("127.0.0.1", "localhost"))

    def _to(self, url: str) -> None:
        self.send_response(302)
        self.send_header("Location", url)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def serve_stall(self, video: str, clip: str) -> None:
        self.serve_clip(video, clip, upto=0.5)
        self.wfile.flush()
        self.server.closing.wait(30)

    def serve_truncate(self, video: str, clip: str) -> None:
        self.serve_clip(video, clip, upto=0.5)

    def serve_vanish(self, video: str, clip: str) -> None:
        """Give half of the file once, then know nothing of it."""
        if self.server.served[video]:
            self.serve_status("404", video, clip)
        elif self.server.asked[video] == 1:  # the first look of the extractor
            self.serve_clip(video, clip, upto=0.01)
            self.server.served[video] = 0
        else:
            self.serve_clip(video, clip, upto=0.5)

    def serve_flaky(self, times: str, video: str, clip: str) -> None:
        if self.server.asked[video] <= int(times):
            self.serve_status("500", video, clip)
        else:
            self.serve_clip(video, clip)

    def serve_status(self, code: str, video: str, clip: str) -> None:
        self.send_response(int(code))
        self.send_header("Content-Length", "0")
        self.end_headers()

    def serve_page(self, video: str, clip: str) -> None:
        self._body(b"<html><body>Nothing to see.</body></html>", "text/html")

    def serve_junk(self, video: str, clip: str) -> None:
        self._body(bytes(range(256)) * 64, "video/mp4")

    def serve_empty(self, video: str, clip: str) -> None:
        self._body(b"", "video/mp4")

    def _body(self, body: bytes, kind: str) -> None:
        self.send_response(200)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


@pytest.fixture
def site(shared_dir: Path) -> Iterator[Site]:
    """The server, running."""
    server = Site(shared_dir / "media" / "clips")
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    yield server
    server.closing.set()
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    """An empty store."""
    return open_store(tmp_path / "store", create=True)


@pytest.fixture(scope="session")
def settings() -> Callable[..., FetchSettings]:
    """Settings for the server, without pauses."""
    return lambda **changes: replace(SETTINGS, **changes)
