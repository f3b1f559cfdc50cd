"""Crops of the stored STFT and crops computed from the sound are the same spectra."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from model.tribert import spectrogram as sg
from model.tribert.clips import SOUND, find_clips, spectrogram_config, stages_read
from model.tribert.config import SPECTROGRAM_STAGES, DataConfig
from model.tribert.data import MixDataset
from model.tribert.errors import SeparationError
from model.tribert.masks import half_masks
from model.tribert.spectrum import SpectrumReader
from pipeline.stages import StftConfig
from storage.store import FeatureStore

STORED = DataConfig(picture_px=64, spec_frames=64, spec_rows=64, mask="ratio")
COMPUTED = replace(STORED, spectrogram="computed")
SIZES = sg.SpectrogramConfig()


def mixes(tone_store: Any, data: DataConfig) -> MixDataset:
    store = FeatureStore(tone_store.layout.root)
    named = {name: tone_store.stages[name] for name in SPECTROGRAM_STAGES[data.spectrogram]}
    if data.spectrogram == "stored":
        stages = stages_read(store, named)
    else:
        stages = stages_read(store, named, "computed")
        assert "stft" not in stages
    return MixDataset(
        store=store,
        stages=stages,
        clips=find_clips(store, stages, tone_store.split("train"), data).clips,
        classes=("flute", "tuba"),
        data=data,
        sizes=spectrogram_config(store, stages, data),
        seed=3,
        augment=True,
    )


def test_samples_agree_whichever_way(tone_store: Any) -> None:
    stored, computed = mixes(tone_store, STORED), mixes(tone_store, COMPUTED)
    assert stored.sizes == computed.sizes
    assert [c.item_id for c in stored.clips] == [c.item_id for c in computed.clips]
    assert [c.centres for c in stored.clips] == [c.centres for c in computed.clips]
    for index in range(len(stored)):
        first, second = stored[1, index], computed[1, index]
        for name, one in first.tensors().items():
            two = second.tensors()[name]
            if name == "masks_BNQF":  # a share of next to nothing is not well defined
                loud = first.mix_B1QF.expand_as(one) > 1e-2
                one, two = one[loud], two[loud]
                torch.testing.assert_close(one, two, atol=2e-3, rtol=0)
            else:
                torch.testing.assert_close(one, two, atol=1e-4, rtol=0, msg=name)


@pytest.mark.parametrize("samples", [65279, 70000, 110250])
def test_rows_of_real_shards_agree_to_1e_4_at_both_ends_too(
    laboratory: Any, clips: Any, samples: int
) -> None:
    noise = np.random.default_rng(0).integers(-32768, 32768, samples).astype(np.int16)
    pictures = np.zeros((round(samples / 11025 * 5), 16, 16, 3), np.uint8)
    item = laboratory.add(clips.lossless(f"noise{samples}.mkv", pictures, 5.0, noise, 11025))
    outcomes = laboratory.run({"stft": StftConfig()}, [item])
    assert outcomes["stft"][item].ok
    names = {path.name.rpartition("-")[0]: path.name for path in stage_folders(laboratory)}
    reader = SpectrumReader(laboratory.store, names, SIZES)
    rows, length = (laboratory.store.length(names[n], item) for n in ("stft", SOUND))
    assert rows == 1 + length // SIZES.hop_samples
    for start in {0, 1, (rows - SIZES.frames) // 2, rows - SIZES.frames}:
        stored = reader.stored(item, start)
        computed = reader.computed(item, start, length)
        assert stored.shape == computed.shape == (512, 256)
        torch.testing.assert_close(computed, stored, atol=1e-4, rtol=0)


def stage_folders(laboratory: Any) -> Any:
    return (laboratory.layout.root / "stages").iterdir()


def test_clips_without_sound_are_left_out_by_the_stage_that_is_read(tone_store: Any) -> None:
    store = FeatureStore(tone_store.layout.root)
    named = {name: tone_store.stages[name] for name in SPECTROGRAM_STAGES["computed"]}
    stages = stages_read(store, named, "computed")
    found = find_clips(store, stages, tone_store.split("train"), COMPUTED)
    reasons = {item.split("/")[1]: why for item, why in found.left_out.items()}
    assert reasons["unlabelled"] == "no label"
    assert reasons["short"].startswith("too short: a sample needs")
    with pytest.raises(SeparationError, match=r"'computed' also reads \['audio_11025'\]"):
        stages_read(store, {n: named[n] for n in ("frames", "pose_embed")}, "computed")


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_a_gpu_gives_the_cpus_spectra_to_1e_5_of_the_loudest_cell() -> None:
    generator = torch.Generator().manual_seed(0)
    waves = 0.3 * torch.randn(2, SIZES.crop_samples, generator=generator)
    covered = 0.3 * torch.randn(2, 255 * 256 + 1022, generator=generator)
    for transform, sound in ((sg.stft, waves), (sg.stft_of_covered, covered)):
        ours, theirs = transform(sound, SIZES), transform(sound.cuda(), SIZES).cpu()
        near = 1e-5 * float(ours.abs().max())
        torch.testing.assert_close(theirs, ours, atol=near, rtol=0)
        warped = sg.warp(ours.abs(), 256)
        warped_there = sg.warp(ours.cuda().abs(), 256).cpu()
        torch.testing.assert_close(warped_there, warped, atol=near, rtol=0)
        masks = half_masks(warped, warped.sum(0))
        masks_there = half_masks(warped_there.cuda(), warped_there.sum(0).cuda()).cpu()
        undecided = (warped - 0.5 * warped.sum(0)).abs() < 4 * near
        assert torch.equal(masks[~undecided], masks_there[~undecided])
        back, back_there = sg.istft(ours, SIZES), sg.istft(theirs.cuda(), SIZES).cpu()
        torch.testing.assert_close(back_there, back, atol=1e-5, rtol=0)
