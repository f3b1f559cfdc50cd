"""Published lists by their names: `music21`, `music`, `llp`, `synthllp`, `audioset`, `csv`.

Flows in: a name such as `music:ccol` and the section [lists] of luigi.cfg. Flows out: a `Dataset`.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.datasets.base import Dataset
from pipeline.datasets.leaks import dataset_leaks, known_lists, video_key
from tasks.settings import ListSettings, Settings, SettingsError, one_of

if TYPE_CHECKING:
    from pipeline.synthllp import SynthLlp

OVERLAPS = ("refuse", "test", "train")


def list_names() -> tuple[str, ...]:
    """Return the names that `read_list` knows, without their variants."""
    return tuple(_READERS)


def read_list(name: str, settings: Settings) -> Dataset:
    """Return the dataset of a name such as `llp`, `music21:solo`, `music:ccol` or `csv:PATH`.

    What follows the colon wins over luigi.cfg.

    Raises
    ------
    SettingsError
        No lists folder is set, or a view or split that the list does not have.
    DatasetError
        A list that is missing or cannot be used.
    """
    base, _, variant = name.partition(":")
    dataset = _READERS[base](settings.lists, variant)
    named = base if base == "csv" or not variant else f"{base}-{variant.replace('+', '-')}"
    if base != "csv":
        dataset = replace(dataset, name=named)
    dataset = without_overlap(dataset, settings.lists.overlap)
    return without_videos(dataset, _videos(settings.lists, "exclude", settings.lists.exclude))


def without_overlap(dataset: Dataset, overlap: str) -> Dataset:
    """Return the dataset with videos of both training and test kept where `overlap` says.

    'refuse' leaves everything as it is (training will refuse); 'test' takes such videos out of
    training, 'train' out of the test.
    """
    shared = shared_videos(dataset)
    if overlap == "refuse" or not shared:
        return dataset
    listed = {video_key(item_id) for item_id in dataset.overlap}
    items = []
    for entry in dataset.items:
        video = video_key(entry.item.item_id)
        if video in listed:
            entry = replace(entry, item=replace(entry.item, split=overlap))
        elif video in shared and entry.item.split:
            stays = (entry.item.split == "test") == (overlap == "test")
            if not stays:
                continue
        items.append(entry)
    note = f"{len(shared)} video(s) of both training and test are kept for {overlap} only"
    return replace(dataset, items=tuple(items), overlap=(), notes=(*dataset.notes, note))


def without_videos(dataset: Dataset, videos: Collection[str]) -> Dataset:
    """Return the dataset without the training and validation items of these videos.

    A model trained on it may then be fine-tuned on data whose test they are. Test items stay.
    """
    left_out = [
        entry.item.item_id
        for entry in dataset.items
        if entry.item.split != "test" and video_key(entry.item.item_id) in videos
    ]
    if not left_out:
        return dataset
    gone = set(left_out)
    items = tuple(entry for entry in dataset.items if entry.item.item_id not in gone)
    note = f"{len(left_out)} item(s) are kept out of training by [lists] exclude"
    return replace(dataset, items=items, notes=(*dataset.notes, note))


def shared_videos(dataset: Dataset) -> frozenset[str]:
    """Return the videos that a dataset's lists put into both training and test."""
    return frozenset(video for leak in dataset_leaks(dataset) for video in leak.ids)


def _music21(lists: ListSettings, variant: str) -> Dataset:
    from pipeline.datasets.music import read_music21

    view = variant or lists.music21_view
    one_of("--dataset music21", "view", view, ("solo", "solo+duet"))
    return read_music21(
        _folder(lists),
        view=view,
        split=lists.music21_split,
        refit=lists.music21_refit,
        seed=lists.seed,
    )


def _music(lists: ListSettings, variant: str) -> Dataset:
    from pipeline.datasets.music import MUSIC_SPLITS, read_music

    split = variant or lists.music_split
    one_of("--dataset music", "split", split, MUSIC_SPLITS)
    return read_music(_folder(lists), view=lists.music_view, split=split, seed=lists.seed)


def _llp(lists: ListSettings, variant: str) -> Dataset:
    from pipeline.datasets.llp import read_llp

    edition = variant or lists.llp_audio_edition
    one_of("--dataset llp", "audio edition", edition, ("pre2024", "2024"))
    return read_llp(_folder(lists), audio_edition=edition)


def synthllp(lists: ListSettings, spec: str) -> SynthLlp:
    """Return the synthetic LLP of a size such as 'small' or 'small-clean', from the real lists."""
    from pipeline.synthllp import SPECS, read_synthllp

    one_of("--dataset synthllp", "size", spec, SPECS)
    return read_synthllp(_llp(lists, ""), spec)


def _synthllp(lists: ListSettings, variant: str) -> Dataset:
    return synthllp(lists, variant or "small").dataset


def _audioset(lists: ListSettings, variant: str) -> Dataset:
    from pipeline.datasets.audioset import read_audioset

    if variant:
        raise SettingsError(f"--dataset audioset:{variant}: there are no variants of audioset")
    files = [Path(part) for part in _parts(lists.audioset_files)]
    if not files:
        raise SettingsError(
            "--dataset audioset: [lists] audioset_files names no segment list; give the CSV files "
            "that AudioSet publishes, separated by ';'"
        )
    return read_audioset(
        files,
        names=Path(lists.audioset_names) if lists.audioset_names else None,
        classes=_parts(lists.audioset_classes),
        exclude=_videos(lists, "audioset_exclude", lists.audioset_exclude),
    )


def _csv(lists: ListSettings, variant: str) -> Dataset:
    from pipeline.datasets.csv_list import read_csv
    from tasks.context import folder_source

    path = variant or lists.csv
    if not path:
        raise SettingsError(
            "--dataset csv: no list given; write --dataset csv:PATH, or set [lists] csv"
        )
    source = folder_source(Path(path).resolve(), kind="csv")
    return replace(read_csv(Path(path), source=source), name=source)


_READERS: Mapping[str, Callable[[ListSettings, str], Dataset]] = {
    "music21": _music21,
    "music": _music,
    "llp": _llp,
    "synthllp": _synthllp,
    "audioset": _audioset,
    "csv": _csv,
}


def _folder(lists: ListSettings) -> Path:
    if not lists.dir:
        raise SettingsError(
            "[lists] dir is not set: give the folder that holds the published lists "
            "(docs/lists.md says where each comes from)"
        )
    return Path(lists.dir)


def _parts(text: str) -> list[str]:
    return [part.strip() for part in text.split(";") if part.strip()]


def _videos(lists: ListSettings, key: str, text: str) -> set[str]:
    """Return the video ids that the setting `key` of [lists] names.

    Each part is a list's name (`llp/test`) or a file of ids, one a line.
    """
    known = known_lists(_folder(lists)) if lists.dir and text.strip() else {}
    ids: set[str] = set()
    for part in _parts(text):
        if part in known:
            ids |= set(known[part])
        elif Path(part).is_file():
            ids |= set(Path(part).read_text(encoding="utf-8").split())
        else:
            raise SettingsError(
                f"[lists] {key}: {part!r} is neither a file of ids nor a known list "
                f"({', '.join(known) or '[lists] dir is not set'})"
            )
    return ids
