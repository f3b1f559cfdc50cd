"""[tribert]: what a run computes and how it is trained reaches the trainer."""

from __future__ import annotations

from typing import Any

import pytest

from tasks.context import load_context
from tasks.models import configuration
from tasks.settings import SettingsError, load_settings


@pytest.mark.parametrize("chosen, extra", [("stored", {"stft"}), ("computed", set())])
def test_stages_and_configuration_follow(desk: Any, chosen: str, extra: set[str]) -> None:
    desk.list([("a.mp4", "violin", "train"), ("b.mp4", "tuba", "train")])
    desk.parser.read_string(f"[tribert]\nspectrogram = {chosen}\n")
    context = load_context(desk.name, "tribert")
    stages = set(context.stages_of(context.sources[0]))
    assert stages == {"probe", "frames", "audio_11025", "pose"} | extra
    assert configuration(context, "tribert")["data"]["spectrogram"] == chosen


def test_precision_and_memory_reach_the_trainer(desk: Any) -> None:
    desk.list([("a.mp4", "violin", "train"), ("b.mp4", "tuba", "train")])
    chosen = {"precision": "bf16-mixed", "accumulate": 2, "checkpoint_activations": True}
    lines = "\n".join(f"{name} = {value}" for name, value in chosen.items())
    desk.parser.read_string(f"[tribert]\n{lines}\n")
    optim = configuration(load_context(desk.name, "tribert"), "tribert")["optim"]
    assert {name: optim[name] for name in chosen} == chosen


def test_vggish_joins_the_stages_only_where_it_hears(desk: Any) -> None:
    desk.list([("a.mp4", "violin", "train"), ("b.mp4", "tuba", "train")])
    desk.parser.read_string("[tribert]\naudio_encoder = vggish\npreset = paper\n")
    context = load_context(desk.name, "tribert")
    assert {"vggish", "audio_16000"} <= set(context.stages_of(context.sources[0]))
    values = configuration(context, "tribert")
    assert values["audio"]["encoder"] == "vggish"
    assert values["data"]["sound_patches"] == 6
    desk.parser.read_string("[tribert]\naudio_encoder = vgg\n")
    load_context.cache_clear()
    assert "vggish" not in load_context(desk.name, "tribert").stages_of(context.sources[0])
    desk.parser.read_string("[tribert]\naudio_encoder = ears\n")
    with pytest.raises(SettingsError, match="'ears': expected one of vgg, vggish"):
        load_settings()


def test_modern_is_a_preset_of_a_run(desk: Any) -> None:
    desk.list([("a.mp4", "violin", "train"), ("b.mp4", "tuba", "train")])
    desk.parser.read_string("[tribert]\npreset = modern\n")
    context = load_context(desk.name, "tribert")
    assert configuration(context, "tribert")["separation"]["fusion"] == "none"


def test_an_unknown_precision_is_refused(desk: Any) -> None:
    desk.parser.read_string("[tribert]\nprecision = bf16\n")
    with pytest.raises(SettingsError, match="'bf16': expected one of 32-true"):
        load_settings()


def test_other_words_are_refused(desk: Any) -> None:
    desk.parser.read_string("[tribert]\nspectrogram = kept\n")
    with pytest.raises(SettingsError, match="'kept': expected one of stored, computed"):
        load_settings()


def test_it_is_no_setting_of_the_other_models(desk: Any) -> None:
    desk.parser.read_string("[avvp]\nspectrogram = stored\n")
    with pytest.raises(SettingsError, match=r"unknown \[avvp\] spectrogram"):
        load_settings()
