"""From shards to clips, batches and arrays of events."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from model.avvp.data import (
    BadItem,
    Clip,
    Scale,
    class_list,
    collate,
    event_array,
    load_clips,
    permuted_tags,
)
from storage.records import DatasetItem, Event
from storage.store import FeatureStore

SIZES = {"vggish": 128, "resnet152": 2048, "r2plus1d": 512}
CLASSES = ("Speech", "Dog")


def item(name: str, labels: tuple[str, ...] = ("Dog",), window: str = "0-10000") -> DatasetItem:
    return DatasetItem(item_id=f"made/{name}/{window}", labels=labels, split="train")


def ramp(rows: int, size: int) -> np.ndarray:
    """Row i holds i."""
    return np.repeat(np.arange(rows, dtype=np.float32)[:, None], size, axis=1)


def rows(vggish: int, resnet152: int, r2plus1d: int) -> dict[str, np.ndarray]:
    counts = {"vggish": vggish, "resnet152": resnet152, "r2plus1d": r2plus1d}
    return {stage: ramp(count, SIZES[stage]) for stage, count in counts.items() if count}


def loaded(make_store, root: Path, given: list) -> tuple[list[Clip], dict[str, str]]:
    items = [one for one, _ in given]
    made = make_store(root, items, lambda number, _: given[number][1])
    return load_clips(FeatureStore(made.layout.root), made.stages, items, CLASSES)


def clip(seconds: int, tag: int = 0, value: float = 1.0) -> Clip:
    return Clip(
        item_id=f"made/{seconds}/whole",
        audio_TE=torch.full((seconds, 128), value),
        picture_TE=torch.full((seconds, 2048), value),
        motion_TE=torch.full((seconds, 512), value),
        tags_C=torch.eye(2)[tag],
    )


def test_pictures_are_averaged_over_each_second(make_store, tmp_path: Path) -> None:
    clips, missing = loaded(make_store, tmp_path, [(item("a"), rows(10, 80, 10))])
    assert missing == {}
    assert len(clips[0]) == 10
    assert clips[0].picture_TE[:, 0].tolist() == [8 * second + 3.5 for second in range(10)]
    assert clips[0].audio_TE[:, 5].tolist() == list(range(10))
    assert clips[0].tags_C.tolist() == [0.0, 1.0]


def test_a_feature_is_cut_or_held_to_the_window(make_store, tmp_path: Path) -> None:
    given = [(item("a"), rows(9, 82, 12)), (item("b"), rows(10, 76, 10))]
    clips, missing = loaded(make_store, tmp_path, given)
    assert missing == {}
    assert [len(c) for c in clips] == [10, 10]
    assert clips[0].audio_TE[:, 0].tolist() == [*range(9), 8]
    assert clips[0].motion_TE[-1, 0] == 9
    assert clips[1].picture_TE[-1, 0] == np.arange(72, 76).mean()


def test_a_whole_video_has_as_many_seconds_as_its_longest_feature(
    make_store, tmp_path: Path
) -> None:
    given = [
        (item("a", window="whole"), rows(6, 56, 7)),
        (item("b", window="whole"), rows(1, 4, 1)),
    ]
    clips, missing = loaded(make_store, tmp_path, given)
    assert missing == {}
    assert [len(c) for c in clips] == [7, 1]


def test_what_cannot_be_used_is_left_out_with_its_reason(make_store, tmp_path: Path) -> None:
    given = [
        (item("good"), rows(10, 80, 10)),
        (item("short"), rows(7, 80, 10)),
        (item("mute"), rows(0, 80, 10)),
    ]
    clips, missing = loaded(make_store, tmp_path, given)
    assert [c.item_id for c in clips] == ["made/good/0-10000"]
    assert missing["made/short/0-10000"] == "vggish has 7 seconds, expected 10"
    assert "no_audio" in missing["made/mute/0-10000"]


def test_values_that_are_no_numbers_are_an_error_that_names_the_item(
    make_store, tmp_path: Path
) -> None:
    broken = rows(10, 80, 10)
    broken["resnet152"][37, 5] = np.nan
    with pytest.raises(BadItem, match=r"made/b/0-10000: resnet152-\w+ is NaN .* row 37 of 80"):
        loaded(make_store, tmp_path, [(item("a"), rows(10, 80, 10)), (item("b"), broken)])


def test_a_label_that_is_no_class_is_an_error_that_names_the_item(
    make_store, tmp_path: Path
) -> None:
    with pytest.raises(BadItem, match=r"made/a/0-10000: its labels name Dogs; .* Speech, Dog"):
        loaded(make_store, tmp_path, [(item("a", ("Dog", "Dogs")), rows(10, 80, 10))])


@pytest.mark.parametrize("shape", [(6, 4, 512), (512,)])
def test_rows_of_another_shape_are_an_error_that_names_the_item(
    make_store, tmp_path: Path, shape: tuple[int, ...]
) -> None:
    broken = {**rows(10, 80, 10), "vggish": np.zeros((10, *shape), np.float32)}
    expected = f"made/a/0-10000: vggish-.* has shape {(10, *shape)}; expected (rows, 128)"
    pattern = expected.replace("(", r"\(").replace(")", r"\)")
    items = [item("a")]
    made = make_store(tmp_path, items, lambda number, _: broken, {"vggish": shape})
    with pytest.raises(BadItem, match=pattern):
        load_clips(FeatureStore(made.layout.root), made.stages, items, CLASSES)


def test_a_batch_of_equal_clips_has_no_mask() -> None:
    batch = collate([clip(10), clip(10, tag=1)])
    assert batch.absent_BT is None
    assert batch.audio_BTE.shape == (2, 10, 128)
    assert batch.tags_BC.tolist() == [[1, 0], [0, 1]]


def test_a_shorter_clip_is_padded_and_masked() -> None:
    batch = collate([clip(10), clip(4)])
    assert batch.absent_BT is not None
    assert batch.absent_BT.sum(1).tolist() == [0, 6]
    assert float(batch.picture_BTE[1, 4:].abs().max()) == 0.0


def test_a_scale_is_that_of_the_seconds_it_was_made_of() -> None:
    scale = Scale.of([clip(2, value=1.0), clip(6, value=5.0)])
    assert scale.mean["vggish"][0] == pytest.approx(4.0)
    assert scale.deviation["r2plus1d"][0] == pytest.approx(3**0.5)


def test_permuted_tags_are_the_same_tags_dealt_out_anew() -> None:
    clips = [clip(seconds, tag=seconds % 2) for seconds in range(1, 21)]
    dealt = permuted_tags(clips, seed=0)
    assert [c.item_id for c in dealt] == [c.item_id for c in clips]
    before, after = (torch.stack([c.tags_C for c in these]) for these in (clips, dealt))
    assert torch.equal(before.sum(0), after.sum(0))
    assert not torch.equal(before, after)
    again = torch.stack([c.tags_C for c in permuted_tags(clips, seed=0)])
    assert torch.equal(after, again)


def test_classes_are_llps_in_their_order_then_others_by_name() -> None:
    event = Event(modality="audio", label="zither", onset_s=0, offset_s=1)
    items = [
        item("a", ("Dog", "banjo_roll")),
        DatasetItem(item_id="made/b/whole", labels=("Speech",), events=(event,)),
    ]
    assert class_list(items) == ("Speech", "Dog", "banjo_roll", "zither")


def test_events_become_whole_seconds_with_the_lists_dirt() -> None:
    def event(label: str, onset_s: float, offset_s: float, modality: str = "audio") -> Event:
        return Event(modality=modality, label=label, onset_s=onset_s, offset_s=offset_s)

    given = [
        event("Dog", 0, 3),
        event("Dog", 2, 5),
        event("Dog", 2, 5),
        event("Speech", 9, 0),
        event("Speech", 8, 12, "visual"),
    ]
    array = event_array(given, CLASSES, 10)
    assert np.flatnonzero(array[0, 1]).tolist() == [0, 1, 2, 3, 4]
    assert array[0, 0].sum() == 0
    assert np.flatnonzero(array[1, 0]).tolist() == [8, 9]
