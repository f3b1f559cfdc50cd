from __future__ import annotations

import pickle
import subprocess
import sys
from collections.abc import Callable
from dataclasses import fields, is_dataclass, replace
from pathlib import Path

import pytest

from pipeline.failures import WeightsMissing
from pipeline.media import POSE_SIDECAR, MediaRef
from pipeline.stages import (
    STAGES,
    AudioConfig,
    FramesConfig,
    PoseConfig,
    PoseEmbedConfig,
    ProbeConfig,
    Resnet152Config,
    StftConfig,
    VggishConfig,
    default_configs,
    resolve,
    resolve_pose_embed_stage,
    upstream_closure,
)
from storage.fingerprint import sha256_file

OTHER_WORDS = {
    "weights": "random:7",
    "dtype": "float16",
    "hop": "0.96",
    "variant": "linear",
    "sampling": "llp",
    "backend": "alphapose-json",
}
MEDIA = MediaRef(item_id="lab/a/whole", path="/x", sha256="0" * 64)


def test_the_table_is_in_order_and_complete() -> None:
    seen: set[str] = set()
    for name, stage in STAGES.items():
        assert name == stage.name
        assert set(stage.inputs) <= seen, f"{name} reads a stage that stands below it"
        assert stage.needs in ("video", "audio", "any")
        assert stage.version >= 1
        seen.add(name)


def test_defaults_resolve_with_upstream_fingerprints() -> None:
    stages = resolve(default_configs())
    assert list(stages) == [name for name in STAGES if name != "pose_embed"]
    for stage in stages.values():
        assert set(stage.upstream) == set(STAGES[stage.name].inputs)
        for name, address in stage.upstream.items():
            assert address == stages[name].record.name
        assert pickle.loads(pickle.dumps(stage)) == stage


def test_only_what_is_wanted_is_resolved() -> None:
    assert list(resolve({"stft": StftConfig()})) == ["probe", "audio_11025", "stft"]


def test_a_setting_moves_its_stage_and_what_is_below() -> None:
    before = resolve(default_configs())
    after = resolve(default_configs() | {"frames": FramesConfig(fps=4.0)})
    moved = {n for n in before if before[n].record.fingerprint != after[n].record.fingerprint}
    assert moved == {"frames", "resnet152", "r2plus1d"}
    assert before["frames"].record.differences(after["frames"].record) == [
        "parameters.fps: 8.0 -> 4.0"
    ]


@pytest.mark.parametrize("name", [n for n in STAGES if n != "pose_embed"])
def test_every_hashed_field_moves_the_fingerprint_and_no_other_does(name: str) -> None:
    config = STAGES[name].default
    base = resolve({name: config})[name].record.fingerprint
    for field in fields(config):
        value = getattr(config, field.name)
        if field.name in OTHER_WORDS:
            changed = replace(config, **{field.name: OTHER_WORDS[field.name]})
        elif isinstance(value, bool):
            changed = replace(config, **{field.name: not value})
        elif is_dataclass(value):  # settings of a backend that is not chosen
            changed = replace(config, **{field.name: replace(value, device="cuda:3")})
        elif value is None:
            changed = replace(config, **{field.name: 1.0})
        else:
            changed = replace(config, **{field.name: value + 2})
        moved = resolve({name: changed})[name].record.fingerprint != base
        assert moved == field.metadata.get("fingerprint", True), field.name


def test_imported_rows_read_no_stage_and_no_other_setting_counts() -> None:
    imported = VggishConfig(weights="imported:0123456789abcdef")
    stages = resolve(default_configs() | {"vggish": imported})
    stage = stages["vggish"]
    assert stage.imported
    assert not stages["resnet152"].imported
    assert (stage.upstream, stage.record.parameters, stage.precision) == ({}, {}, "")
    assert stage.record.weights == {"weights": "imported:0123456789abcdef"}
    assert pickle.loads(pickle.dumps(stage)) == stage
    same = resolve({"vggish": replace(imported, variant="linear")}, precision="bfloat16")
    assert same["vggish"].record == stage.record
    other = resolve({"vggish": VggishConfig(weights="imported:ffff")})
    assert other["vggish"].record.differences(stage.record)
    assert upstream_closure(["vggish", "r2plus1d"], {"vggish"}) == {
        *("vggish", "r2plus1d", "frames", "probe")
    }


def test_fingerprints_are_the_same_in_another_process() -> None:
    code = (
        "from pipeline.stages import *;"
        "print([s.record.fingerprint for s in resolve(default_configs()).values()])"
    )
    root = Path(__file__).parents[2]
    other = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=root
    ).stdout.strip()
    assert other == str([s.record.fingerprint for s in resolve(default_configs()).values()])


def test_precision_is_resolved_into_the_fingerprint() -> None:
    automatic = resolve({"resnet152": Resnet152Config(weights="random:0")})["resnet152"]
    assert automatic.precision == automatic.record.precision == "bfloat16"
    exact = resolve({"resnet152": Resnet152Config()}, precision="float32")["resnet152"]
    assert exact.record.precision == "float32"
    assert exact.record.fingerprint != automatic.record.fingerprint
    assert resolve({"frames": FramesConfig()}, precision="bfloat16")["frames"].precision == ""


def test_a_weights_file_stands_with_its_digest(tmp_path: Path) -> None:
    path = tmp_path / "own.pth"
    path.write_bytes(b"weights")
    stage = resolve({"vggish": VggishConfig(weights="own.pth")}, weights_dir=tmp_path)["vggish"]
    assert stage.weights_path == str(path)
    assert sha256_file(path) in stage.record.weights.values()
    assert stage.precision == "float32"
    moved = tmp_path / "elsewhere" / "renamed.pth"
    moved.parent.mkdir()
    path.rename(moved)
    again = resolve({"vggish": VggishConfig(weights=str(moved))})["vggish"]
    assert again.record == stage.record


def test_weights_that_are_not_there_stop_the_run(tmp_path: Path) -> None:
    with pytest.raises(WeightsMissing, match=r"no-such\.pth"):
        resolve({"vggish": VggishConfig(weights="no-such.pth")}, weights_dir=tmp_path)


def test_wrong_settings_are_named() -> None:
    with pytest.raises(ValueError, match="unknown stage 'sfft': expected one of probe"):
        resolve({"sfft": StftConfig()})
    with pytest.raises(ValueError, match="settings are a StftConfig, expected FramesConfig"):
        resolve({"frames": StftConfig()})
    with pytest.raises(ValueError, match="precision 'half'"):
        resolve({"probe": ProbeConfig()}, precision="half")
    with pytest.raises(ValueError, match="resolve_pose_embed_stage"):
        resolve({"pose_embed": PoseEmbedConfig(model="stgcn-000000000000")})


@pytest.mark.parametrize(
    "make",
    [
        lambda: StftConfig(dtype="int16"),
        lambda: StftConfig(n_fft=1023),
        lambda: StftConfig(hop_samples=0),
        lambda: FramesConfig(fps=0),
        lambda: FramesConfig(jpeg_quality=101),
        lambda: AudioConfig(rate_hz=0),
    ],
)
def test_settings_that_cannot_work_are_refused(make: Callable[[], object]) -> None:
    with pytest.raises(ValueError, match="expected"):
        make()


def test_pose_embed_is_pinned_by_its_models_digest() -> None:
    pose = resolve({"pose": PoseConfig()})["pose"]
    config = PoseEmbedConfig(model="stgcn-000000000000")
    one = resolve_pose_embed_stage(config, weights_sha256="1" * 64, pose=pose)
    two = resolve_pose_embed_stage(config, weights_sha256="2" * 64, pose=pose)
    assert one.record.fingerprint != two.record.fingerprint
    assert one.upstream == {"pose": pose.record.name}


def test_ready_poses_are_part_of_what_a_pose_is_computed_from() -> None:
    media = replace(
        MEDIA, sidecars={POSE_SIDECAR: "/p.json"}, sidecar_sha256={POSE_SIDECAR: "a" * 64}
    )
    changed = replace(media, sidecar_sha256={POSE_SIDECAR: "b" * 64})
    stages = resolve({"pose": PoseConfig(backend="alphapose-json"), "frames": FramesConfig()})
    assert stages["frames"].input_sha256(media) == MEDIA.sha256
    pose = stages["pose"]
    assert pose.input_sha256(MEDIA) == MEDIA.sha256
    assert len({pose.input_sha256(m) for m in (MEDIA, media, changed)}) == 3
    embed = resolve_pose_embed_stage(PoseEmbedConfig(model="m"), weights_sha256="1", pose=pose)
    assert embed.input_sha256(media) == pose.input_sha256(media)
    looked_at = resolve({"pose": PoseConfig()})["pose"]
    assert looked_at.input_sha256(media) == MEDIA.sha256


def test_audio_rates_are_two_stages() -> None:
    stages = resolve(default_configs())
    assert stages["audio_11025"].config == AudioConfig(rate_hz=11025)
    assert stages["audio_16000"].config == AudioConfig(rate_hz=16000)
