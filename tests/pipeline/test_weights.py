from __future__ import annotations

import hashlib
import subprocess
import sys
from pathlib import Path

import pytest

from pipeline.failures import WeightsMissing
from pipeline.weights import PUBLISHED, random_seed, resolve_weights


def test_a_seed_is_its_own_fingerprint() -> None:
    assert resolve_weights("random:7") == ("random:7", None)
    assert random_seed("random:7") == 7
    assert random_seed("IMAGENET1K_V1") is None


@pytest.mark.parametrize("setting", ["random", "random:", "random:x", "random:-1"])
def test_a_seed_is_a_whole_number(setting: str) -> None:
    with pytest.raises(WeightsMissing, match="random:<seed>"):
        resolve_weights(setting)


@pytest.fixture
def weights_dir(tmp_path: Path) -> Path:
    folder = tmp_path / "weights"
    folder.mkdir()
    (folder / "mine.pth").write_bytes(b"numbers")
    (folder / "other.pth").write_bytes(b"other numbers")
    return folder


DIGEST = hashlib.sha256(b"numbers").hexdigest()


def test_a_file_by_name_path_and_digest(weights_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = weights_dir / "mine.pth"
    for setting in ("mine.pth", str(file), DIGEST, f"sha256:{DIGEST}"):
        assert resolve_weights(setting, weights_dir) == (DIGEST, file)
    monkeypatch.chdir(weights_dir)
    assert resolve_weights("mine.pth") == (DIGEST, file)


def test_a_changed_file_has_another_fingerprint(weights_dir: Path) -> None:
    before, _ = resolve_weights("mine.pth", weights_dir)
    (weights_dir / "mine.pth").write_bytes(b"new numbers")
    assert resolve_weights("mine.pth", weights_dir)[0] != before


@pytest.mark.parametrize("name", PUBLISHED)
def test_a_published_file_that_is_missing_is_named_with_its_address(
    name: str, weights_dir: Path
) -> None:
    entry = PUBLISHED[name]
    with pytest.raises(WeightsMissing) as caught:
        resolve_weights(name, weights_dir)
    assert str(weights_dir / entry.file_name) in str(caught.value)
    assert entry.url in str(caught.value)


def test_a_published_file_must_have_its_digest(weights_dir: Path) -> None:
    broken = weights_dir / PUBLISHED["IMAGENET1K_V1"].file_name
    broken.write_bytes(b"half a download")
    with pytest.raises(WeightsMissing, match=r"expected 394f9c45\.\."):
        resolve_weights("IMAGENET1K_V1", weights_dir)


def test_torchvision_names_the_same_files() -> None:
    from torchvision.models import ResNet152_Weights
    from torchvision.models.video import R2Plus1D_18_Weights

    assert PUBLISHED["IMAGENET1K_V1"].url == ResNet152_Weights.IMAGENET1K_V1.url
    assert PUBLISHED["KINETICS400_V1"].url == R2Plus1D_18_Weights.KINETICS400_V1.url


def test_without_a_directory_the_message_says_what_to_do() -> None:
    with pytest.raises(WeightsMissing, match=r"no weights directory is set.*random:0"):
        resolve_weights("IMAGENET1K_V1")


def test_an_unknown_digest(weights_dir: Path) -> None:
    with pytest.raises(WeightsMissing, match="none of the 2 files"):
        resolve_weights("0" * 64, weights_dir)


def test_finding_weights_imports_no_torch() -> None:
    code = "import sys, pipeline.weights; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], timeout=60).returncode == 0
