"""From a snapshot to training and to scores, on a small store with two instruments."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from scipy.io import wavfile

from model.jobs import EvaluateJob, TrainJob
from model.settings import ConfigError
from model.train.sampler import BatchPlan, in_order
from model.tribert.clips import spectrogram_config, stages_read
from model.tribert.config import SPECTROGRAM_STAGES, Config, presets
from model.tribert.errors import SeparationError
from model.tribert.evaluate import evaluate
from model.tribert.evaluation_config import EvaluationConfig, evaluation_presets
from model.tribert.recipe import build
from model.tribert.separation import MixReader
from storage.fingerprint import StageRecord
from storage.models import ModelRecord, publish_model, write_snapshot
from storage.records import DatasetItem
from storage.shard_writer import write_shard
from storage.staging import ItemWriter
from storage.store import FeatureStore

ROWS = ("TriBERT", "mixture", "oracle mask", "swapped pictures and poses")
TINY = presets["tiny"]
CONFIG = replace(
    TINY,
    data=replace(TINY.data, picture_px=32, spec_frames=32, spec_rows=64, epoch_mixes=8),
    pose=replace(TINY.pose, channels=8),
    optim=replace(TINY.optim, batch_size=4, max_steps=2, val_every_steps=2),
)


@pytest.fixture(scope="module")
def snapshot(tone_store) -> str:
    publish_stgcn(tone_store, tone_store.items)
    return write_snapshot(tone_store.layout, "tones", tone_store.items)


def publish_stgcn(tone_store, items) -> ModelRecord:
    """Publish a folder that stands for an ST-GCN trained on a snapshot of `items`."""
    layout = tone_store.layout
    record = ModelRecord(
        recipe="stgcn",
        recipe_version=1,
        snapshot=write_snapshot(layout, "tones", items),
        dataset="tones",
    )
    folder = layout.root / "prepared"
    folder.mkdir()
    publish_model(layout, record, folder, {})
    return record


@pytest.fixture(scope="module")
def stages(tone_store, snapshot) -> dict[str, str]:
    """The stages, with embeddings of an ST-GCN that is in the store."""
    del snapshot
    return embedded_by(tone_store, tone_store.items)


def embedded_by(tone_store, items) -> dict[str, str]:
    """Stages whose pose_embed is a copy that names an ST-GCN trained on `items`."""
    layout = tone_store.layout
    digest = write_snapshot(layout, "tones", items)
    model = ModelRecord(recipe="stgcn", recipe_version=1, snapshot=digest, dataset="tones")
    store = FeatureStore(layout.root)
    old = tone_store.stages["pose_embed"]
    record = StageRecord(
        stage="pose_embed",
        stage_version=1,
        parameters={"model": model.name},
        upstream={"pose": tone_store.stages["pose"].removeprefix("pose-")},
    )
    if not layout.stage_dir(record.name).exists():
        ids = store.items(old)
        for item_id in ids:
            path = layout.staged_item(record.name, "tones", 0, item_id)
            path.parent.mkdir(parents=True, exist_ok=True)
            base = store.time_base(old, item_id)
            with ItemWriter(path, store.schema(old), base, "0" * 64, item_id=item_id) as writer:
                writer.append({"embedding": store.rows(old, item_id)})
        write_shard(layout, record, "tones", 0, ids, provenance={}, schema=store.schema(old))
    return {**tone_store.stages, "pose_embed": record.name}


def train_job(tone_store, stages, snapshot, config: Config = CONFIG) -> TrainJob:
    return TrainJob(
        recipe="tribert",
        recipe_version=1,
        configuration=config.as_json(),
        seed=1,
        stages={name: stages[name] for name in ("frames", "stft", "pose_embed")},
        snapshot=snapshot,
        dataset="tones",
        store_root=tone_store.layout.root,
        run_dir=tone_store.layout.root / "runs" / "x",
    )


def parts_of(tone_store, stages, snapshot, items=None, config: Config = CONFIG):
    store = FeatureStore(tone_store.layout.root)
    return build(
        train_job(tone_store, stages, snapshot, config),
        store,
        tone_store.items if items is None else items,
    )


def test_recipe_trains_on_training_clips_and_validates_on_validation_clips(
    tone_store, stages, snapshot
) -> None:
    parts = parts_of(tone_store, stages, snapshot)
    assert {clip.item_id.split("/")[1].split("-")[0] for clip in parts.train.clips} == {"train"}
    assert {clip.item_id.split("/")[1].split("-")[0] for clip in parts.val.clips} == {"val"}
    assert len(parts.ids_used["train"]) == 10
    assert len(parts.ids_used["val"]) == 4
    assert not any("test" in item_id for ids in parts.ids_used.values() for item_id in ids)
    assert {item_id.split("/")[1] for item_id in parts.ids_missing} == {
        "short",
        "nobody",
        "unlabelled",
    }
    assert parts.classes == ("flute", "tuba")
    assert (len(parts.train), parts.monitor, parts.mode) == (8, "val/mask_loss", "min")


def test_spectra_computed_from_the_sound_need_no_stft_stage(tone_store, stages, snapshot) -> None:
    config = replace(CONFIG, data=replace(CONFIG.data, spectrogram="computed"))
    job = train_job(tone_store, stages, snapshot, config)
    named = {name: stages[name] for name in SPECTROGRAM_STAGES["computed"]}
    store = FeatureStore(tone_store.layout.root)
    computed = build(replace(job, stages=named), store, tone_store.items)
    stored = parts_of(tone_store, stages, snapshot)
    assert computed.ids_used == stored.ids_used
    one, two = computed.train[0, 1], stored.train[0, 1]
    torch.testing.assert_close(one.mix_B1QF, two.mix_B1QF, atol=1e-4, rtol=0)
    mixes = []
    for parts, names in ((computed, named), (stored, stages)):
        data = parts.module.config.data
        addresses = stages_read(store, names, data.spectrogram)
        reader = MixReader(
            store=store,
            stages=addresses,
            classes=parts.classes,
            data=data,
            sizes=spectrogram_config(store, addresses, data),
            span_frames=64,
        )
        mixes.append(reader.read(parts.val.clips[:2]))
    assert torch.equal(mixes[0].mixture_LT, mixes[1].mixture_LT), "evaluation reads the sound"
    assert mixes[0].centres == mixes[1].centres


def test_a_step_learns_from_a_batch_of_the_plan(tone_store, stages, snapshot) -> None:
    torch.manual_seed(0)
    parts = parts_of(tone_store, stages, snapshot)
    plan = BatchPlan(items=len(parts.train), batch_size=4, batches=2, seed=1)
    batch = parts.collate([parts.train[key] for key in plan.keys(0)])
    val = parts.collate([parts.val[key] for key in in_order(len(parts.val), 4)[0]])
    parts.module.log = parts.module.log_dict = lambda *values, **more: None
    loss = parts.module.training_step(batch, 0)
    loss.backward()
    parts.module.validation_step(val, 0)
    assert torch.isfinite(loss)
    weight = next(parts.module.network.unet.parameters())
    assert weight.grad is not None
    assert set(parts.export()) == set(parts.module.network.state_dict())


def test_items_of_other_recipes_are_not_used(tone_store, stages, snapshot) -> None:
    items = [replace(item, tasks=("avvp",)) if "train" in item.item_id and item.item_id.endswith(
        "0/whole") else replace(item, tasks=("tribert",)) for item in tone_store.items]  # fmt: skip
    assert len(parts_of(tone_store, stages, snapshot, items).ids_used["train"]) == 8


def test_one_class_is_refused(tone_store, stages, snapshot) -> None:
    flutes = [item for item in tone_store.items if item.labels == ("flute",)]
    with pytest.raises(SeparationError, match=r"at least two classes.*short/whole: too short"):
        parts_of(tone_store, stages, snapshot, flutes)


def test_no_validation_mix_means_no_validation(tone_store, stages, snapshot) -> None:
    items = [item for item in tone_store.items if "val-tuba" not in item.item_id]
    parts = parts_of(tone_store, stages, snapshot, items)
    assert parts.val is None
    assert parts.monitor is None


def test_embeddings_of_another_shape_are_refused(tone_store, stages, snapshot) -> None:
    wide = replace(CONFIG, pose=replace(TINY.pose, channels=16))
    with pytest.raises(
        SeparationError, match=r"embeddings are \(2, 8, 68\).*expects \(2, 16, 68\)"
    ):
        parts_of(tone_store, stages, snapshot, config=wide)


def test_an_stgcn_that_saw_a_test_video_is_refused(tone_store, stages, snapshot) -> None:
    """Another window of a test video is the same video."""
    del stages
    window = DatasetItem(item_id="tones/test-tuba-1/0-1000", labels=("tuba",), split="train")
    items = [item for item in tone_store.items if item.item_id != "tones/test-tuba-1/whole"]
    publish_stgcn(tone_store, [*items, window])
    leaking = embedded_by(tone_store, [*items, window])
    with pytest.raises(SeparationError, match=r"trained on 1 of the 4 test videos.*test-tuba-1"):
        parts_of(tone_store, leaking, snapshot)


def test_an_unknown_stgcn_is_refused(tone_store, snapshot) -> None:
    with pytest.raises(SeparationError, match="stgcn-x, which is not in"):
        parts_of(tone_store, tone_store.stages, snapshot)


@pytest.fixture(scope="module")
def evaluated(tone_store, stages, snapshot, tmp_path_factory):
    """Results and folder of an evaluation of an untrained model."""
    torch.manual_seed(0)
    parts = parts_of(tone_store, stages, snapshot)
    job = train_job(tone_store, stages, snapshot)
    folder = tone_store.layout.root / "prepared"
    folder.mkdir()
    weights = {name: value.contiguous() for name, value in parts.export().items()}
    save_file(weights, folder / "weights.safetensors")
    extra = {"classes": list(parts.classes), "ids_used": dict(parts.ids_used)}
    publish_model(tone_store.layout, job.record, folder, extra)
    evaluation = EvaluateJob(
        what="separation",
        version=1,
        model=job.name,
        dataset="tones",
        snapshot=snapshot,
        stages=job.stages,
        configuration={"pairs": 2, "examples": 1, "span_frames": 100},
        store_root=tone_store.layout.root,
        out_dir=tmp_path_factory.mktemp("evaluation"),
        device="cpu",
    )
    return evaluate(evaluation), evaluation


def test_results_have_every_row_of_every_pair(evaluated) -> None:
    results, job = evaluated
    assert json.loads((job.out_dir / "results.json").read_text()) == results
    assert results["kind"] == "separation"
    assert results["model"] == job.model
    assert len(results["pairs"]) == 2
    for pair in results["pairs"]:
        names = [pair["a"], pair["b"]]
        assert all("/test-" in name for name in names)
        assert {name.split("-")[1] for name in names} == {"flute", "tuba"}
        assert tuple(pair["rows"]) == ROWS
        for scores in pair["rows"].values():
            assert {name: len(values) for name, values in scores.items()} == {
                "sdr": 2,
                "sir": 2,
                "sar": 2,
            }
        assert len(pair["silent"]) == 2


def test_bounds_lie_where_they_should(evaluated) -> None:
    rows = evaluated[0]["summary"]
    assert tuple(rows) == ROWS
    assert rows["mixture"]["sdr"] == pytest.approx(0.0, abs=3.0)
    assert rows["oracle mask"]["sdr"] > rows["mixture"]["sdr"] + 10
    assert rows["oracle mask"]["sir"] > 15
    assert {row["pairs"] for row in rows.values()} == {2}


def test_summary_is_the_mean_over_pairs(evaluated) -> None:
    results, _ = evaluated
    for row, values in results["summary"].items():
        each = [np.mean(pair["rows"][row]["sdr"]) for pair in results["pairs"]]
        assert values["sdr"] == pytest.approx(np.mean(each))


def test_results_tell_intervals_both_counts_and_printed_numbers(evaluated) -> None:
    results, job = evaluated
    for row in results["summary"].values():
        low, high = row["interval_95"]["sdr"]
        assert low <= row["sdr"] <= high
        assert (row["official"]["pairs"], row["permutation"]) == (2, "named")
    assert results["differences"]["oracle mask"]["sdr"] < -10
    assert results["published"][0]["measured"] is False
    lines = (job.out_dir / "pairs.csv").read_text().splitlines()
    assert len(lines) == 1 + 2 * len(ROWS)


def test_oracle_rows_are_a_setting(evaluated, tmp_path) -> None:
    results, job = evaluated
    settings = {**job.configuration, "oracles": ["dominant", "half", "ratio"], "examples": 0}
    rows = evaluate(replace(job, configuration=settings, out_dir=tmp_path))["summary"]
    oracles = [f"oracle mask ({target})" for target in ("dominant", "half", "ratio")]
    assert tuple(rows) == (*ROWS, *oracles)
    assert {row: rows[row] for row in ROWS} == results["summary"]
    assert all(rows[row]["sdr"] > rows["mixture"]["sdr"] + 10 for row in oracles)
    with pytest.raises(ConfigError, match=r"no \['loudest'\]; expected some of"):
        EvaluationConfig(oracles=("loudest",))


def test_factorised_rows_are_a_setting(evaluated, tmp_path) -> None:
    results, job = evaluated
    settings = {**job.configuration, "nmf": True, "examples": 0}
    rows = evaluate(replace(job, configuration=settings, out_dir=tmp_path))["summary"]
    blind, told = "NMF with MFCC clustering", "NMF, oracle components"
    assert tuple(rows) == (*ROWS, blind, told)
    assert (rows[blind]["permutation"], rows[told]["permutation"]) == ("best", "named")
    assert rows[told]["sdr"] > rows["mixture"]["sdr"] + 5
    assert {row: rows[row] for row in ROWS} == results["summary"]


def test_example_files_hold_what_the_results_say(evaluated) -> None:
    results, job = evaluated
    (example,) = results["examples"]
    frames = 96  # three windows of 32 in a span of 100
    names = [
        example["audio"]["mixture"],
        *example["audio"]["prediction"],
        *example["audio"]["truth"],
    ]
    assert len(set(names)) == 5
    for name in names:
        rate, wave = wavfile.read(job.out_dir / name)
        assert (rate, wave.dtype, wave.shape) == (11025, np.int16, ((frames - 1) * 256,))
    with np.load(job.out_dir / example["arrays"]) as arrays:
        shapes = {name: arrays[name].shape for name in arrays}
        poses, pictures = arrays["poses"], arrays["frames"]
    assert shapes == {
        "mixture": (64, frames),
        "predicted": (2, 64, frames),
        "true": (2, 64, frames),
        "frames": (2, 3, 160, 200, 3),
        "poses": (2, 3, 2, 68, 3),
        "sources": (2, 64, frames),
        "separated": (2, 64, frames),
        "seen": (2, 3, 32, 32, 3),
        "maps": (2, 3, 2, 2, 2),
        "map_classes": (2, 3, 2),
    }
    assert pictures.dtype == np.uint8
    assert poses[:, :, 0, :, 0].max() <= 200 * 300 / 640 + 1
    assert not poses[:, :, 1].any()
    assert example["labels"][0] != example["labels"][1]


def test_evaluation_is_repeatable(evaluated, tmp_path) -> None:
    results, job = evaluated
    again = evaluate(replace(job, out_dir=tmp_path / "again"))
    assert again == results


def test_evaluation_without_readable_test_clips_says_what_is_missing(
    evaluated, tone_store, tmp_path
) -> None:
    _, job = evaluated
    items = [
        replace(item, split="test" if "short" in item.item_id else "") for item in tone_store.items
    ]
    digest = write_snapshot(tone_store.layout, "tones", items)
    with pytest.raises(SeparationError, match=r"0 test clips.*short/whole: too short"):
        evaluate(replace(job, snapshot=digest, out_dir=tmp_path))


def test_a_model_is_not_evaluated_on_what_it_was_trained_on(
    evaluated, tone_store, tmp_path
) -> None:
    _, job = evaluated
    items = [replace(item, split="test") for item in tone_store.items]
    digest = write_snapshot(tone_store.layout, "tones", items)
    with pytest.raises(SeparationError, match="validated on 14 of the test videos"):
        evaluate(replace(job, snapshot=digest, out_dir=tmp_path))


def test_every_preset_of_a_model_has_one_of_its_evaluation() -> None:
    assert set(evaluation_presets) == set(presets)
    for settings in evaluation_presets.values():
        assert EvaluationConfig.from_json(settings.as_json()) == settings


def test_unknown_evaluation_settings_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"no setting \['pair'\]"):
        EvaluationConfig.from_json({"pair": 3})
    with pytest.raises(ConfigError, match="expected int, got '3'"):
        EvaluationConfig.from_json({"pairs": "3"})
    with pytest.raises(ConfigError, match="one of"):
        EvaluationConfig(mask_application="round")
