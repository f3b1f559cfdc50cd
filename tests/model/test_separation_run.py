"""One command from a published TriBERT to the table of it and its baselines."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
import torch
from safetensors.torch import save_file

from model.separation.config import Config
from model.separation.jobs import SYSTEMS, baseline_jobs
from model.separation.run import main
from model.tribert.config import Config as TribertConfig
from model.tribert.config import presets
from model.tribert.evaluate import SWAPPED
from model.tribert.network import TriBERT
from storage.models import ModelRecord, list_models, publish_model, read_model, write_snapshot

TINY = presets["tiny"]
CONFIG = replace(
    TINY,
    data=replace(TINY.data, picture_px=32, spec_frames=32, spec_rows=64, epoch_mixes=8),
    pose=replace(TINY.pose, channels=8),
    optim=replace(TINY.optim, batch_size=4, max_steps=2, val_every_steps=2),
)
SMALL = {"pairs": 2, "examples": 0, "span_frames": 32, "pair_rule": "disjoint"}


@pytest.fixture(scope="module")
def tribert(tone_store) -> str:
    """The name of a published TriBERT that has learned nothing."""
    layout = tone_store.layout
    record = ModelRecord(
        recipe="tribert",
        recipe_version=1,
        configuration=CONFIG.as_json(),
        seed=7,
        stages={name: tone_store.stages[name] for name in ("frames", "stft", "pose_embed")},
        snapshot=write_snapshot(layout, "tones", tone_store.items),
        dataset="tones",
    )
    torch.manual_seed(0)
    state = TriBERT(CONFIG, 2).state_dict()
    folder = layout.root / "prepared-table"
    folder.mkdir()
    weights = {name: value.clone().contiguous() for name, value in state.items()}
    save_file(weights, folder / "weights.safetensors")
    used = {split: [i.item_id for i in tone_store.split(split)] for split in ("train", "val")}
    publish_model(layout, record, folder, {"classes": ["flute", "tuba"], "ids_used": used})
    return record.name


def test_baselines_share_mixes_steps_and_seed(tone_store, tribert) -> None:
    jobs = baseline_jobs(tone_store.layout, tribert)
    configs = [Config.from_json(job.configuration) for job in jobs]
    assert [config.system for config in configs] == list(SYSTEMS)
    record = read_model(tone_store.layout, tribert)["record"]
    for job, config in zip(jobs, configs, strict=True):
        same = replace(config.data, mask=CONFIG.data.mask, joint_frames=0)
        assert same == TribertConfig.from_json(record["configuration"]).data
        assert (job.seed, job.snapshot, job.stages) == (7, record["snapshot"], record["stages"])
        assert config.optim.max_steps == 2


def test_one_command_trains_and_prints_the_table(tone_store, tribert, capsys) -> None:
    root = str(tone_store.layout.root)
    command = [root, tribert, "--device", "cpu", "--set", json.dumps(SMALL)]
    assert main(command) == 0
    text = capsys.readouterr().out
    rows = [line.split("  ")[0] for line in text.splitlines()]
    assert rows[2 : rows.index("")] == [
        "TriBERT",
        "mixture",
        "oracle mask",
        SWAPPED,
        "Sound-of-Pixels",
        f"Sound-of-Pixels, {SWAPPED}",
        "audio-only U-Net",
        *(
            f"Music Gesture ({head}){without}"
            for head in ("gated", "plain")
            for without in ("", f", {SWAPPED}", ", no pose", ", no context")
        ),
        *(
            f"{row}{swapped}"
            for row in (
                "Co-Separation (crop=box)",
                "AV-Mix-and-Separate (crop=frame)",
                "mask coefficients (approximation)",
            )
            for swapped in ("", f", {SWAPPED}")
        ),
        "oracle mask (dominant)",
        "oracle mask (half)",
        "oracle mask (ratio)",
        "NMF with MFCC clustering",
        "NMF, oracle components",
    ]
    blind = ("audio-only U-Net", "NMF with MFCC clustering")
    for name, line in zip(rows[2:], text.splitlines()[2 : rows.index("")], strict=False):
        assert line.split()[-1] == ("best" if name in blind else "named"), line
    before = list_models(tone_store.layout)
    assert main(command) == 0, "nothing is done twice"
    assert capsys.readouterr().out == text
    assert list_models(tone_store.layout) == before


@pytest.mark.parametrize(
    "settings, message",
    [("{", "not JSON"), ("[]", "expected a JSON object"), ('{"pair": 1}', "no setting")],
)
def test_bad_settings_are_told(tone_store, tribert, caplog, settings, message) -> None:
    assert main([str(tone_store.layout.root), tribert, "--set", settings]) == 1
    assert message in caplog.text
