"""luigi.cfg in, typed settings out; what is wrong is named."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from luigi.configuration import LuigiConfigParser

from pipeline.download.config import FetchSettings
from tasks.settings import ListSettings, RunSettings, SettingsError, load_settings, worker_count


@pytest.fixture
def configure(monkeypatch: pytest.MonkeyPatch) -> Iterator[LuigiConfigParser]:
    """An empty configuration in place of the one that Luigi read."""
    parser = LuigiConfigParser()
    monkeypatch.setattr(LuigiConfigParser, "_instance", parser)
    return parser


def write(parser: LuigiConfigParser, text: str) -> None:
    parser.read_string(text)


def test_an_empty_file_gives_the_defaults(configure: LuigiConfigParser) -> None:
    settings = load_settings()
    assert settings.run == RunSettings()
    assert settings.lists == ListSettings()
    assert settings.fetch == FetchSettings()
    assert settings.stages["stft"] == {}
    assert worker_count(settings.run) >= 1


def test_the_file_in_the_repository_states_the_defaults(configure: LuigiConfigParser) -> None:
    configure.read(Path(__file__).parents[2] / "luigi.cfg")
    settings = load_settings()
    assert settings.run == RunSettings()
    assert settings.lists == ListSettings()
    assert settings.fetch == FetchSettings()
    assert settings.stages["stft"] == {"n_fft": 1022, "hop_samples": 256, "dtype": "float32"}


@pytest.mark.parametrize(
    "text, expected",
    [
        ("[stft]\nhop_sample = 3\n", r"\[stft\] hop_sample; did you mean 'hop_samples'"),
        ("[frames]\nfps = fast\n", r"\[frames\] fps = 'fast': expected float"),
        ("[tribertt]\npreset = tiny\n", r"unknown section \[tribertt\]"),
        ("[soundstage]\nimport_mode = move\n", "expected one of copy, hardlink, symlink"),
        ("[lists]\noverlap = tests\n", "overlap = 'tests': did you mean 'test'"),
        ("[fetch]\nretries = -1\n", "retries is -1, expected at least 0"),
    ],
)
def test_what_is_wrong_is_named(configure: LuigiConfigParser, text: str, expected: str) -> None:
    write(configure, text)
    with pytest.raises(SettingsError, match=expected):
        load_settings()
