"""Which weights a network runs with: a setting flows in, a digest for the fingerprint and a file
flow out.

A setting is `random:<seed>` (for demos and tests: no file), one of the published names below, or a
file by name, path or sha256. Light on purpose: no torch.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from pipeline.failures import WeightsMissing
from storage.fingerprint import sha256_file

_RANDOM = re.compile(r"random:(\d+)")
_SHA256 = re.compile(r"(?:sha256:)?([0-9a-f]{64})")


@dataclass(frozen=True, slots=True, kw_only=True)
class PublishedWeights:
    """A weights file that its authors publish; its sha256 starts with `sha256_prefix`.

    `name` is what settings and `soundstage weights fetch` call it, `stage` the stage that reads it.
    An empty prefix means that no digest is published.
    """

    name: str
    file_name: str
    sha256_prefix: str
    url: str
    stage: str

    @property
    def advice(self) -> str:
        """What to do when the file is not there."""
        return f"run `soundstage weights fetch {self.name}`, which downloads {self.url}"


def _published(name: str, stage: str, url: str, *, digest: bool = True) -> PublishedWeights:
    """Return an entry; the last part of a file's name is the start of its sha256."""
    file_name = url.rpartition("/")[2]
    prefix = Path(file_name).stem.rpartition("-")[2] if digest else ""
    return PublishedWeights(
        name=name, file_name=file_name, sha256_prefix=prefix, url=url, stage=stage
    )


_TORCHVGGISH = "https://github.com/harritaylor/torchvggish/releases/download/v0.1/"
_AUDIOSET = "https://storage.googleapis.com/audioset/"
_TORCHVISION = "https://download.pytorch.org/models/"
_RTM = "https://download.openmmlab.com/mmpose/v1/projects/"
_RTM_DETECTOR = "rtmposev1/onnx_sdk/yolox_m_8xb8-300e_humanart-c2c7a14a.zip"
_RTM_BODY = (
    "rtmposev1/onnx_sdk/rtmpose-m_simcc-body7_pt-body7-halpe26_700e-256x192-4d3e73dd_20230605.zip"
)
_RTM_HANDS = "rtmw/onnx_sdk/rtmw-dw-x-l_simcc-cocktail14_270e-256x192_20231122.zip"
VGGISH_PCA = _published("AUDIOSET_PCA", "vggish", _TORCHVGGISH + "vggish_pca_params-970ea276.pth")
"""Lies beside VGGish's weights; only the 'pca' variant reads it."""
VGGISH_PCA_TF = _published(
    "AUDIOSET_TF_PCA", "vggish", _AUDIOSET + "vggish_pca_params.npz", digest=False
)
"""The same parameters in the file of AudioSet's authors, who publish no digest."""
_NETWORKS = (
    _published("AUDIOSET", "vggish", _TORCHVGGISH + "vggish-10086976.pth"),
    _published("AUDIOSET_TF", "vggish", _AUDIOSET + "vggish_model.ckpt", digest=False),
    _published("IMAGENET1K_V1", "resnet152", _TORCHVISION + "resnet152-394f9c45.pth"),
    _published("KINETICS400_V1", "r2plus1d", _TORCHVISION + "r2plus1d_18-91a641e6.pth"),
    _published("RTM_DETECTOR", "pose", _RTM + _RTM_DETECTOR, digest=False),
    _published("RTM_BODY", "pose", _RTM + _RTM_BODY, digest=False),
    _published("RTM_HANDS", "pose", _RTM + _RTM_HANDS, digest=False),
)
PUBLISHED: Mapping[str, PublishedWeights] = {entry.name: entry for entry in _NETWORKS}
"""What a setting may name, as torchvision has the names. AUDIOSET and AUDIOSET_TF are the same
network, converted to torch and as TensorFlow keeps it."""
KNOWN: Mapping[str, PublishedWeights] = {
    entry.name: entry for entry in (*_NETWORKS, VGGISH_PCA, VGGISH_PCA_TF)
}
"""Every published file, those without a setting of their own included."""


def random_seed(setting: str) -> int | None:
    """Return the seed of `random:<seed>`, or None where the setting names a file."""
    match = _RANDOM.fullmatch(setting)
    return int(match[1]) if match else None


def resolve_weights(setting: str, weights_dir: str | Path | None = None) -> tuple[str, Path | None]:
    """Return what stands in the fingerprint, and the file to load (None: filled from a seed).

    Parameters
    ----------
    setting
        `random:<seed>`, a name in `PUBLISHED`, or a file: its name in `weights_dir`, its path, or
        its sha256 (64 hexadecimal digits).
    weights_dir
        Where weight files lie.

    Raises
    ------
    WeightsMissing
        No such file, or a published file with another content.
    """
    if random_seed(setting) is not None:
        return setting, None
    path, digest = find_weights(setting, weights_dir)
    return digest, path


def find_weights(setting: str, weights_dir: str | Path | None = None) -> tuple[Path, str]:
    """Return the file that a setting names, and its sha256; see `resolve_weights`."""
    if setting.startswith("random"):
        raise WeightsMissing(f"weights {setting!r}: expected random:<seed> with a whole number")
    directory = None if weights_dir is None else Path(weights_dir).expanduser()
    by_digest = _SHA256.fullmatch(setting)
    if by_digest:
        return _file_with_digest(by_digest[1], directory)
    published = PUBLISHED.get(setting)
    return check_file(_locate(published.file_name if published else setting, directory, published))


def check_file(path: Path) -> tuple[Path, str]:
    """Return a file and its sha256; a published file must have the digest that its name states.

    Raises
    ------
    WeightsMissing
        The file is not there, or is a broken or other file under a published name.
    """
    published = next((e for e in KNOWN.values() if e.file_name == path.name), None)
    if not path.is_file():
        hint = published.advice if published else "put it there, or name another in the settings"
        raise WeightsMissing(f"weights file {path} does not exist: {hint}")
    digest = _digest(path)
    if published and not digest.startswith(published.sha256_prefix):
        raise WeightsMissing(
            f"weights file {path}: its sha256 is {digest[:12]}.., expected "
            f"{published.sha256_prefix}..; delete it and {published.advice}"
        )
    return path, digest


def _locate(name: str, directory: Path | None, published: PublishedWeights | None) -> Path:
    """Return where a file is: as a path, or by its name in the weights directory."""
    path = Path(name).expanduser()
    if path.is_absolute() or (published is None and path.is_file()):
        return path.absolute()
    if directory is None:
        what = published.advice if published else "put the file into it"
        raise WeightsMissing(
            f"weights {name!r}: no weights directory is set. Set [soundstage] weights_dir and "
            f"{what}; or use 'random:0' for a trial run without published weights"
        )
    return (directory / path).absolute()


def _file_with_digest(digest: str, directory: Path | None) -> tuple[Path, str]:
    here = directory.iterdir() if directory is not None and directory.is_dir() else ()
    files = sorted(path for path in here if path.is_file())
    for path in files:
        if _digest(path) == digest:
            return path.absolute(), digest
    raise WeightsMissing(
        f"weights sha256 {digest}: none of the {len(files)} files in the weights directory "
        f"{directory} has this digest; put the file there"
    )


def _digest(path: Path) -> str:
    stat = path.stat()
    return _digest_of(path, stat.st_size, stat.st_mtime_ns)


@lru_cache(maxsize=256)
def _digest_of(path: Path, size_bytes: int, mtime_ns: int) -> str:
    """Return a file's sha256, computed once per process while size and time stay the same."""
    return sha256_file(path)
