"""Estimates: sizes agree with what the stages really store, downloads with their pacing."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pipeline.datasets.base import SourceItem
from pipeline.download.config import FetchSettings
from pipeline.estimate.media import (
    ASSUMED_VIDEO_S,
    CUT_BYTES_PER_S_MPX,
    GUEST_VIDEOS_PER_HOUR,
    MediaEstimate,
    download_seconds,
    estimate_media,
)
from pipeline.estimate.sizes import pose_embed_size, stage_sizes
from pipeline.estimate.speeds import COSTS, UNKNOWN, core_seconds, gpu_seconds, stated_cost
from pipeline.pose.backends import BACKENDS
from pipeline.stage_configs import Resnet152Config
from pipeline.stages import STAGES, TABLE, default_configs, resolve
from pipeline.work import stage_schema
from storage import (
    MAX_ATTEMPTS,
    DatasetItem,
    FetchEvent,
    FetchLog,
    Layout,
    TimeBase,
    open_store,
)
from storage.failed import retry
from storage.outcomes import utc_now
from storage.schema import chunk_rows, row_bytes

ONE_SHARD_BYTES = 40_000
"""What a shard takes besides its items' rows: its index, record, and HDF5's own."""
DENSE = ("audio_11025", "audio_16000", "stft")


def test_sizes_are_those_of_real_shards(laboratory: Any, clips: Any) -> None:
    seconds = 8.0
    item = laboratory.add(clips.tone(seconds=seconds))
    stages = resolve({n: STAGES[n].default for n in ("frames", *DENSE)})
    sizes = stage_sizes(stages, seconds)
    for name, stage in stages.items():
        assert laboratory.run_stage(stage, [item])[item].ok
        assert laboratory.store.length(stage.record.name, item) == pytest.approx(
            sizes[name].rows, abs=1
        )
        if name in DENSE:
            (shard,) = laboratory.layout.shard_dir(stage.record.name, "lab").iterdir()
            (spec,) = stage_schema(stage).arrays
            last_chunk = chunk_rows(spec) * row_bytes(spec)  # written whole, however full
            assert 0 < shard.stat().st_size - sizes[name].bytes < last_chunk + ONE_SHARD_BYTES
    assert [name for name, size in sizes.items() if size.stated] == ["probe", "frames"]
    assert sizes["probe"].rows == 1


@pytest.mark.parametrize("seconds", [10.0, 95.0])
def test_every_stage_has_a_size(seconds: float) -> None:
    sizes = stage_sizes(resolve(default_configs()), seconds)
    assert set(sizes) == set(STAGES) - {"pose_embed"}
    assert sizes["resnet152"].rows == sizes["frames"].rows == 8 * seconds
    assert sizes["r2plus1d"].rows == sizes["vggish"].rows == seconds
    assert sizes["resnet152"].bytes == pytest.approx(8 * seconds * 2048 * 2, rel=0.01)
    assert sizes["stft"].bytes == pytest.approx(seconds * 11025 / 256 * 512 * 2 * 4, rel=0.01)
    assert sizes["audio_16000"].bytes == pytest.approx(seconds * 32000, rel=0.01)


def test_eighty_frames_are_eighty_rows_however_long_the_item() -> None:
    stages = resolve({"resnet152": Resnet152Config(sampling="llp")})
    assert {stage_sizes(stages, s)["resnet152"].rows for s in (5.0, 10.0, 300.0)} == {80}


def test_an_item_without_a_length_has_no_size() -> None:
    with pytest.raises(ValueError, match="above 0"):
        stage_sizes(resolve({"frames": STAGES["frames"].default}), 0.0)


def test_pose_embeddings_have_the_arrays_of_their_stage() -> None:
    from pipeline.extractors import pose_embed

    pose = stage_sizes(resolve({"pose": STAGES["pose"].default}), 100.0)["pose"]
    size = pose_embed_size(pose, persons=2, channels=256, stride=4)
    schema = pose_embed._schema(2, 256, mirrored=False)
    assert size.rows == 200
    assert size.time_base == TimeBase(0.0, 0.5)
    assert size.bytes == pytest.approx(200 * sum(map(row_bytes, schema.arrays)), rel=0.01)


def test_every_stage_and_backend_has_a_cost() -> None:
    assert set(COSTS) == set(TABLE)
    assert stated_cost("a stage of a package") == UNKNOWN
    sizes = stage_sizes(resolve(default_configs()), 10.0)
    for name, size in sizes.items():
        cost = stated_cost(name)
        assert core_seconds(cost, size, 10.0, float32=False) > 0
        assert (gpu_seconds(cost, size) > 0) == STAGES[name].network
    pose = sizes["pose"]
    times = {b: core_seconds(stated_cost("pose", b), pose, 10.0, float32=True) for b in BACKENDS}
    assert times["alphapose-json"] < times["mediapipe"] / 10
    resnet = stated_cost("resnet152")
    assert core_seconds(resnet, sizes["resnet152"], 10.0, float32=True) == pytest.approx(18.9, 0.01)


# Media


def entry(name: str, path: Path | None = None, **more: Any) -> SourceItem:
    item = DatasetItem(item_id=f"youtube/{name}")
    return SourceItem(item=item, path=path, **more)


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    return open_store(tmp_path / "store", create=True)


def record(layout: Layout, item: SourceItem, **more: Any) -> None:
    """Write what became of an item's fetch."""
    item_id = item.item.item_id
    with FetchLog(layout, "youtube") as log:
        log.append(FetchEvent(item_id=item_id, utc=utc_now(), **more))


def media(layout: Layout, items: list[SourceItem], **settings: Any) -> MediaEstimate:
    mode = settings.pop("import_mode", "copy")
    return estimate_media(layout, items, FetchSettings(**settings), import_mode=mode)


def test_windows_of_one_video_are_one_download(layout: Layout) -> None:
    items = [entry("aaaaaaaaaaa/0-10000"), entry("aaaaaaaaaaa/500000-510000")]
    items += [entry("-bbbbbbbbb_/0-10000")]
    found = media(layout, items, max_height=480)
    assert (found.download, found.videos, found.local, found.here) == (3, 2, 0, 0)
    assert found.mean_s == 10.0
    assert found.new_bytes == pytest.approx(30 * CUT_BYTES_PER_S_MPX * 0.4096, rel=0.01)
    per_s = found.transfer_bytes / (510 + ASSUMED_VIDEO_S)
    assert found.download_s == download_seconds(2, found.transfer_bytes, FetchSettings())
    small = media(layout, items, max_height=240)
    assert small.transfer_bytes == pytest.approx(found.transfer_bytes / 4)
    whole = media(layout, items, keep_full=True)
    assert whole.new_bytes == pytest.approx(found.new_bytes + found.transfer_bytes)
    assert 100e3 < per_s < 300e3


def test_pacing_decides_how_long_a_download_takes() -> None:
    slow = FetchSettings(sleep_s=50, sleep_max_s=70, sleep_requests_s=0)
    assert download_seconds(100, 0, slow) == 6000
    assert download_seconds(100, 2e9, slow) == 7000
    hurried = FetchSettings(sleep_s=0, sleep_max_s=0, sleep_requests_s=0)
    assert download_seconds(GUEST_VIDEOS_PER_HOUR, 0, hurried) == 3600
    assert download_seconds(0, 0, slow) == 0


def test_what_is_here_or_gone_is_not_fetched(layout: Layout) -> None:
    items = [entry(f"{letter * 11}/whole") for letter in "abcd"]
    record(layout, items[0], reason="ok", media="media/a.mp4", duration_s=60.0)
    record(layout, items[1], reason="corrupt")
    record(layout, items[2], reason="network")
    found = media(layout, items)
    assert (found.here, found.lost, found.download, found.videos) == (1, 1, 2, 2)
    assert set(found.lengths) == {items[n].item.item_id for n in (0, 2, 3)}
    assert found.mean_s == pytest.approx((60 + 2 * ASSUMED_VIDEO_S) / 3)
    assert any("assumed" in note for note in found.notes)
    for _ in range(MAX_ATTEMPTS - 1):
        record(layout, items[2], reason="network")
    assert media(layout, items).lost == 2, "three attempts are enough"
    retry(layout, lambda failure: failure.reason == "network")
    assert media(layout, items).lost == 1
    assert media(layout, []).items == 0


def test_lengths_and_rates_come_from_the_store_once_it_has_some(layout: Layout) -> None:
    items = [entry(f"{letter * 11}/whole") for letter in "abcdef"]
    for item in items[:5]:
        name = item.item.item_id.replace("/", "-")
        (layout.root / name).write_bytes(bytes(4000))
        record(layout, item, reason="ok", media=name, duration_s=40.0)
    found = media(layout, items)
    assert found.mean_s == 40.0
    assert found.transfer_bytes == pytest.approx(4000)


def test_files_that_are_here_take_their_own_size(
    layout: Layout, tmp_path: Path, clips: Any
) -> None:
    clip = clips.tone(seconds=2.0)
    size = clip.stat().st_size
    whole, window = entry("clip/whole", clip), entry("clip/0-1000", clip)
    found = media(layout, [whole, entry("gone/whole", tmp_path / "gone.mp4")])
    assert (found.local, found.download, found.new_bytes) == (2, 0, size)
    assert found.mean_s == pytest.approx(2.0, abs=0.1)
    assert media(layout, [whole], import_mode="symlink").new_bytes == 0
    assert media(layout, [window], import_mode="symlink").new_bytes > 0


def test_a_folder_of_videos_saves_downloads(layout: Layout, tmp_path: Path, clips: Any) -> None:
    folder = tmp_path / "videos"
    folder.mkdir()
    clip = clips.tone(seconds=2.0).read_bytes()
    (folder / "aaaaaaaaaaa.mp4").write_bytes(clip)
    (folder / "bbbbbbbbbbb_5_15.mp4").write_bytes(clip)
    ready = entry("bbbbbbbbbbb/5000-15000")
    items = [
        entry("aaaaaaaaaaa/whole"),
        replace(ready, clip_name="bbbbbbbbbbb_5_15"),
        entry("ccccccccccc/whole"),
    ]
    found = media(layout, items, videos_dir=str(folder))
    assert (found.local, found.download) == (2, 1)
    assert found.lengths["youtube/aaaaaaaaaaa/whole"] == pytest.approx(2.0, abs=0.1)
