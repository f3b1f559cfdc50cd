"""Synthetic LLP: labels and events are LLP's, rows deterministic and of the published layout."""

from __future__ import annotations

import tracemalloc
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from pipeline.datasets.base import Dataset, DatasetError
from pipeline.datasets.events import event_array
from pipeline.datasets.llp import read_llp
from pipeline.npy_features import FOLDERS
from pipeline.stages import STAGES, resolve
from pipeline.synthllp import SynthLlp, read_synthllp
from pipeline.synthllp.features import directions, rows_of
from pipeline.synthllp.plan import SIZES, label_patterns
from pipeline.synthllp.write import write_synthllp
from storage.layout import open_store
from storage.store import FeatureStore

ABSENT = {
    "Speech": (0.78, 0.02),
    "Car": (0.02, 0.21),
    "Cheering": (0.59, 0.07),
    "Dog": (0.08, 0.13),
    "Cat": (0.05, 0.28),
    "Singing": (0.32, 0.02),
    "Violin_fiddle": (0.17, 0.03),
    "Clapping": (0.42, 0.06),
    "Acoustic_guitar": (0.08, 0.10),
}
"""Share of LLP's tags whose class is not seen, and not heard, in validation and test."""


@pytest.fixture(scope="module")
def llp(shared_dir: Path) -> Dataset:
    return read_llp(shared_dir / "data")


@pytest.fixture(scope="module")
def full(llp: Dataset) -> SynthLlp:
    return read_synthllp(llp, "full")


def test_full_has_every_item_with_its_labels_and_events(llp: Dataset, full: SynthLlp) -> None:
    assert len(full.dataset.items) == len(full.clips) == 11_849
    for mine, real, clip in zip(full.dataset.items, llp.items, full.clips, strict=True):
        assert replace(mine.item, item_id=real.item.item_id, tasks=()) == real.item
        assert mine.item.item_id == clip.item_id
        assert clip.item_id.split("/")[0] == "synthllp-full"
        if real.item.events is not None:
            assert (clip.on == event_array(real.item.events, llp.classes, 10)).all()


def test_drawn_seconds_agree_with_the_labels(llp: Dataset, full: SynthLlp) -> None:
    for entry, clip in zip(full.dataset.items, full.clips, strict=True):
        if entry.item.split == "train":
            present = {llp.classes[i] for i in np.flatnonzero(clip.on.any(axis=(0, 2)))}
            assert present == set(entry.item.labels)


def absent_rates(made: SynthLlp, name: str) -> tuple[float, float]:
    """Share of training clips tagged with a class that is not seen, and not heard."""
    index = made.dataset.classes.index(name)
    rows = [
        clip.on[:, index].any(axis=1)
        for entry, clip in zip(made.dataset.items, made.clips, strict=True)
        if entry.item.split == "train" and name in entry.item.labels
    ]
    heard, seen = np.array(rows).T
    return 1 - seen.mean(), 1 - heard.mean()


def test_training_labels_miss_a_modality_as_often_as_llps(llp: Dataset, full: SynthLlp) -> None:
    for name, rates in ABSENT.items():
        assert absent_rates(full, name) == pytest.approx(rates, abs=0.06), name
    clean = read_synthllp(llp, "full-clean")
    assert all(absent_rates(clean, name) == (0, 0) for name in llp.classes)
    tested = [
        (mine.on == other.on).all()
        for mine, other, entry in zip(full.clips, clean.clips, llp.items, strict=True)
        if entry.item.split != "train"
    ]
    assert all(tested)


def test_small_keeps_the_whole_test_part(llp: Dataset) -> None:
    made = read_synthllp(llp, "small")
    splits = Counter(entry.item.split for entry in made.dataset.items)
    assert splits == SIZES["small"]
    trained = {n for e in made.dataset.items if e.item.split == "train" for n in e.item.labels}
    assert trained == set(llp.classes)
    again, other = read_synthllp(llp, "small"), read_synthllp(llp, "small", seed=1)
    assert again.dataset == made.dataset
    assert all((a.on == b.on).all() for a, b in zip(again.clips, made.clips, strict=True))
    assert {c.item_id for c in other.clips} != {c.item_id for c in made.clips}
    assert other.digest != made.digest != read_synthllp(llp, "small-clean").digest


def test_rows_depend_on_the_clip_and_the_seed_alone(full: SynthLlp) -> None:
    clip = full.clips[10_700]
    elsewhere = replace(clip, item_id=clip.item_id.replace("synthllp-full", "synthllp-small"))
    for stage, folder in FOLDERS.items():
        rows = rows_of(clip, stage, seed=0)
        assert (rows.shape, rows.dtype) == ((folder.rows, folder.width), np.float32)
        assert (rows >= 0).all()
        assert np.isfinite(rows).all()
        assert (rows_of(elsewhere, stage, seed=0) == rows).all()
        assert (rows_of(clip, stage, seed=1) != rows).any()


def test_a_second_shows_its_events_and_no_others(full: SynthLlp) -> None:
    for stage, modality in (("vggish", 0), ("resnet152", 1), ("r2plus1d", 1)):
        towards = directions(stage, 25, 0)
        found: dict[int, list[np.ndarray]] = {0: [], 1: []}
        for clip in full.clips[-60:]:
            rows = rows_of(clip, stage, seed=0).reshape(10, -1, towards.shape[1]).mean(1)
            strength = rows @ towards.T
            for value in (0, 1):
                found[value].append(strength.T[clip.on[modality] == value])
        on, off = np.concatenate(found[1]), np.concatenate(found[0])
        assert on.mean() - off.mean() > 2 * off.std(), stage


def test_shards_hold_the_rows_and_are_kept(llp: Dataset, tmp_path: Path) -> None:
    made = read_synthllp(llp, "micro")
    made = replace(made, clips=made.clips[::6])
    layout = open_store(tmp_path / "store", create=True)
    first = list(write_synthllp(layout, made))
    assert len(first) == 3
    configs = {
        stage: STAGES[stage].config(weights=preset["weights"])
        for stage, preset in made.dataset.preset.items()
    }
    stages = resolve(configs)
    store = FeatureStore(layout.root)
    for stage, folder in FOLDERS.items():
        name = stages[stage].record.name
        assert set(store.items(name)) == {clip.item_id for clip in made.clips}
        for clip in made.clips[::4]:
            rows = rows_of(clip, stage, seed=0)
            assert (store.rows(name, clip.item_id) == rows).all()
            assert store.time_base(name, clip.item_id).hop_s == folder.hop_s
    shards = {path: path.stat().st_mtime_ns for path in layout.root.rglob("*.h5")}
    assert list(write_synthllp(layout, made)) == first
    assert shards == {path: path.stat().st_mtime_ns for path in layout.root.rglob("*.h5")}
    other = open_store(tmp_path / "other", create=True)
    list(write_synthllp(other, made))
    for path in shards:
        assert (other.root / path.relative_to(layout.root)).read_bytes() == path.read_bytes()


def test_memory_does_not_grow_with_the_clips(llp: Dataset, tmp_path: Path) -> None:
    made = read_synthllp(llp, "micro")
    peaks = []
    for count in (2, 8, 32):
        few = replace(made, clips=made.clips[:count])
        layout = open_store(tmp_path / f"{count}", create=True)
        tracemalloc.start()
        list(write_synthllp(layout, few))
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[2] < peaks[1] + 4e6  # the 24 clips between have 16e6 bytes


def test_what_cannot_be_made_is_refused(llp: Dataset) -> None:
    with pytest.raises(DatasetError, match="size is 'tiny'; expected one of micro, micro-clean"):
        read_synthllp(llp, "tiny")
    few = replace(llp, items=llp.items[:100])
    with pytest.raises(DatasetError, match="expected 900 train clips in LLP's lists, got 100"):
        read_synthllp(few, "small")


def test_patterns_are_of_clips_with_the_tag(llp: Dataset) -> None:
    items = [entry.item for entry in llp.items]
    patterns = label_patterns(items, llp.classes)
    both = label_patterns(items, llp.classes, both=True)
    for name in llp.classes:
        assert patterns[name].any(axis=2).any(axis=1).all()
        assert both[name].any(axis=2).all()
        assert 0 < len(both[name]) <= len(patterns[name])
