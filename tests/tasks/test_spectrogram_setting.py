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
