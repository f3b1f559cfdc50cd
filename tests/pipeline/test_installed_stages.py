"""A stage that an installed package brings along: the how-to's own example, and bad ones."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from pipeline.failures import EnvironmentBroken
from pipeline.stage_def import ENTRY_POINTS, with_installed
from pipeline.stages import TABLE

ROOT = Path(__file__).parents[2]
GOOD = (
    "from pipeline.stage_def import StageDef\n"
    "from pipeline.stage_configs import StftConfig\n"
    "STAGE = StageDef(name={name!r}, version=1, config=StftConfig, default={default},\n"
    "    inputs=({reads!r},), module='m')\n"
)


def install(folder: Path, package: str, code: str, entries: Mapping[str, str]) -> None:
    """What `pip install` leaves of a package of one module."""
    (folder / f"{package}.py").write_text(code)
    info = folder / f"{package}-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.0\n")
    lines = [f"{name} = {value}" for name, value in entries.items()]
    (info / "entry_points.txt").write_text("\n".join([f"[{ENTRY_POINTS}]", *lines, ""]))


def how_to() -> tuple[str, Mapping[str, str]]:
    """The page's first file, and the entry points of its pyproject.toml."""
    text = (ROOT / "docs" / "extractors.md").read_text()
    code = re.findall(r"```python\n(.*?)```", text, re.DOTALL)[0]
    project = tomllib.loads(re.findall(r"```toml\n(.*?)```", text, re.DOTALL)[0])
    assert project["tool"]["setuptools"]["py-modules"] == ["lab_mfcc"]
    return code, project["project"]["entry-points"][ENTRY_POINTS]


@pytest.fixture(scope="module")
def mfcc_installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    code, entries = how_to()
    install(folder, "lab_mfcc", code, entries)
    return folder


def python(folder: Path, *arguments: str, cwd: Path = ROOT) -> subprocess.CompletedProcess[str]:
    kept = {k: v for k, v in os.environ.items() if not k.startswith("PYTEST")}
    return subprocess.run(
        [sys.executable, *arguments],
        env={**kept, "PYTHONPATH": os.pathsep.join((str(folder), str(ROOT)))},
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )


def test_the_example_is_short() -> None:
    code, _ = how_to()
    assert len(code.splitlines()) < 60


@pytest.mark.slow
def test_the_example_passes_the_suite_that_every_extractor_passes(mfcc_installed: Path) -> None:
    done = python(
        mfcc_installed,
        *("-m", "pytest", "tests/conformance", "-k", "mfcc", "-q", "-p", "no:cacheprovider"),
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.search(r"[67] passed", done.stdout), done.stdout


def test_the_example_is_a_stage_of_every_command(mfcc_installed: Path, tmp_path: Path) -> None:
    (tmp_path / "luigi.cfg").write_text("[mfcc]\ncoefficients = 20\n")
    code = (
        "import sys\n"
        "from tasks.context import stages_needed\n"
        "from tasks.settings import load_settings\n"
        "from pipeline.stages import STAGES, default_configs, resolve\n"
        "from pipeline.estimate.sizes import stage_sizes\n"
        "print(load_settings().stages['mfcc'], 'mfcc' in stages_needed('features'))\n"
        "print(sorted({'torch', 'torchaudio', 'cv2'} & set(sys.modules)))\n"
        "print(stage_sizes(resolve({'mfcc': STAGES['mfcc'].default}), 10.0)['mfcc'].rows)\n"
        "stage = resolve(default_configs())['mfcc']\n"
        "print(stage.upstream['audio_16000'] == resolve(default_configs())['audio_16000']"
        ".record.name, stage.record.parameters)\n"
    )
    done = python(mfcc_installed, "-c", code, cwd=tmp_path)
    assert done.stdout.splitlines() == [
        "{'coefficients': 20} True",
        "[]",
        "10",
        "True {'coefficients': 13}",
    ], done.stderr


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder on the path, whose modules are forgotten afterwards."""
    monkeypatch.syspath_prepend(str(tmp_path))
    before = set(sys.modules)
    yield tmp_path
    for name in set(sys.modules) - before:
        if name.startswith("lab_"):
            del sys.modules[name]


def good(name: str, reads: str = "probe", default: str = "StftConfig()") -> str:
    return GOOD.format(name=name, reads=reads, default=default)


def test_installed_stages_stand_behind_the_table(site: Path) -> None:
    install(site, "lab_loud", good("loudness"), {"loudness": "lab_loud:STAGE"})
    stages = with_installed(TABLE)
    assert list(stages) == [*TABLE, "loudness"]
    assert stages["loudness"].inputs == ("probe",)


@pytest.mark.parametrize(
    "package, code, message",
    [
        ("lab_taken", good("frames"), "there is a stage 'frames' already"),
        ("lab_lost", good("x", reads="sfft"), r"it reads \['sfft'\], which are no stages"),
        ("lab_bare", good("x", default="None"), "expected an object of its config"),
        ("lab_kind", "STAGE = 3\n", "expected a StageDef, got int"),
        ("lab_gone", "OTHER = 3\n", "cannot be loaded: .*STAGE"),
        ("lab_need", "import no_such_module\n", "cannot be loaded: .*no_such_module"),
    ],
)
def test_a_bad_stage_is_refused_by_name(site: Path, package: str, code: str, message: str) -> None:
    install(site, package, code, {"x": f"{package}:STAGE"})
    with pytest.raises(EnvironmentBroken, match=message) as refused:
        with_installed(TABLE)
    assert package in str(refused.value)
