"""Retrieval: embeddings that do and do not leak, choices, scorers, and the table of a store."""

from __future__ import annotations

import csv
import json
import shutil
from dataclasses import replace

import pytest
import torch
from safetensors.torch import save_file

from model.jobs import TrainJob
from model.retrieval import evaluate as evaluation
from model.retrieval import run
from model.retrieval.config import VARIANTS, Config, EvaluationConfig, presets
from model.retrieval.embeddings import (
    ClipReader,
    Embeddings,
    embed,
    input_tokens,
    refined_alone,
    refined_together,
)
from model.retrieval.errors import RetrievalError
from model.retrieval.jobs import KINDS, job_for
from model.retrieval.recipe import build
from model.settings import ConfigError
from model.train.fit import fit
from model.train.publish import publish_trained
from model.tribert.batch import collate
from model.tribert.clips import find_clips, stages_read
from model.tribert.config import presets as tribert_presets
from model.tribert.network import TriBERT
from storage.layout import open_store
from storage.models import ModelRecord, publish_model, write_snapshot
from storage.store import FeatureStore

TINY = tribert_presets["tiny"]
TRIBERT = replace(
    TINY,
    data=replace(TINY.data, picture_px=32, spec_frames=32, spec_rows=64),
    pose=replace(TINY.pose, channels=8),
)
SMALL = Config(
    hidden=(16,), ways=3, pair_skips=1, neighbours=4, batch_size=4, max_steps=4, val_every_steps=2
)
STREAMS = ("vision", "pose", "audio")


def publish_tribert(tone_store, seed: int = 0, train: tuple[str, ...] = ("train",)) -> str:
    """Publish an untrained network whose record says what it was trained on."""
    torch.manual_seed(seed)
    layout = tone_store.layout
    record = ModelRecord(
        recipe="tribert",
        recipe_version=1,
        configuration=TRIBERT.as_json(),
        seed=seed,
        stages=tone_store.stages,
        snapshot=write_snapshot(layout, "tones", tone_store.items),
        dataset="tones",
    )
    folder = layout.root / f"prepared-{seed}"
    folder.mkdir()
    network = TriBERT(TRIBERT, 2)
    save_file({k: v.contiguous() for k, v in network.state_dict().items()},
              folder / "weights.safetensors")  # fmt: skip
    used = {
        "train": [item.item_id for split in train for item in tone_store.split(split)],
        "val": [item.item_id for item in tone_store.split("val")],
    }
    publish_model(layout, record, folder, {"classes": ["flute", "tuba"], "ids_used": used})
    return record.name


@pytest.fixture(scope="module")
def tone_store(tone_store, tmp_path_factory):
    """A copy of the store, so that what these tests publish is not there for others."""
    root = tmp_path_factory.mktemp("copy") / "store"
    shutil.copytree(tone_store.layout.root, root)
    return replace(tone_store, layout=open_store(root))


@pytest.fixture(scope="module")
def tribert(tone_store) -> str:
    return publish_tribert(tone_store)


@pytest.fixture(scope="module")
def network() -> TriBERT:
    torch.manual_seed(1)
    return TriBERT(TRIBERT, 2).eval()


@pytest.fixture(scope="module")
def reader(tone_store) -> ClipReader:
    store = FeatureStore(tone_store.layout.root)
    return ClipReader(store, stages_read(store, tone_store.stages), TRIBERT.data)


@pytest.fixture(scope="module")
def clips(tone_store):
    store = FeatureStore(tone_store.layout.root)
    stages = stages_read(store, tone_store.stages)
    return find_clips(store, stages, tone_store.split("test"), TRIBERT.data).clips


def embedded(network, reader, clips, embedding="transformer", protocol="joint") -> Embeddings:
    device = torch.device("cpu")
    return embed(network, reader, clips, embedding=embedding, protocol=protocol, device=device)


def job_of(tone_store, config: Config, run: str = "r") -> TrainJob:
    return TrainJob(
        recipe="retrieval",
        recipe_version=1,
        configuration=config.as_json(),
        seed=3,
        stages=tone_store.stages,
        snapshot=write_snapshot(tone_store.layout, "tones", tone_store.items),
        dataset="tones",
        store_root=tone_store.layout.root,
        run_dir=tone_store.layout.root / "runs" / run,
        device="cpu",
    )


def parts_of(tone_store, config: Config, items=None):
    store = FeatureStore(tone_store.layout.root)
    return build(job_of(tone_store, config), store, tone_store.items if items is None else items)


def test_embeddings_are_what_the_network_itself_has(network, reader, clips) -> None:
    found = embedded(network, reader, clips)
    batch = collate([reader.read(clip) for clip in clips])
    with torch.no_grad():
        outputs = network(replace(batch, labels_BNC=torch.zeros(len(clips), 1, 2)))
    for stream in STREAMS:
        tokens_ZSPD = getattr(outputs, f"{stream}_ZSPD")
        torch.testing.assert_close(found.vectors[stream], tokens_ZSPD.flatten(1))
    assert found.sizes() == {"vision": 4 * 2 * 128, "pose": 4 * 2 * 128, "audio": 4 * 2 * 64}
    assert found.item_ids == tuple(clip.item_id for clip in clips)


def test_the_papers_sizes_follow_from_its_preset() -> None:
    config = tribert_presets["paper"]
    tokens = (1 + config.data.steps) * config.vision.objects
    assert tokens * config.encoder.vision_width == 8192
    assert tokens * config.encoder.audio_width == 4096


def test_what_goes_in_is_what_the_streams_start_from(network, reader, clips) -> None:
    found = embedded(network, reader, clips, "input")
    audio_BLD = found.vectors["audio"].unflatten(1, (8, -1))
    assert torch.equal(audio_BLD[:, :1].expand(-1, 8, -1), audio_BLD), "one token, repeated"
    assert not torch.allclose(audio_BLD[0], audio_BLD[-1])
    assert found.sizes() == embedded(network, reader, clips).sizes()


@pytest.mark.parametrize("stream", STREAMS)
def test_alone_a_stream_does_not_depend_on_the_others(network, reader, clips, stream) -> None:
    """Other clips' values in the two other streams change nothing; in the joint pass they do."""
    place = STREAMS.index(stream)
    with torch.no_grad():
        tokens, valid = input_tokens(network, collate([reader.read(clip) for clip in clips]))
        other = tokens._make(x if n == place else x.flip(0) + 1.0 for n, x in enumerate(tokens))
        nobody = valid._replace(pose=valid.pose & False) if stream != "pose" else valid
        alone = refined_alone(network, tokens, valid)[place]
        assert torch.equal(alone, refined_alone(network, other, nobody)[place])
        joint = refined_together(network, tokens, valid)[place]
        assert not torch.allclose(joint, refined_together(network, other, valid)[place], atol=1e-3)


@pytest.fixture(scope="module")
def evaluated(tone_store, tribert, tmp_path_factory):
    """Scorers trained for a few steps on three kinds of embeddings, and their table."""
    names = []
    kinds = [("transformer", "joint"), ("transformer", "alone"), ("input", "joint")]
    for number, (embedding, protocol) in enumerate(kinds):
        config = replace(SMALL, tribert=tribert, embedding=embedding, protocol=protocol)
        job = job_of(tone_store, config, f"r{number}")
        store = FeatureStore(job.store_root)
        torch.manual_seed(job.seed)
        parts = build(job, store, tone_store.items)
        result = fit(parts, job.run_dir, seed=job.seed, device="cpu")
        assert publish_trained(tone_store.layout, job, parts, result)
        names.append(job.name)
    folder = tmp_path_factory.mktemp("retrieval")
    job = replace(job_for(tone_store.layout, names, device="cpu"), out_dir=folder)
    return evaluation.evaluate(job), job


def test_a_store_gives_the_whole_table(evaluated) -> None:
    results, job = evaluated
    assert json.loads((job.out_dir / "results.json").read_text()) == json.loads(json.dumps(results))
    assert results["pool"] == 4
    assert [(r["variant"], r["embedding"], r["protocol"]) for r in results["rows"]] == [
        (variant, *kind)
        for kind in (("transformer", "joint"), ("transformer", "alone"), ("input", "joint"))
        for variant in VARIANTS
    ]
    for row in results["rows"]:
        assert 0 <= row["top1"] <= row["top5"] == 100
        assert all("/test-" in item_id for item_id in row["examples"][0]["found"])
    assert results["chance"]["top1"] == 25
    assert "not computed here" in results["printed"]["source"]
    with (job.out_dir / "ranks.csv").open() as file:
        lines = list(csv.DictReader(file))
    assert len(lines) == 3 * 5 * 4
    of_first = [int(x["rank"]) for x in lines[:4]]
    assert results["rows"][0]["top1"] == 100 * sum(rank == 1 for rank in of_first) / 4


def test_the_command_prints_the_table_as_json(evaluated, capsys) -> None:
    results, job = evaluated
    assert evaluation.main([str(job.store_root), *job.models, "--device", "cpu"]) == 0
    printed = capsys.readouterr()
    assert json.loads(printed.out)["rows"] == json.loads(json.dumps(results["rows"]))
    assert "chance" in printed.err
    assert evaluation.main([str(job.store_root), "retrieval-nothing"]) == 1
    assert "retrieval-nothing" in capsys.readouterr().err


def test_a_tribert_that_saw_test_videos_is_refused(tone_store) -> None:
    name = publish_tribert(tone_store, seed=5, train=("train", "test"))
    with pytest.raises(RetrievalError, match=r"trained or validated on 4 of the test videos"):
        parts_of(tone_store, replace(SMALL, tribert=name))


def test_what_cannot_be_built_says_why(tone_store, tribert, evaluated) -> None:
    with pytest.raises(RetrievalError, match=r"retrieval\.tribert is empty"):
        parts_of(tone_store, SMALL)
    job = job_of(tone_store, replace(SMALL, tribert=tribert))
    other = replace(job, stages={**job.stages, "pose_embed": "pose_embed-000000000000"})
    with pytest.raises(RetrievalError, match="the job names pose_embed-000000000000"):
        build(other, FeatureStore(job.store_root), tone_store.items)
    with pytest.raises(RetrievalError, match="no training clip can be read"):
        parts_of(tone_store, replace(SMALL, tribert=tribert), tone_store.split("val"))
    job = replace(evaluated[1], model=tribert)
    with pytest.raises(RetrievalError, match="expected a model of the recipe 'retrieval'"):
        evaluation.evaluate(job)


def test_without_validation_clips_the_last_weights_count(tone_store, tribert) -> None:
    items = tone_store.split("train")
    parts = parts_of(tone_store, replace(SMALL, tribert=tribert), items)
    assert parts.val is None
    assert parts.monitor is None


def test_settings_that_cannot_work_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"no variant \['pose_to_vision'\]"):
        Config(variants=("pose_to_vision",))
    with pytest.raises(ConfigError, match="no stream has met another"):
        Config(embedding="input", protocol="alone")
    with pytest.raises(ConfigError, match="must be at least 2"):
        Config(ways=1)
    for settings in presets.values():
        assert Config.from_json(settings.as_json()) == settings
        assert settings.max_steps % settings.val_every_steps == 0
    assert EvaluationConfig.from_json({}) == EvaluationConfig()


def test_one_command_trains_and_publishes_the_table(tone_store, tribert, capsys) -> None:
    """A second run finds everything published and prints the same."""
    changes = {"hidden": [8], "max_steps": 2, "val_every_steps": 2, "pair_skips": 1}
    arguments = [str(tone_store.layout.root), tribert, "--preset", "tiny", "--device", "cpu"]
    arguments += ["--set", json.dumps(changes)]
    assert run.main(arguments) == 0
    first = capsys.readouterr()
    results = json.loads(first.out)
    assert len(results["rows"]) == 15
    assert {(row["embedding"], row["protocol"]) for row in results["rows"]} == {
        (kind["embedding"], kind["protocol"]) for kind in KINDS
    }
    published = {path: path.stat().st_mtime_ns for path in tone_store.layout.models().rglob("*")}
    assert run.main(arguments) == 0
    assert json.loads(capsys.readouterr().out) == results
    assert published == {path: path.stat().st_mtime_ns for path in published}


@pytest.mark.parametrize(
    "changes, said",
    [
        ("{", "not JSON"),
        ("[1]", "expected a JSON object"),
        ('{"way": 3}', "no setting"),
        ("{}", "tribert-000000000000"),
    ],
)
def test_the_command_says_what_is_wrong(tone_store, caplog, changes, said) -> None:
    arguments = [str(tone_store.layout.root), "tribert-000000000000", "--set", changes]
    assert run.main([*arguments, "--device", "cpu"]) == 1
    assert said in caplog.text
