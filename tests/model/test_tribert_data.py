"""Samples: drawn from their key alone, true to what is stored, never made up."""

from __future__ import annotations

import pickle
from dataclasses import replace

import cv2
import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from model.tribert.batch import Batch, collate
from model.tribert.clips import Clip, find_clips, spectrogram_config, stages_read
from model.tribert.config import DataConfig
from model.tribert.crops import published_crop
from model.tribert.data import MixDataset
from model.tribert.errors import SeparationError
from model.tribert.pictures import (
    CENTRE,
    PictureCrop,
    ViewReader,
    cut_boxes,
    cut_picture,
    training_crop,
)
from model.tribert.spectrogram import stft
from storage.store import FeatureStore

DATA = DataConfig(
    picture_px=64,
    spec_frames=64,
    spec_rows=64,
    mask="dominant",
    other_class=1.0,
    scale_low=0.6,
    scale_high=1.0,
    colour=0.4,
)
CLASSES = ("flute", "tuba")


@pytest.fixture
def store(tone_store) -> FeatureStore:
    return FeatureStore(tone_store.layout.root)


def dataset(store: FeatureStore, tone_store, data: DataConfig = DATA, **changes) -> MixDataset:
    stages = stages_read(store, tone_store.stages)
    settings = {
        "store": store,
        "stages": stages,
        "clips": find_clips(store, stages, tone_store.split("train"), data).clips,
        "classes": CLASSES,
        "data": data,
        "sizes": spectrogram_config(store, stages, data),
        "seed": 3,
        "augment": True,
    }
    return MixDataset(**(settings | changes))


def same(first: Batch, second: Batch) -> bool:
    one, other = first.tensors(), second.tensors()
    return set(one) == set(other) and all(torch.equal(one[name], other[name]) for name in one)


def test_a_sample_has_the_shapes_and_types_of_the_batch(store, tone_store) -> None:
    sample = dataset(store, tone_store)[0, 0]
    shapes = {name: tuple(value.shape) for name, value in sample.tensors().items()}
    assert shapes == {
        "frames_BNTHWC": (1, 2, 3, 64, 64, 3),
        "pose_BNTPKV": (1, 2, 3, 2, 8, 68),
        "present_BNTP": (1, 2, 3, 2),
        "box_BNTP5": (1, 2, 3, 2, 5),
        "mix_B1QF": (1, 1, 64, 64),
        "masks_BNQF": (1, 2, 64, 64),
        "weight_B1QF": (1, 1, 64, 64),
        "labels_BNC": (1, 2, 2),
    }
    assert sample.frames_BNTHWC.dtype == torch.uint8
    assert sample.present_BNTP.dtype == torch.bool
    assert sample.box_BNTP5.dtype == sample.masks_BNQF.dtype == torch.float32


def test_a_key_gives_one_sample_whatever_was_read_before(store, tone_store) -> None:
    data = dataset(store, tone_store)
    first = [data[2, index] for index in range(len(data))]
    again = [dataset(store, tone_store)[2, index] for index in reversed(range(len(data)))][::-1]
    assert all(map(same, first, again))
    assert not same(first[0], data[3, 0])
    assert not same(first[0], dataset(store, tone_store, seed=4)[2, 0])


def test_loader_workers_give_the_same_samples(store, tone_store) -> None:
    data = dataset(store, tone_store)
    keys = [[(0, 1), (0, 4)], [(1, 1), (1, 0)]]
    loader = DataLoader(data, batch_sampler=keys, num_workers=2, collate_fn=collate)
    for batch, batch_keys in zip(loader, keys, strict=True):
        assert same(batch, collate([data[key] for key in batch_keys]))


def test_dataset_survives_pickling(store, tone_store) -> None:
    data = dataset(store, tone_store)
    assert same(pickle.loads(pickle.dumps(data))[0, 2], data[0, 2])


def test_primary_is_the_index_and_partner_another_class(store, tone_store) -> None:
    data = dataset(store, tone_store)
    for index, clip in enumerate(data.clips):
        labels = data[5, index].labels_BNC[0]
        assert labels[0].tolist() == [name in clip.labels for name in CLASSES]
        assert (labels[0] * labels[1]).sum() == 0


def test_partner_may_be_any_other_clip_but_not_itself(store, tone_store) -> None:
    data = dataset(store, tone_store, replace(DATA, other_class=0.0))
    rng = np.random.default_rng(0)
    drawn = {data._members(0, rng)[1] for _ in range(200)}
    assert drawn == set(range(1, len(data.clips)))


def test_labels_stay_what_they_were(store, tone_store) -> None:
    before = [(clip.item_id, clip.labels) for clip in dataset(store, tone_store).clips]
    data = dataset(store, tone_store)
    for epoch in range(3):
        for index in range(len(data)):
            assert data[epoch, index].labels_BNC.sum() == 2
    assert [(clip.item_id, clip.labels) for clip in data.clips] == before


def test_sound_and_pictures_come_from_one_moment(store, tone_store) -> None:
    """The stored STFT around a picture is the STFT of the sound around its time."""
    data = dataset(store, tone_store)
    clip, sizes = data.clips[1], data.sizes
    pcm = store.rows(tone_store.stages["audio_11025"], clip.item_id).astype(np.float32) / 32768
    whole = stft(torch.from_numpy(pcm), sizes)
    for centre in (clip.centres.first, clip.centres.middle, clip.centres.last):
        middle = clip.time_s(centre) * sizes.rate_hz
        start = round((middle - sizes.crop_samples / 2) / sizes.hop_samples)
        start = min(max(start, 0), whole.shape[1] - sizes.frames)
        expected = whole[:, start : start + sizes.frames]
        torch.testing.assert_close(data.spectra.read(clip, centre), expected, atol=1e-4, rtol=1e-4)


def test_inside_a_clip_training_and_published_crop_differ_only_at_the_edges(
    store, tone_store
) -> None:
    data = dataset(store, tone_store)
    clip = data.clips[0]
    pcm = store.rows(tone_store.stages["audio_11025"], clip.item_id).astype(np.float32) / 32768
    row = 30
    half = data.sizes.crop_samples // 2
    centre_s = (row * data.sizes.hop_samples + half + 0.5) / data.sizes.rate_hz
    crop = published_crop(
        pcm, centre_s=centre_s, rate_hz=data.sizes.rate_hz, samples=data.sizes.crop_samples
    )
    stored = store.rows(tone_store.stages["stft"], clip.item_id, None, row, row + 64)
    ours = torch.view_as_complex(torch.from_numpy(stored)).T
    theirs = stft(torch.from_numpy(crop), data.sizes)
    torch.testing.assert_close(ours[:, 2:-2], theirs[:, 2:-2], atol=1e-4, rtol=1e-4)


def test_gain_scales_the_sources_before_they_are_mixed(store, tone_store) -> None:
    plain = dataset(store, tone_store, replace(DATA, gain_low=1.0, gain_high=1.0))[0, 0]
    loud = dataset(store, tone_store, replace(DATA, gain_low=3.0, gain_high=3.0))[0, 0]
    torch.testing.assert_close(loud.mix_B1QF, 3 * plain.mix_B1QF)
    torch.testing.assert_close(loud.masks_BNQF, plain.masks_BNQF)
    assert loud.mix_B1QF.max() > 10, "no clipping"


def test_validation_sees_the_same_mixes_every_time(store, tone_store) -> None:
    data = dataset(store, tone_store, augment=False, mixes=6)
    assert len(data) == 6
    assert same(data[0, 1], data[7, 1])


def test_epoch_length_is_a_setting(store, tone_store) -> None:
    data = dataset(store, tone_store, mixes=40)
    assert len(data) == 40
    assert same(data[0, 33], data[0, 33])


def test_items_that_cannot_be_mixed_are_left_out_with_a_reason(store, tone_store) -> None:
    stages = stages_read(store, tone_store.stages)
    missing = replace(tone_store.items[0], item_id="tones/unknown/whole")
    found = find_clips(store, stages, [*tone_store.split("train"), missing], DATA)

    assert len(found.clips) == 10
    reasons = {item_id.split("/")[1]: reason for item_id, reason in found.left_out.items()}
    assert reasons["unlabelled"] == "no label"
    assert reasons["nobody"] == "pose: empty"
    assert reasons["unknown"] == "frames: not computed yet"
    assert "needs 1.49 s of sound" in reasons["short"]
    assert "0.51 s" in reasons["short"]


def test_a_clip_as_long_as_the_crop_still_has_a_centre(store, tone_store) -> None:
    """3 s hold 129 or 130 STFT frames."""
    stages = stages_read(store, tone_store.stages)
    data = replace(DATA, spec_frames=128)
    found = find_clips(store, stages, tone_store.split("val"), data)
    assert len(found.clips) == 4
    mixes = dataset(store, tone_store, data, clips=found.clips,
                    sizes=spectrogram_config(store, stages, data))  # fmt: skip
    assert mixes[0, 0].mix_B1QF.shape == (1, 1, 64, 128)


def test_one_class_is_refused_where_partners_must_differ(store, tone_store) -> None:
    flutes = [clip for clip in dataset(store, tone_store).clips if "flute" in clip.labels]
    with pytest.raises(SeparationError, match=r"no two of 5 clips .* \['flute'\]"):
        dataset(store, tone_store, clips=flutes)
    with pytest.raises(SeparationError, match="a mix needs 2 videos, 1 can be read"):
        dataset(store, tone_store, clips=flutes[:1])


def test_a_duet_of_all_classes_takes_any_partner(store, tone_store) -> None:
    clips = dataset(store, tone_store).clips
    duet = replace(clips[0], labels=CLASSES)
    data = dataset(store, tone_store, clips=(duet, *clips[1:]))
    drawn = {data._members(0, np.random.default_rng(seed))[1] for seed in range(60)}
    assert drawn == set(range(1, len(clips)))


def test_stages_that_the_job_leaves_out_follow_from_the_others(store, tone_store) -> None:
    named = {name: tone_store.stages[name] for name in ("frames", "stft", "pose_embed")}
    assert stages_read(store, named) == dict(tone_store.stages)
    with pytest.raises(SeparationError, match=r"'stored' also reads \['stft'\]"):
        stages_read(store, {name: named[name] for name in ("frames", "pose_embed")})
    with pytest.raises(SeparationError, match=r"was computed from pose-.* names pose-000000000000"):
        stages_read(store, named | {"pose": "pose-000000000000"})


def view_of(store, tone_store, crop: PictureCrop, **changes):
    data = replace(DATA, **changes)
    clip: Clip = dataset(store, tone_store).clips[0]
    return ViewReader(store, stages_read(store, tone_store.stages), data).read(clip, 8, crop)


def test_view_holds_the_pictures_of_its_rows(store, tone_store) -> None:
    clip = dataset(store, tone_store).clips[0]
    jpegs = store.rows(tone_store.stages["frames"], clip.item_id, "jpeg", 7, 10)
    whole = view_of(store, tone_store, CENTRE, picture_px=256).frames_THWC
    for picture, jpeg in zip(whole, jpegs, strict=True):
        decoded = cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR)[:, 32:288, ::-1]
        np.testing.assert_array_equal(picture, decoded)
    small = view_of(store, tone_store, CENTRE, picture_px=64).frames_THWC
    expected = cv2.resize(whole[0], (64, 64), interpolation=cv2.INTER_AREA)
    assert np.abs(small[0].astype(int) - expected).mean() < 2


def test_view_takes_the_nearest_poses_and_hides_absent_persons(store, tone_store) -> None:
    view = view_of(store, tone_store, CENTRE)
    clip = dataset(store, tone_store).clips[0]
    embedding = store.rows(tone_store.stages["pose_embed"], clip.item_id)
    # pictures 7, 8, 9 at 0.875, 1.0, 1.125 s; embeddings every 0.5 s
    assert view.present_TP.tolist() == [[True, False]] * 3
    np.testing.assert_array_equal(view.pose_TPKV[:, 0], embedding[[2, 2, 2], 0])
    assert not view.pose_TPKV[:, 1].any()
    assert not view.box_TP5[:, 1].any()


def test_boxes_follow_the_crop() -> None:
    """A box drawn as a white patch is found where the cut box says."""
    width, height = 320, 256
    box = np.array([0.30, 0.25, 0.55, 0.75])
    picture = np.zeros((height, width, 3), np.uint8)
    x1, y1, x2, y2 = (box * [width, height, width, height]).round().astype(int)
    picture[y1:y2, x1:x2] = 255
    for crop in (CENTRE, PictureCrop(scale=DataConfig().scale_low, x=0.1, y=0.9)):
        cut = cut_picture(picture, crop, 128)
        rows, columns = np.nonzero(cut[..., 0] > 127)
        seen = np.array([columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]) / 128
        boxes = cut_boxes(box[None, None], np.ones((1, 1), bool), (width, height), crop)
        np.testing.assert_allclose(boxes[0, 0, :4], seen, atol=0.02)
        area = (boxes[0, 0, 2] - boxes[0, 0, 0]) * (boxes[0, 0, 3] - boxes[0, 0, 1])
        assert boxes[0, 0, 4] == pytest.approx(area)


def test_a_box_beyond_the_crop_ends_at_its_edge() -> None:
    boxes = cut_boxes(
        np.array([[[-0.2, 0.0, 0.5, 1.3]]]), np.ones((1, 1), bool), (200, 100), CENTRE
    )
    np.testing.assert_allclose(boxes[0, 0], [0.0, 0.0, 0.5, 1.0, 0.5])


def test_colours_are_scaled_and_kept_in_range() -> None:
    picture = np.full((8, 8, 3), (10, 100, 200), np.uint8)  # BGR
    cut = cut_picture(picture, PictureCrop(gains_rgb=(1.5, 0.5, 2.0)), 4)
    assert cut[0, 0].tolist() == [255, 50, 20]


def test_published_augmentation_is_a_crop_of_one_size() -> None:
    rng = np.random.default_rng(0)
    crops = [training_crop(DataConfig(), rng) for _ in range(5)]
    assert {crop.scale for crop in crops} == {1 / 1.1}
    assert {crop.gains_rgb for crop in crops} == {CENTRE.gains_rgb}
    assert len({crop.x for crop in crops}) == 5


def test_pictures_apart_are_read_one_by_one(store, tone_store) -> None:
    near = view_of(store, tone_store, CENTRE).frames_THWC[1]
    apart = view_of(store, tone_store, CENTRE, picture_stride=7).frames_THWC[1]
    np.testing.assert_array_equal(near, apart)


def test_bytes_that_are_no_picture_raise(store, tone_store) -> None:
    from model.tribert.pictures import decode

    with pytest.raises(SeparationError, match="4 bytes cannot be decoded"):
        decode(b"oops")
