"""Fine-tuning: what is kept, what starts anew, what is refused, and what the records say of it."""

from __future__ import annotations

import shutil
from dataclasses import replace

import pytest
import torch
from safetensors.torch import save_file

from model.jobs import EvaluateJob, TrainJob
from model.train.main import train
from model.tribert.config import (
    FINE_TUNING_RATE,
    Config,
    InitialConfig,
    finetune_override,
    presets,
)
from model.tribert.described import seen_items
from model.tribert.errors import SeparationError
from model.tribert.evaluate import evaluate
from model.tribert.finetune import HEAD_LAYERS, MAP_LAYERS
from model.tribert.network import TriBERT
from model.tribert.published import load_published
from model.tribert.recipe import build
from storage.errors import ItemNotFound
from storage.fingerprint import StageRecord
from storage.layout import open_store
from storage.models import ModelRecord, publish_model, write_snapshot
from storage.shard_writer import write_shard
from storage.staging import ItemWriter
from storage.store import FeatureStore

TINY = presets["tiny"]
CONFIG = replace(
    TINY,
    data=replace(TINY.data, picture_px=32, spec_frames=32, spec_rows=64, epoch_mixes=8),
    pose=replace(TINY.pose, channels=8),
    optim=replace(TINY.optim, batch_size=4, max_steps=2, val_every_steps=2),
)
OTHER_CLASSES = ("bassoon", "flute", "oboe")


@pytest.fixture(scope="module")
def tone_store(tone_store, tmp_path_factory):
    """A copy of the store, so that what these tests publish is not there for others."""
    root = tmp_path_factory.mktemp("copy") / "store"
    shutil.copytree(tone_store.layout.root, root)
    return replace(tone_store, layout=open_store(root))


@pytest.fixture(scope="module")
def stages(tone_store) -> dict[str, str]:
    """The stages, with embeddings of an ST-GCN that is in the store."""
    layout, store = tone_store.layout, FeatureStore(tone_store.layout.root)
    model = publish(tone_store, recipe="stgcn", prepared="stgcn")
    old = tone_store.stages["pose_embed"]
    record = StageRecord(
        stage="pose_embed",
        stage_version=1,
        parameters={"model": model},
        upstream={"pose": tone_store.stages["pose"].removeprefix("pose-")},
    )
    ids = store.items(old)
    if layout.stage_dir(record.name).exists():
        return {**tone_store.stages, "pose_embed": record.name}
    for item_id in ids:
        path = layout.staged_item(record.name, "tones", 0, item_id)
        path.parent.mkdir(parents=True, exist_ok=True)
        base = store.time_base(old, item_id)
        with ItemWriter(path, store.schema(old), base, "0" * 64, item_id=item_id) as writer:
            writer.append({"embedding": store.rows(old, item_id)})
    write_shard(layout, record, "tones", 0, ids, provenance={}, schema=store.schema(old))
    return {**tone_store.stages, "pose_embed": record.name}


def publish(tone_store, *, recipe="tribert", prepared="x", stages=None, **more) -> str:
    """Publish a folder; `more` has its configuration, seed, weights and what model.json says."""
    layout = tone_store.layout
    record = ModelRecord(
        recipe=recipe,
        recipe_version=1,
        configuration=more.pop("configuration", {}),
        seed=more.pop("seed", 0),
        stages=stages or {},
        snapshot=write_snapshot(layout, "tones", tone_store.items),
        dataset="tones",
    )
    folder = layout.root / f"prepared-{prepared}"
    folder.mkdir()
    if weights := more.pop("weights", None):
        save_file({k: v.contiguous() for k, v in weights.items()}, folder / "weights.safetensors")
    publish_model(layout, record, folder, more)
    return record.name


def pretrained(tone_store, stages, seed: int, seen=("elsewhere/a/whole",), config=CONFIG) -> str:
    """Publish an untrained network of three classes, one of which this store has."""
    torch.manual_seed(seed)
    return publish(
        tone_store,
        prepared=f"source-{seed}",
        stages=stages,
        configuration=config.as_json(),
        seed=seed,
        weights=TriBERT(config, 3).state_dict(),
        classes=list(OTHER_CLASSES),
        ids_used={"train": list(seen), "val": []},
    )


@pytest.fixture(scope="module")
def source(tone_store, stages) -> str:
    return pretrained(tone_store, stages, 1)


def job_of(tone_store, stages, config: Config) -> TrainJob:
    return TrainJob(
        recipe="tribert",
        recipe_version=1,
        configuration=config.as_json(),
        seed=4,
        stages={name: stages[name] for name in ("frames", "stft", "pose_embed")},
        snapshot=write_snapshot(tone_store.layout, "tones", tone_store.items),
        dataset="tones",
        store_root=tone_store.layout.root,
        run_dir=tone_store.layout.root / "runs" / "x",
    )


def parts_from(tone_store, stages, name: str, config: Config = CONFIG, **initial):
    torch.manual_seed(7)
    config = replace(config, initial=InitialConfig(model=name, **initial))
    job = job_of(tone_store, stages, config)
    return build(job, FeatureStore(tone_store.layout.root), tone_store.items)


def test_heads_are_swapped_and_everything_else_is_kept(tone_store, stages, source) -> None:
    parts = parts_from(tone_store, stages, source)
    before = load_published(tone_store.layout, source).network.state_dict()
    after = parts.export()
    anew = {name for name in after if HEAD_LAYERS.match(name)}
    assert {name.split(".")[1] for name in anew} == {"vision", "pose", "audio"}
    for name, value in after.items():
        if name in anew:
            assert value.shape[0] == 2
        else:
            assert torch.equal(value, before[name]), name
    assert parts.classes == ("flute", "tuba")
    assert parts.summary["map_classes"] == list(OTHER_CLASSES)
    assert parts.summary["initial"] == {"model": source, "test_videos_seen": 0, "seen": []}


def test_maps_can_be_swapped_too(tone_store, stages, source) -> None:
    parts = parts_from(tone_store, stages, source, maps="swap")
    before = load_published(tone_store.layout, source).network.state_dict()
    after = parts.export()
    maps = [name for name in after if MAP_LAYERS.match(name)]
    assert [after[name].shape[0] for name in maps] == [2] * 4  # two layers of weight and bias
    assert torch.equal(after["vision.segmentation.features.weight"],
                       before["vision.segmentation.features.weight"])  # fmt: skip
    assert parts.summary["map_classes"] == ["flute", "tuba"]


def test_with_the_same_classes_nothing_is_swapped(tone_store, stages) -> None:
    torch.manual_seed(0)
    weights = TriBERT(CONFIG, 2).state_dict()
    name = publish(
        tone_store,
        prepared="same",
        stages=stages,
        configuration=CONFIG.as_json(),
        weights=weights,
        classes=["flute", "tuba"],
        ids_used={},
    )
    after = parts_from(tone_store, stages, name, maps="swap").export()
    assert all(torch.equal(value, weights[key]) for key, value in after.items())


@pytest.mark.parametrize("preset", ["paper", "released"])
def test_the_swapped_layers_are_those_whose_size_follows_the_classes(preset) -> None:
    """Over both kinds of heads and of attention maps."""
    config = presets[preset]
    with torch.device("meta"):
        sizes = [
            {name: value.shape for name, value in TriBERT(config, c).state_dict().items()}
            for c in (21, 11)
        ]
    differing = {name for name, shape in sizes[0].items() if sizes[1][name] != shape}
    matched = {name for name in sizes[0] if HEAD_LAYERS.match(name) or MAP_LAYERS.match(name)}
    assert differing == matched
    assert differing


def test_kept_maps_learn_by_the_names_of_their_classes(tone_store, stages, source) -> None:
    """The map of the known class gets a gradient, those of other classes none from the map loss."""
    only_maps = replace(CONFIG.loss, mask=0.0, vision=0.0, pose=0.0, audio=0.0, maps=1.0)
    parts = parts_from(tone_store, stages, source, replace(CONFIG, loss=only_maps))
    module = parts.module
    module.log = module.log_dict = lambda *values, **more: None
    batch = parts.collate([parts.train[0, index] for index in range(4)])
    loss = module.training_step(batch, 0)
    loss.backward()
    gradient = module.network.vision.segmentation.discriminate.weight.grad.flatten(1).abs().sum(1)
    assert gradient[OTHER_CLASSES.index("flute")] > 0
    assert gradient[0] == gradient[2] == 0
    module.validation_step(parts.collate([parts.val[0, 0]]), 0)


def test_the_source_is_part_of_the_fingerprint(tone_store, stages, source) -> None:
    names = {
        job_of(tone_store, stages, replace(CONFIG, initial=initial)).name
        for initial in (
            InitialConfig(),
            InitialConfig(model=source),
            InitialConfig(model="tribert-000000000000"),
            InitialConfig(model=source, maps="swap"),
            InitialConfig(model=source, overlap="allow"),
        )
    }
    assert len(names) == 5


def test_another_preset_is_refused(tone_store, stages, source) -> None:
    other = replace(CONFIG, audio=replace(CONFIG.audio, log="ln"))
    with pytest.raises(SeparationError, match=r'another network.*audio\.log: "log1p" -> "ln"'):
        parts_from(tone_store, stages, source, other)
    slower = replace(CONFIG, optim=replace(CONFIG.optim, lr_unet=1e-7))
    assert parts_from(tone_store, stages, source, slower).max_steps == 2


def test_what_is_no_tribert_or_not_there_is_refused(tone_store, stages) -> None:
    name = publish(tone_store, recipe="avvp", prepared="avvp")
    with pytest.raises(SeparationError, match="one of 'avvp'; name a published TriBERT"):
        parts_from(tone_store, stages, name)
    with pytest.raises(ItemNotFound, match="tribert-000000000000"):
        parts_from(tone_store, stages, "tribert-000000000000")


def test_embeddings_of_another_stgcn_are_refused(tone_store, stages) -> None:
    other = {**stages, "pose_embed": "pose_embed-000000000000"}
    name = pretrained(tone_store, other, 2)
    with pytest.raises(SeparationError, match=r"was trained on pose_embed-000000000000.*reads"):
        parts_from(tone_store, stages, name)


def published_from(tone_store, stages, parts, name: str, prepared: str, **initial) -> str:
    """Publish what `parts` hold, as trained from `name`."""
    config = replace(CONFIG, initial=InitialConfig(model=name, **initial))
    return publish(
        tone_store,
        prepared=prepared,
        stages={n: stages[n] for n in ("frames", "stft", "pose_embed")},
        configuration=config.as_json(),
        weights=parts.export(),
        classes=list(parts.classes),
        ids_used=dict(parts.ids_used),
        summary=dict(parts.summary),
    )


def evaluation_of(tone_store, stages, name: str, folder) -> EvaluateJob:
    return EvaluateJob(
        what="separation",
        version=1,
        model=name,
        dataset="tones",
        snapshot=write_snapshot(tone_store.layout, "tones", tone_store.items),
        stages={name: stages[name] for name in ("frames", "stft", "pose_embed")},
        configuration={"pairs": 1, "examples": 0},
        store_root=tone_store.layout.root,
        out_dir=folder,
        device="cpu",
    )


def test_pre_training_on_test_videos_is_refused_or_counted(tone_store, stages, tmp_path) -> None:
    """Another window of a test video gives it away, too."""
    seen = ["tones/test-tuba-1/0-1000", "elsewhere/b/whole"]
    name = pretrained(tone_store, stages, 3, seen)
    with pytest.raises(SeparationError, match=r"1 of the test videos.*test-tuba-1.*'allow'"):
        parts_from(tone_store, stages, name)
    parts = parts_from(tone_store, stages, name, overlap="allow")
    assert parts.summary["initial"]["test_videos_seen"] == 1
    assert parts.summary["initial"]["seen"] == ["tones/test-tuba-1"]
    tuned = published_from(tone_store, stages, parts, name, "allowed", overlap="allow")
    results = evaluate(evaluation_of(tone_store, stages, tuned, tmp_path))
    assert results["initial"] == parts.summary["initial"]
    assert set(seen) <= set(seen_items(tone_store.layout, tuned))
    assert not set(seen) & set(seen_items(tone_store.layout, tuned, admitted=False))


def test_a_fine_tuned_model_is_read_back_with_its_own_maps(
    tone_store, stages, source, tmp_path
) -> None:
    parts = parts_from(tone_store, stages, source)
    tuned = published_from(tone_store, stages, parts, source, "tuned")
    found = load_published(tone_store.layout, tuned)
    assert (found.classes, found.map_classes) == (("flute", "tuba"), OTHER_CLASSES)
    batch = parts.collate([parts.val[0, 0]])
    with torch.no_grad():
        expected = parts.module.network.eval()(batch)
        got = found.network(batch)
    assert torch.equal(got.mask_logits_BNQF, expected.mask_logits_BNQF)
    assert got.scores_BNSC.shape[-1] == 3
    again = parts_from(tone_store, stages, tuned)
    assert again.summary["map_classes"] == list(OTHER_CLASSES), "a second time, too"
    assert "elsewhere/a/whole" in seen_items(tone_store.layout, tuned)


def test_what_the_source_of_a_model_saw_cannot_be_tested_on(tone_store, stages, tmp_path) -> None:
    """Refused in the evaluation also when the fine-tuning's own snapshot did not have it."""
    name = pretrained(tone_store, stages, 5, ["tones/test-flute-0/whole"])
    items = [item for item in tone_store.items if "test-flute-0" not in item.item_id]
    config = replace(CONFIG, initial=InitialConfig(model=name))
    parts = build(job_of(tone_store, stages, config), FeatureStore(tone_store.layout.root), items)
    tuned = published_from(tone_store, stages, parts, name, "narrow")
    with pytest.raises(SeparationError, match="validated on 1 of the test videos"):
        evaluate(evaluation_of(tone_store, stages, tuned, tmp_path))


def test_presets_are_fine_tuned_at_the_papers_rate_and_tiny_at_its_own() -> None:
    initial = InitialConfig(model="tribert-000000000000")
    for preset in ("paper", "released"):
        override = finetune_override(preset, initial)
        values = presets[preset].as_json()
        config = Config.from_json(
            {
                **values,
                "initial": override["initial"],
                "optim": {**values["optim"], **override["optim"]},
            }
        )
        assert config.optim.lr_encoder == config.optim.lr_unet == FINE_TUNING_RATE
        assert config.optim.max_steps % config.optim.val_every_steps == 0
        assert config.initial == initial
    assert set(finetune_override("tiny", initial)) == {"initial"}


def test_a_fine_tuning_trains_publishes_and_names_its_source(tone_store, stages, source) -> None:
    """The whole way through the trainer; a second start finds the model published."""
    config = replace(CONFIG, initial=InitialConfig(model=source))
    job = replace(job_of(tone_store, stages, config), device="cpu")
    job = replace(job, run_dir=tone_store.layout.run(job.name))
    train(job)
    train(job)
    found = load_published(tone_store.layout, job.name)
    before = load_published(tone_store.layout, source).network.state_dict()
    after = found.network.state_dict()
    assert found.config.initial.model == source
    assert found.map_classes == OTHER_CLASSES
    moved = [name for name in before if not torch.equal(before[name], after[name])]
    assert any(name.startswith("encoder.") for name in moved), "trained end to end"
    close = [name for name in moved if name.startswith("encoder.") and name.endswith("weight")]
    assert close
    for name in close:
        assert (after[name] - before[name]).abs().max() < 0.02, "and from where the source was"
