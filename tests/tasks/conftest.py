"""A folder dataset, a store and settings of their own, in which subcommands run in this process."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from luigi.configuration import LuigiConfigParser

from pipeline.fetch import origin_stat
from pipeline.work import stage_schema
from storage import FetchEvent, FetchLog, ItemWriter, Outcome, TimeBase, stage_failure
from storage.plan import extend_plan, read_plan
from storage.shard_writer import write_shard
from tasks.cli import main
from tasks.context import Context, load_context


class Desk:
    """Files that are never decoded: what became of them is written into the store directly."""

    def __init__(
        self, path: Path, parser: LuigiConfigParser, capsys: pytest.CaptureFixture[str]
    ) -> None:
        self.capsys = capsys
        self.path = path
        self.videos = path / "videos"
        self.root = path / "store"
        parser.read_string(f"[soundstage]\nroot = {self.root}\ndemo_dir = {path / 'demo'}\n")
        self.parser = parser

    def list(self, rows: Sequence[tuple[str, str, str]], size_bytes: int = 10) -> None:
        """Make a folder of (file, labels, split)."""
        self.videos.mkdir(exist_ok=True)
        with (self.videos / "labels.csv").open("w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(("file", "labels", "split"))
            writer.writerows(rows)
        for name, _, _ in rows:
            (self.videos / name).write_bytes(b"x" * size_bytes)
        load_context.cache_clear()

    @property
    def name(self) -> str:
        return f"folder:{self.videos}"

    @property
    def context(self) -> Context:
        return load_context(self.name, "features")

    def item(self, file: str) -> str:
        return f"{self.context.sources[0]}/{file}/whole"

    def fetched(self, file: str, reason: str = "ok", duration_s: float = 0.0, **more: Any) -> None:
        """Record what became of a file's import."""
        more = {"origin_stat": origin_stat(self.videos / file)} | more
        if reason == "ok":
            more = {"media": f"media/{file}", "sha256": "m1"} | more
        event = FetchEvent(
            item_id=self.item(file),
            reason=reason,
            utc=datetime.now(UTC).isoformat(),
            duration_s=duration_s,
            **more,
        )
        with FetchLog(self.context.layout, self.context.sources[0]) as log:
            log.append(event)

    def computed(self, stage: str, outcomes: Mapping[str, str], rows: Any = None) -> Path:
        """Publish the first shard of a stage: file -> 'ok' or a reason."""
        context, resolved = self.context, self.context.stages[stage]
        source, layout = context.sources[0], context.layout
        ids = [self.item(file) for file in outcomes]
        if not read_plan(layout, source):
            extend_plan(layout, source, [(i, 1.0) for i in ids])
        schema = stage_schema(resolved)
        for item_id, reason in zip(ids, outcomes.values(), strict=True):
            path = layout.staged_item(resolved.record.name, source, 0, item_id)
            if reason != "ok":
                stage_failure(path, Outcome(item_id=item_id, reason=reason), "m1")
                continue
            with ItemWriter(path, schema, TimeBase(0.0, 1.0), "m1", item_id=item_id) as writer:
                writer.append(rows or {"info": [b"{}"]})
        return write_shard(layout, resolved.record, source, 0, ids, provenance={}, schema=schema)

    def run(self, *arguments: str) -> int:
        """Run a subcommand and return its exit code."""
        load_context.cache_clear()
        return main(arguments)

    def json(self, *arguments: str) -> Any:
        """Run a subcommand that succeeds, and return the JSON that it prints."""
        self.capsys.readouterr()
        assert self.run(*arguments, "--json") == 0
        return json.loads(self.capsys.readouterr().out)


@pytest.fixture
def desk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Iterator[Desk]:
    """A store and settings of their own."""
    parser = LuigiConfigParser()
    monkeypatch.setattr(LuigiConfigParser, "_instance", parser)
    yield Desk(tmp_path, parser, capsys)
    load_context.cache_clear()
