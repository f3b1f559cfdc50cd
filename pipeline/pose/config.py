"""Settings of the stages `pose` and `pose_embed`. Light: schedulers import it.

Flows in: luigi.cfg's values. Flows out: frozen settings, and what of a backend is fingerprinted.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from pipeline.failures import WeightsMissing
from pipeline.pose.backends import BACKENDS, BackendUnavailable

MIRRORED_EMBEDDING = "mirrored_embedding"
"""The array of pose_embed with what mirrored persons give: joints exchanged, x negated."""
_UNHASHED = {"fingerprint": False}
_ADDED = {"fingerprint": "changed"}
"""Of a field that came later: its default is what was done before, and not in the fingerprint."""
JOINT_COUNTS = (136, 68, 26)
_NUM_JOINTS = re.compile(r"^\s*NUM_JOINTS:\s*(\d+)", re.MULTILINE)
_YOLOX = re.compile(r"yolox-(\w+)")


@dataclass(frozen=True, slots=True, kw_only=True)
class AlphaposeConfig:
    """The section [alphapose]: the user's checkout, and what it runs (docs/alphapose.md).

    Relative paths lie in `root`. No path enters the fingerprint: the sha256 of the checkpoint, of
    its configuration and of the detector's weights do, and the number of joints.
    """

    root: str = ""
    """Folder of the AlphaPose checkout."""
    python: str = ""
    """The Python that AlphaPose is installed for; empty: this one."""
    config: str = (
        "configs/halpe_coco_wholebody_136/resnet/256x192_res50_lr1e-3_2x-dcn-combined.yaml"
    )
    """Configuration of the pose network."""
    checkpoint: str = "pretrained_models/multi_domain_fast50_dcn_combined_256x192.pth"
    """Weights of the pose network."""
    detector: str = "yolo"
    """Finds the persons: yolo or yolox-x, yolox-l, yolox-m, yolox-s."""
    device: str = "auto"
    """auto, cpu, cuda or cuda:<n>."""
    detector_batch: int = 5
    pose_batch: int = 64
    start_timeout_s: float = 600.0
    """How long it may take until the models are loaded."""
    video_timeout_s: float = 1800.0
    """How long AlphaPose may take for one video; then it is killed and started anew."""

    def __post_init__(self) -> None:
        if self.detector != "yolo" and not _YOLOX.fullmatch(self.detector):
            raise ValueError(
                f"detector {self.detector!r}: expected yolo or yolox-<size>; the others "
                "track persons or name their weights nowhere"
            )
        if min(self.detector_batch, self.pose_batch) < 1:
            raise ValueError("detector_batch, pose_batch: expected at least 1")

    def folder(self) -> Path:
        """Return the checkout's folder.

        Raises
        ------
        BackendUnavailable
            It is not set, or there is no AlphaPose.
        """
        if not self.root:
            raise BackendUnavailable(
                "pose backend 'alphapose' needs a checkout of AlphaPose: set [alphapose] root, "
                "config and checkpoint in luigi.cfg (docs/alphapose.md)"
            )
        folder = Path(self.root).expanduser().absolute()
        if not (folder / "alphapose").is_dir():
            raise BackendUnavailable(
                f"[alphapose] root {folder}: expected the folder of an AlphaPose checkout, with "
                "the folders alphapose and detector inside (docs/alphapose.md)"
            )
        return folder

    def files(self) -> dict[str, Path]:
        """Return the files that decide the result: configuration, checkpoint, detector."""
        folder = self.folder()
        if self.detector == "yolo":
            detector = "detector/yolo/data/yolov3-spp.weights"
        else:
            detector = f"detector/yolox/data/{self.detector.replace('-', '_')}.pth"
        named = {"config": self.config, "checkpoint": self.checkpoint, self.detector: detector}
        return {what: folder / Path(path).expanduser() for what, path in named.items()}

    def joints(self) -> int:
        """Return the number of joints that the configuration says."""
        path = self.files()["config"]
        found = _NUM_JOINTS.search(path.read_text()) if path.is_file() else None
        if found is None or int(found[1]) not in JOINT_COUNTS:
            raise BackendUnavailable(
                f"[alphapose] config {path}: expected a configuration with NUM_JOINTS "
                f"{', '.join(map(str, JOINT_COUNTS))} (Halpe), "
                f"found {found[1] if found else 'none'}"
            )
        return int(found[1])

    def digests(self) -> dict[str, str]:
        """Return what stands in the fingerprint.

        Raises
        ------
        WeightsMissing
            A file is not there.
        """
        from pipeline.weights import check_file

        digests = {"joints": str(self.joints())}
        for what, path in self.files().items():
            if not path.is_file():
                raise WeightsMissing(
                    f"AlphaPose's {what} {path} does not exist; "
                    f"run: soundstage doctor --alphapose {self.folder()}"
                )
            digests[what] = check_file(path)[1]
        return digests


@dataclass(frozen=True, slots=True, kw_only=True)
class RtmConfig:
    """The section [rtm]: models of RTMPose, each by its published name, by file or by sha256.

    A file is an ONNX model, or the zip archive around one in which they are published. The sha256
    of the three files enter the fingerprint.
    """

    detector: str = "RTM_DETECTOR"
    """Finds the persons (YOLOX)."""
    body: str = "RTM_BODY"
    """26 joints of the body (RTMPose, Halpe-26)."""
    hands: str = "RTM_HANDS"
    """133 joints of the whole body (RTMW, DWPose), of which the hands are taken."""
    device: str = "cpu"
    """cpu, cuda or cuda:<n>; cuda needs onnxruntime-gpu."""
    weights_dir: str = ""
    """Set from [soundstage] weights_dir."""

    def files(self) -> dict[str, tuple[Path, str]]:
        """Return path and sha256 of detector, body and hands.

        Raises
        ------
        WeightsMissing
            A file is not there; nothing is downloaded.
        """
        from pipeline.weights import find_weights

        named = {"detector": self.detector, "body": self.body, "hands": self.hands}
        found = {}
        for what, name in named.items():
            try:
                found[what] = find_weights(name, self.weights_dir or None)
            except WeightsMissing as error:
                raise WeightsMissing(f"[rtm] {what}: {error}") from error
        return found

    def digests(self) -> dict[str, str]:
        """Return what stands in the fingerprint; errors as for `files`."""
        return {what: digest for what, (_, digest) in self.files().items()}


@dataclass(frozen=True, slots=True, kw_only=True)
class PoseConfig:
    """68 joints of up to `max_persons`; the backend finds them, all the rest is common.

    A person whose score (`pipeline.pose.person`) is below `min_score` is none; one who was not seen
    for longer than `max_gap_s` begins a new track. `json_fps` is for ready results: the rate of the
    pictures that they count, None for the video's own. `alphapose` and `rtm` are read by the
    backends of these names; of them the fingerprint has the digests alone.
    """

    backend: str = "mediapipe"
    fps: float = 8.0
    short_side_max_px: int = 720
    max_persons: int = 2
    min_score: float = 0.3
    max_gap_s: float = 1.0
    json_fps: float | None = None
    alphapose: AlphaposeConfig = field(default_factory=AlphaposeConfig, metadata=_UNHASHED)
    rtm: RtmConfig = field(default_factory=RtmConfig, metadata=_UNHASHED)

    def __post_init__(self) -> None:
        if self.backend not in BACKENDS:
            raise ValueError(f"pose backend {self.backend!r}: expected one of {sorted(BACKENDS)}")

    @property
    def sidecars(self) -> tuple[str, ...]:
        """Kinds of sidecar that the backend reads beside the video."""
        return BACKENDS[self.backend].sidecars

    @property
    def wants_gpu(self) -> bool:
        """Whether the backend computes on a GPU where there is one."""
        if self.backend == "alphapose":
            return self.alphapose.device != "cpu"
        return self.backend == "rtm" and self.rtm.device != "cpu"

    @property
    def weight_digests(self) -> Mapping[str, str]:
        """What names the models that the backend runs: file name or part -> sha256."""
        if self.backend == "alphapose":
            return self.alphapose.digests()
        if self.backend == "rtm":
            return self.rtm.digests()
        return BACKENDS[self.backend].weights


@dataclass(frozen=True, slots=True, kw_only=True)
class PoseEmbedConfig:
    """ST-GCN features of the poses; `model` is the pinned model's name in models/.

    `mirrored`: store what the mirrored persons give, too, for training with flips; twice the size.
    """

    model: str
    mirrored: bool = field(default=False, metadata=_ADDED)
