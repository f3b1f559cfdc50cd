"""One item through one stage: what a worker runs. A job goes in, a staged file and its outcome
come out.

This is the single place where an item's exceptions become data. A broken environment (a program
or weights that are missing, a store that cannot be written) is raised instead: it would fail every
item, so it fails the run.
"""

from __future__ import annotations

import errno
import faulthandler
import importlib
import importlib.metadata
import logging
import platform
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from pathlib import Path

from pipeline.extractors.base import Extractor, Inputs
from pipeline.failures import EnvironmentBroken, ItemFailure, ProcessFailed, ProcessTimeout
from pipeline.ffmpeg import ffmpeg_version
from pipeline.media import OK, MediaInfo, MediaRef
from pipeline.stages import ResolvedStage
from storage.errors import ItemNotFound, StageNotFound, StoreNotWritable
from storage.layout import Layout
from storage.records import UPSTREAM, Block, Outcome, StageSchema
from storage.staging import ItemWriter, stage_failure
from storage.store import FeatureStore

logger = logging.getLogger(__name__)

PROVENANCE_PACKAGES = (
    "numpy",
    "scipy",
    "h5py",
    "opencv-python",
    "torch",
    "torchvision",
    "torchaudio",
    "mediapipe",
    "soundstage",
)
DETAIL_CHARS = 2000
GRACE_S = 30.0
"""Between the end of a child at its time limit and that of a worker that hangs all the same."""
_EXTRACTORS: dict[tuple[str, str], Extractor] = {}
_TRACE_CHARS = 1500


@dataclass(frozen=True, slots=True, kw_only=True)
class ItemJob:
    """One item to run through one stage. Picklable and small.

    `staged_path` is where the finished rows (or the failure) are published. `timeout_s` limits
    each child process. `device` is 'auto', 'cpu' or a torch device; `alone` says that no other
    worker shares the machine, so that torch may use its threads. `also` are jobs of the same item
    through other stages of the same decode (`StageDef.decode`): they are staged by the way, and a
    job of their own finds them finished.
    """

    stage: ResolvedStage
    media: MediaRef
    store_root: str
    staged_path: str
    timeout_s: float = 3600.0
    device: str = "auto"
    alone: bool = False
    also: tuple[ItemJob, ...] = ()


def run_item(job: ItemJob) -> Outcome:
    """Run one item through one stage, publish its staged file, return what became of it.

    Raises
    ------
    EnvironmentBroken, StoreNotWritable
        What would fail every item: the run must stop.
    """
    started = time.monotonic()
    outcome = _attempt(job, lambda: _extract(job))
    if not outcome.ok:
        digest = job.stage.input_sha256(job.media)
        stage_failure(Path(job.staged_path), outcome, digest)
    logger.debug(
        "%s %s: %s in %.2f s",
        job.stage.record.name,
        job.media.item_id,
        outcome.reason,
        time.monotonic() - started,
    )
    return outcome


def run_watched(job: ItemJob) -> Outcome:
    """Run one item as `run_item` does, in a worker process that ends when the item does not.

    The job's time limit ends each of its child processes first, which gives the item its outcome.
    What hangs beyond that hangs in this process: all its threads' stacks go to stderr, the process
    exits, and who started it gives the job to another one.
    """
    faulthandler.dump_traceback_later(job.timeout_s + GRACE_S, exit=True)
    try:
        return run_item(job)
    finally:
        faulthandler.cancel_dump_traceback_later()


def stage_schema(stage: ResolvedStage, store_root: str = "") -> StageSchema:
    """Return the contract of a stage's arrays; imports the stage's code, loads no network.

    The store's root is needed where the schema depends on a trained model.
    """
    return _build(_placed(stage, store_root)).schema


def _attempt(job: ItemJob, act: Callable[[], None]) -> Outcome:
    """Return the outcome of an act for an item; every exception of the item's own is one."""
    try:
        act()
    except (EnvironmentBroken, StoreNotWritable):
        raise
    except ItemFailure as failure:
        return _failed(job, failure.reason, failure.detail)
    except ProcessTimeout as error:
        return _failed(job, "timeout", str(error))
    except ProcessFailed as error:
        return _failed(job, "corrupt", str(error))
    except MemoryError as error:
        return _failed(job, "out_of_memory", _trace(error))
    except OverflowError as error:
        return _failed(job, "value_overflow", str(error))
    except Exception as error:  # noqa: BLE001  the item boundary: whatever it was, it is recorded
        return _failed(job, _reason(error), _trace(error))
    return Outcome(item_id=job.media.item_id)


def _reason(error: Exception) -> str:
    """Return the reason for an exception that no one foresaw."""
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return "disk_full"
    # torch.cuda.OutOfMemoryError is a RuntimeError; CPU allocations say it in words only
    if type(error).__name__ == "OutOfMemoryError" or "can't allocate memory" in str(error):
        return "out_of_memory"
    return "crash"


def _failed(job: ItemJob, reason: str, detail: str) -> Outcome:
    return Outcome(item_id=job.media.item_id, reason=reason, detail=detail[-DETAIL_CHARS:])


def _trace(error: BaseException) -> str:
    return "".join(traceback.format_exception(error))[-_TRACE_CHARS:].strip()


def _extract(job: ItemJob) -> None:
    with tempfile.TemporaryDirectory(prefix="soundstage-") as folder:
        scratch = Path(folder)
        _stage_rows(job, scratch)
        for other in job.also:  # where it fails nothing is staged: its own job will say why
            _attempt(other, partial(_stage_rows, other, scratch))


def _stage_rows(job: ItemJob, scratch: Path) -> None:
    store = _store(job.store_root)
    _check_upstream(job, store)
    stage, media = job.stage, job.media
    extractor = extractor_of(job)
    inputs = Inputs(
        media=media,
        stage=stage,
        store=store,
        scratch=scratch,
        timeout_s=job.timeout_s,
        also=[other.stage for other in job.also],
    )
    if "probe" in stage.upstream:
        _check_streams(stage, inputs.info())
    writer = ItemWriter(
        Path(job.staged_path),
        extractor.schema,
        extractor.time_base(inputs),
        stage.input_sha256(media),
        item_id=media.item_id,
    )
    with writer, _closing(extractor.extract(inputs)) as blocks:
        for block in blocks:
            writer.append(block)


@contextmanager
def _closing(blocks: Iterator[Block]) -> Iterator[Iterator[Block]]:
    """Yield the blocks; close their generator afterwards, which ends its child processes."""
    try:
        yield blocks
    finally:
        close = getattr(blocks, "close", None)
        if close is not None:
            close()


def _check_upstream(job: ItemJob, store: FeatureStore) -> None:
    """Raise ItemFailure unless every stage that is read has rows of this very media."""
    item_id = job.media.item_id
    good = {job.media.sha256, job.stage.input_sha256(job.media)}
    for name, address in job.stage.upstream.items():
        try:
            store.length(address, item_id)
            if store.media_sha256(address)[item_id] not in good:
                store.refresh()
                if store.media_sha256(address)[item_id] not in good:
                    raise ItemFailure(UPSTREAM + name, f"{address} has rows of other media")
        except (ItemNotFound, StageNotFound) as error:
            raise ItemFailure(UPSTREAM + name, str(error)) from error


def _check_streams(stage: ResolvedStage, info: MediaInfo) -> None:
    if stage.definition.needs != "any":
        reason, detail = info.verdict(stage.definition.needs)
        if reason != OK:
            raise ItemFailure(reason, detail)


def _placed(stage: ResolvedStage, store_root: str) -> ResolvedStage:
    """Return the stage with the path of its trained model, in the store as it is mounted here."""
    model = getattr(stage.config, "model", None)
    if model is None or stage.weights_path is not None or not store_root:
        return stage
    path = Layout(Path(store_root)).model(model) / "weights.safetensors"
    return replace(stage, weights_path=str(path))


def _device(asked: str) -> str:
    if asked != "auto":
        return asked
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"


def extractor_of(job: ItemJob) -> Extractor:
    """Return the extractor that runs a job, built once per process: a network is loaded once."""
    stage = _placed(job.stage, job.store_root)
    if stage.definition.network:
        stage = replace(stage, device=_device(job.device))
    key = (stage.record.name, stage.device)
    if key not in _EXTRACTORS:
        if stage.definition.network and not job.alone:
            import torch

            torch.set_num_threads(1)
        _EXTRACTORS[key] = _build(stage)
    return _EXTRACTORS[key]


def _build(stage: ResolvedStage) -> Extractor:
    return importlib.import_module(stage.definition.module).build(stage)


@lru_cache(maxsize=4)
def _store(root: str) -> FeatureStore:
    return FeatureStore(root)


def provenance(device: str = "cpu") -> dict[str, str]:
    """Return what a shard records besides its fingerprint: versions, machine type and device."""
    found = {"python": platform.python_version(), "machine": platform.machine(), "device": device}
    for package in PROVENANCE_PACKAGES:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    found["ffmpeg"] = ffmpeg_version()
    return found
