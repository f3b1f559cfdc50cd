"""TriBERT with the published VGGish as its ears: of the mixture, frozen, and only where asked."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from model.jobs import TrainJob
from model.settings import ConfigError
from model.train.fit import fit
from model.tribert.batch import collate
from model.tribert.clips import HEARD, find_clips, spectrogram_config, stages_read
from model.tribert.config import Config, PoseConfig, presets, reduced
from model.tribert.crops import fitted_start_row
from model.tribert.errors import SeparationError
from model.tribert.losses import loss_terms
from model.tribert.network_plain import PlainTriBERT
from model.tribert.recipe import RECIPE, build
from model.tribert.separation import MixReader
from model.tribert.sound_patches import PatchReader, spread_patches
from model.tribert.vggish_tokens import VggishTokens
from pipeline import logmel
from pipeline.networks import loading
from storage.fingerprint import StageRecord
from storage.records import ArraySpec, DatasetItem, StageSchema, TimeBase
from storage.shard_writer import write_shard
from storage.staging import ItemWriter
from storage.store import FeatureStore

SOURCE = "tones"
PITCH_HZ = {"flute": 523.0, "tuba": 98.0}
EMBED_CHANNELS = 8
PATCHES = 3
HEARD_RECORD = StageRecord(stage=HEARD, stage_version=1, parameters={"rate_hz": logmel.RATE_HZ})
VGGISH_RECORD = StageRecord(
    stage="vggish",
    stage_version=1,
    parameters={"variant": "relu", "hop": "second"},
    weights={"weights": "random:0"},
    upstream={HEARD: HEARD_RECORD.fingerprint},
)


def settings() -> Config:
    """`modern`, reduced, for the tone store, and nothing drawn at random in the network."""
    small = reduced(presets["modern"])
    return replace(
        small,
        data=replace(small.data, sound_patches=PATCHES),
        vision=replace(small.vision, small_widths=(4, 8), feature_width=32, dropout=0.0),
        pose=PoseConfig(channels=EMBED_CHANNELS, dropout=0.0),
        audio=replace(small.audio, encoder="vggish", dropout=0.0),
        encoder=replace(small.encoder, vision_width=32, layers=1, dropout=0.0, token_mask=0.0),
        separation=replace(small.separation, widths=(4, 8, 8), mask_channels=2, time_attention=1),
        optim=replace(small.optim, batch_size=2, precision="32-true"),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Heard:
    """A store with sound at 16 kHz and the record of a vggish stage."""

    made: Any
    store: FeatureStore
    stages: dict[str, str]


def sound(item: DatasetItem, seconds: float) -> np.ndarray:
    times_s = np.arange(int(seconds * logmel.RATE_HZ)) / logmel.RATE_HZ
    pitch_hz = PITCH_HZ.get(item.labels[0] if item.labels else "", 300.0)
    swell = 0.5 + 0.4 * np.sin(2 * np.pi * times_s / 3)
    return (9000 * swell * np.sin(2 * np.pi * pitch_hz * times_s)).astype(np.int16)


@pytest.fixture(scope="module")
def heard(tone_store_maker, tmp_path_factory: pytest.TempPathFactory) -> Heard:
    made = tone_store_maker(tmp_path_factory.mktemp("heard"))
    pcm = StageSchema(arrays=(ArraySpec(name="pcm", dtype="int16", chunk_rows=16000),))
    for item in made.items:
        path = made.layout.staged_item(HEARD_RECORD.name, SOURCE, 0, item.item_id)
        path.parent.mkdir(parents=True, exist_ok=True)
        base = TimeBase(0.0, 1 / logmel.RATE_HZ)
        with ItemWriter(path, pcm, base, "0" * 64, item_id=item.item_id) as writer:
            writer.append({"pcm": sound(item, 0.5 if "short" in item.item_id else 3.0)})
    ids = [item.item_id for item in made.items]
    write_shard(made.layout, HEARD_RECORD, SOURCE, 0, ids, provenance={}, schema=pcm)
    rows = StageSchema(arrays=(ArraySpec(name="embedding", dtype="float32", row_shape=(128,)),))
    for item in made.items:
        path = made.layout.staged_item(VGGISH_RECORD.name, SOURCE, 0, item.item_id)
        path.parent.mkdir(parents=True, exist_ok=True)
        with ItemWriter(path, rows, TimeBase(0.0, 1.0), "0" * 64, item_id=item.item_id) as writer:
            writer.append({"embedding": np.zeros((3, 128), np.float32)})
    write_shard(made.layout, VGGISH_RECORD, SOURCE, 0, ids, provenance={}, schema=rows)
    store = FeatureStore(made.layout.root)
    named = {**made.stages, "vggish": VGGISH_RECORD.name}
    del named["audio_11025"], named["pose"]
    return Heard(made=made, store=store, stages=stages_read(store, named, sound_patches=PATCHES))


@pytest.fixture(scope="module")
def parts(heard: Heard, tmp_path_factory: pytest.TempPathFactory):
    job = TrainJob(
        recipe=RECIPE,
        recipe_version=1,
        configuration=settings().as_json(),
        seed=0,
        stages=heard.stages,
        snapshot="none",
        dataset="tones",
        store_root=heard.made.layout.root,
        run_dir=tmp_path_factory.mktemp("run"),
    )
    torch.manual_seed(0)
    return build(job, heard.store, heard.made.items)


def test_the_stage_and_its_sound_are_read_only_where_patches_are_asked_for(heard: Heard) -> None:
    assert heard.stages[HEARD] == HEARD_RECORD.name
    assert heard.stages["vggish"] == VGGISH_RECORD.name
    without = stages_read(heard.store, heard.stages)
    assert not {HEARD, "vggish"} & set(without)
    with pytest.raises(SeparationError, match="vggish"):
        stages_read(heard.store, without, sound_patches=PATCHES)


def test_a_patch_is_that_of_the_stage() -> None:
    pcm_S = np.random.default_rng(0).integers(-9000, 9000, 3 * logmel.PATCH_SAMPLES, np.int16)
    stage = logmel.patches(pcm_S, 3, logmel.PATCH_SAMPLES)[:, 0]
    torch.testing.assert_close(spread_patches(pcm_S.astype(np.float32) / 32768, 3), stage)
    short = spread_patches(np.zeros(100, np.float32), 2)
    assert short.shape == (2, logmel.PATCH_FRAMES, logmel.MEL_BANDS)


def test_patches_are_those_of_the_mixed_sound_at_the_place_of_the_spectra(heard: Heard) -> None:
    data = settings().data
    sizes = spectrogram_config(heard.store, heard.stages, data)
    clips = find_clips(heard.store, heard.stages, heard.made.split("train"), data).clips
    pair, gains = (clips[0], clips[-1]), (0.5, 1.5)
    centres = [clip.centres.first + 2 for clip in pair]
    read = PatchReader(heard.store, heard.stages, sizes, PATCHES).training(pair, centres, gains)
    crops = []
    for clip, centre, gain in zip(pair, centres, gains, strict=True):
        row = fitted_start_row(clip.time_s(centre), clip.tracks["stft"].rows, sizes)
        first = round(row * 256 * 16000 / 11025)
        item = next(i for i in heard.made.items if i.item_id == clip.item_id)
        whole_S = sound(item, 3.0) / 32768
        crops.append(gain * whole_S[first : first + round(sizes.crop_samples * 16000 / 11025)])
    torch.testing.assert_close(
        read, spread_patches(np.mean(crops, axis=0).astype(np.float32), PATCHES), atol=1e-3, rtol=0
    )
    alone = PatchReader(heard.store, heard.stages, sizes, PATCHES).training(
        pair[:1], centres[:1], gains[:1]
    )
    assert (read - alone).abs().max() > 0.1


def test_the_weights_are_those_of_the_stage_and_never_learn(parts) -> None:
    tokens = parts.module.network.audio
    assert isinstance(tokens, VggishTokens)
    stage, own = loading.from_seed("vggish", 0).state_dict(), tokens.network.state_dict()
    for name in ("features.0.weight", "embeddings.4.weight"):
        torch.testing.assert_close(own[name], stage[name])
    optimiser = parts.module.configure_optimizers()["optimizer"]
    trained = {id(p) for group in optimiser.param_groups for p in group["params"]}
    assert not any(id(p) for p in tokens.network.parameters() if id(p) in trained)
    assert id(tokens.dense.weight) in trained
    assert "audio.network.features.0.weight" in parts.export()


def test_a_step_hears_the_mixture_and_the_plain_way_agrees(parts) -> None:
    network = parts.module.network.train()
    batch = collate([parts.train[(0, index)] for index in range(2)])
    assert batch.patches_BRTM.shape == (2, PATCHES, 96, 64)
    outputs = network(batch)
    assert outputs.audio_ZSPD.shape[:3] == (4, PATCHES + 1, 1)
    loss_terms(outputs, batch, settings().loss).total.backward()
    learning = [p for p in network.parameters() if p.requires_grad]
    assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in learning)
    network.eval()
    with torch.no_grad():
        plain = PlainTriBERT(network).eval()(batch)
        straight = network(batch)
        other = network(replace(batch, patches_BRTM=batch.patches_BRTM.flip(0)))
    torch.testing.assert_close(straight.mask_logits_BNQF, plain.mask_logits_BNQF)
    assert (straight.audio_BNC - other.audio_BNC).abs().max() > 1e-4
    with pytest.raises(SeparationError, match="sound_patches"):
        network(replace(batch, patches_BRTM=None))


def test_evaluation_hears_each_window_of_its_stretch(heard: Heard) -> None:
    data = settings().data
    sizes = spectrogram_config(heard.store, heard.stages, data)
    clips = find_clips(heard.store, heard.stages, heard.made.split("test"), data).clips
    reader = MixReader(
        store=heard.store,
        stages=heard.stages,
        classes=tuple(PITCH_HZ),
        data=data,
        sizes=sizes,
        span_frames=2 * sizes.frames,
    )
    batch = reader.read((clips[0], clips[-1])).batch
    assert batch.patches_BRTM.shape == (2, PATCHES, 96, 64)
    assert (batch.patches_BRTM[0] - batch.patches_BRTM[1]).abs().max() > 0.01


def test_rows_whose_weights_nobody_knows_are_refused(heard: Heard) -> None:
    from model.tribert.vggish_tokens import frozen_vggish

    with pytest.raises(SeparationError, match="names no weights"):
        frozen_vggish(heard.store, {"vggish": heard.stages["frames"]}, None)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"audio": {"encoder": "vggish"}}, "sound_patches=0"),
        ({"data": {"sound_patches": 6}}, "'vgg' none"),
        (
            {
                "audio": {"encoder": "vggish"},
                "data": {"sound_patches": 6},
                "encoder": {"keys": "feature"},
            },
            "keys 'sequence'",
        ),
    ],
)
def test_ears_that_do_not_fit_are_refused(changes: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Config.from_json(changes)


def test_the_trainer_takes_a_step_and_leaves_the_ears_alone(parts, tmp_path: Path) -> None:
    tokens = parts.module.network.audio
    before = {name: value.clone() for name, value in tokens.state_dict().items()}
    result = fit(replace(parts, max_steps=1, val_every_steps=1), tmp_path, seed=0, device="cpu")
    assert result.history[-1]["val/mask_loss"] > 0
    moved = {n for n, value in tokens.state_dict().items() if not torch.equal(value, before[n])}
    assert "dense.weight" in moved
    assert not any(name.startswith("network.") for name in moved)
