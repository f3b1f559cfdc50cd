"""Every path of a store, and the door to it: `open_store` checks that a root is one we can use.

In: names, numbers and item ids. Out: paths. Nothing else in the project joins paths below the root.
"""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass
from pathlib import Path

from storage.atomic import publish_json, temp_path
from storage.errors import InvalidRecord, StoreError, StoreNotFound, StoreNotWritable, StoreTooNew
from storage.records import ItemId

STORE_SCHEMA_VERSION = 1
STAGE_NAME = re.compile(r"(?P<stage>[a-z][a-z0-9_]*)-(?P<fingerprint>[0-9a-f]{12})")
SHARD_FILE = re.compile(r"shard-(?P<number>\d{5,})(?:\.r(?P<supplement>[1-9]\d*))?\.h5")
PLAN_FILE = re.compile(r"shard-(?P<number>\d{5,})\.json")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.+=,@-]*")
_MAX_COMPONENT_BYTES = 200


def component(text: str) -> str:
    """Return `text` as a path component of bounded length: a long one ends in `!` and a digest."""
    if len(text.encode()) <= _MAX_COMPONENT_BYTES:
        return text
    digest = hashlib.sha256(text.encode()).hexdigest()[:16]
    return f"{text[: _MAX_COMPONENT_BYTES - 17]}!{digest}"


def split_stage_name(name: str) -> tuple[str, str]:
    """Return (stage, fingerprint) of `<stage>-<fingerprint>`; raises InvalidRecord otherwise."""
    match = STAGE_NAME.fullmatch(name)
    if match is None:
        raise InvalidRecord(f"stage name {name!r}: expected <stage>-<12 hex digits>")
    return match["stage"], match["fingerprint"]


def _checked(kind: str, name: str) -> str:
    if not _NAME.fullmatch(name):
        raise InvalidRecord(f"{kind} {name!r}: expected letters, digits and '_.+=,@-'")
    return component(name)


def _shard(number: int) -> str:
    return f"shard-{number:05d}"


@dataclass(frozen=True, slots=True)
class Layout:
    """The paths below one store's root."""

    root: Path

    def __post_init__(self) -> None:
        object.__setattr__(self, "root", Path(self.root).absolute())

    @property
    def store_file(self) -> Path:
        """The file that makes a folder a store."""
        return self.root / "store.json"

    def sources(self) -> Path:
        """The folder of all sources."""
        return self.root / "sources"

    def source(self, source: str) -> Path:
        """The folder of one source's plan and views."""
        return self.sources() / _checked("source", source)

    def plan_dir(self, source: str) -> Path:
        """The folder of a source's plan."""
        return self.source(source) / "plan"

    def plan_shard(self, source: str, number: int) -> Path:
        """The file that says which items a shard holds."""
        return self.plan_dir(source) / f"{_shard(number)}.json"

    def source_views(self, source: str) -> Path:
        """The folder of the views that name the stages of a source's last runs."""
        return self.source(source) / "view"

    def media_dir(self, item: ItemId | str) -> Path:
        """The folder of an item's media files."""
        item = ItemId.parse(item) if isinstance(item, str) else item
        return self.root / "media" / item.source / component(item.video_id)

    def stages(self) -> Path:
        """The folder of all stages."""
        return self.root / "stages"

    def stage_dir(self, name_fp: str) -> Path:
        """The folder of one stage, `<stage>-<fingerprint>`."""
        split_stage_name(name_fp)
        return self.stages() / name_fp

    def stage_meta(self, name_fp: str) -> Path:
        """The whole record behind a stage's fingerprint."""
        return self.stage_dir(name_fp) / "meta.json"

    def shard_dir(self, name_fp: str, source: str) -> Path:
        """The folder of one stage's shards of one source."""
        return self.stage_dir(name_fp) / _checked("source", source)

    def shard(self, name_fp: str, source: str, number: int, supplement: int = 0) -> Path:
        """A shard (supplement 0), or the supplement that holds its retried items."""
        suffix = f".r{supplement}" if supplement else ""
        return self.shard_dir(name_fp, source) / f"{_shard(number)}{suffix}.h5"

    def staging_root(self) -> Path:
        """The folder of every shard in progress."""
        return self.root / "staging"

    def staging(self, name_fp: str, source: str, number: int) -> Path:
        """The folder of a shard's finished items, until the shard is complete."""
        split_stage_name(name_fp)
        return self.staging_root() / name_fp / _checked("source", source) / _shard(number)

    def staged_item(self, name_fp: str, source: str, number: int, item_id: ItemId | str) -> Path:
        """One finished item of a shard in progress."""
        item = ItemId.parse(item_id) if isinstance(item_id, str) else item_id
        return self.staging(name_fp, source, number) / (
            component(f"{item.video_id}.{item.window}") + ".h5"
        )

    def fetch_logs(self) -> Path:
        """The folder of every source's fetch outcomes."""
        return self.root / "outcomes" / "fetch"

    def fetch_log(self, source: str) -> Path:
        """The folder of a source's fetch outcomes."""
        return self.fetch_logs() / _checked("source", source)

    def rates(self, name_fp: str) -> Path:
        """The folder of the measured speeds of one stage."""
        split_stage_name(name_fp)
        return self.root / "outcomes" / "rates" / name_fp

    def retries(self) -> Path:
        """The folder of every mark that an item is to be tried again."""
        return self.root / "outcomes" / "retry"

    def retry_log(self, source: str, scope: str) -> Path:
        """The folder of a source's marks for 'fetch' or for one `<stage>-<fingerprint>`."""
        return self.retries() / _checked("source", source) / _checked("scope", scope)

    def downloads(self, host: str) -> Path:
        """The folder of one machine's unfinished downloads; no two machines share a file there."""
        return self.root / "downloads" / _checked("host", host)

    def download(self, host: str, item: ItemId | str) -> Path:
        """The folder of one video's unfinished download, for all its windows."""
        item = ItemId.parse(item) if isinstance(item, str) else item
        return self.downloads(host) / item.source / component(item.video_id)

    def datasets(self) -> Path:
        """The folder of all datasets."""
        return self.root / "datasets"

    def dataset(self, name: str) -> Path:
        """The folder of one dataset's views, snapshots and pins."""
        return self.datasets() / _checked("dataset", name)

    def snapshots(self, dataset: str) -> Path:
        """The folder of a dataset's snapshots."""
        return self.dataset(dataset) / "snapshots"

    def snapshot(self, dataset: str, digest: str) -> Path:
        """The exact items that a model was trained and tested on."""
        return self.snapshots(dataset) / f"{_checked('snapshot', digest)}.jsonl"

    def pins(self, dataset: str) -> Path:
        """Which trained model a learned stage uses."""
        return self.dataset(dataset) / "pins.json"

    def models(self) -> Path:
        """The folder of all models."""
        return self.root / "models"

    def model(self, name: str) -> Path:
        """The folder of one published model."""
        return self.models() / _checked("model", name)

    def evaluations(self) -> Path:
        """The folder of all evaluations."""
        return self.root / "evaluations"

    def evaluation(self, name: str) -> Path:
        """The folder of one published evaluation."""
        return self.evaluations() / _checked("evaluation", name)

    def reports(self) -> Path:
        """The folder of all reports."""
        return self.root / "reports"

    def report(self, name: str) -> Path:
        """The folder of one report."""
        return self.reports() / _checked("report", name)

    def runs(self) -> Path:
        """The folder of work in progress."""
        return self.root / "runs"

    def run(self, run_id: str) -> Path:
        """The folder of one run: checkpoints, logs, lease."""
        return self.runs() / _checked("run", run_id)


def open_store(root: Path | str, create: bool = False) -> Layout:
    """Return the layout of the store at `root`.

    With `create` the store is made when absent, and a file is really written to it (permission
    bits say nothing about read-only mounts, and root ignores them). Raises StoreNotFound,
    StoreTooNew or StoreNotWritable.
    """
    layout = Layout(Path(root))
    if create:
        _check_writable(layout.root)
        if not layout.store_file.exists():
            publish_json(layout.store_file, {"schema_version": STORE_SCHEMA_VERSION})
    try:
        version = int(json.loads(layout.store_file.read_text(encoding="utf-8"))["schema_version"])
    except (FileNotFoundError, NotADirectoryError) as error:
        raise StoreNotFound(
            f"{layout.root}: no store here (store.json is missing); check the path, or run the "
            "pipeline once with this root to create it"
        ) from error
    except (ValueError, TypeError, KeyError) as error:
        raise StoreError(f"{layout.store_file}: not a store's description ({error})") from error
    if version > STORE_SCHEMA_VERSION:
        raise StoreTooNew(
            f"{layout.root}: the store has schema version {version}, this software reads up to "
            f"{STORE_SCHEMA_VERSION}; upgrade soundstage"
        )
    return layout


def _check_writable(root: Path) -> None:
    try:
        root.mkdir(parents=True, exist_ok=True)
        probe = temp_path(root)
        try:
            probe.write_bytes(b"soundstage\n")
        finally:
            probe.unlink(missing_ok=True)
    except OSError as error:
        raise StoreNotWritable(
            f"{root}: cannot write to the store ({error.strerror}); check the mount, the "
            "permissions and the free space, or choose another root"
        ) from error
