"""ST-GCN features of the poses: rows of the pose stage flow in, features per person and joint out.

The network is a published model of the store. A long clip is run in windows that overlap by what an
output step sees, so that the features are those of the whole clip and memory does not grow with it.
Step k describes the time around pose row k x stride.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file

from pipeline.extractors.base import Inputs
from pipeline.failures import WeightsMissing
from pipeline.networks.graph import spatial_partition
from pipeline.networks.stgcn import Stgcn
from pipeline.networks.stgcn_config import NetworkConfig
from pipeline.pose.config import MIRRORED_EMBEDDING
from pipeline.pose.joints68 import CENTRE, EDGES, N_JOINTS
from pipeline.pose.normalise import mirror_poses, normalise_poses
from pipeline.stages import ResolvedStage
from storage.fingerprint import sha256_file
from storage.records import ArraySpec, Block, StageSchema, TimeBase

WINDOW_ROWS = 256
"""The published length. Longer where the network sees further; fixed, as sums round differently."""
_CHUNK_STEPS = 2
_CLASSIFIER = "classifier.weight"


@dataclass(frozen=True, slots=True)
class Window:
    """Pose rows `start` to `stop` go in; of the steps that come out, `keep` are the clip's next."""

    start: int
    stop: int
    keep: slice


def windows(n_rows: int, *, stride: int, reach_rows: int, window_rows: int) -> Iterator[Window]:
    """Yield windows whose kept steps, one after another, are those of the whole clip at once."""
    context = -(-reach_rows // stride) * stride
    core = max(window_rows - 2 * context, stride) // stride * stride
    if n_rows <= window_rows:
        context, core = 0, max(n_rows, 1)
    for first in range(0, n_rows, core):
        start, end = max(first - context, 0), min(first + core, n_rows)
        keep = slice((first - start) // stride, -(-(end - start) // stride))
        yield Window(start, min(end + context, n_rows), keep)


class PoseEmbedExtractor:
    """See the module's docstring; `weights_path` of the stage lies in the model's folder."""

    def __init__(self, stage: ResolvedStage) -> None:
        if stage.weights_path is None:
            raise WeightsMissing(
                f"pose_embed: no path to the weights of {stage.config.model}; the stage has to be "
                "placed in a store first"
            )
        self._stage = stage
        self._weights = Path(stage.weights_path)
        self._config, self._persons = _read_configuration(self._weights)
        self._network: Stgcn | None = None
        self._mirrored: bool = stage.config.mirrored
        self.schema = _schema(self._persons, self._config.channels[-1], self._mirrored)

    def time_base(self, inputs: Inputs) -> TimeBase:
        """Return the steps' grid: every `stride` rows of the pose grid."""
        pose = inputs.time_base("pose")
        return TimeBase(pose.t0_s, pose.hop_s * self._config.stride)

    def extract(self, inputs: Inputs) -> Iterator[Block]:
        """Yield the kept steps of one window after another."""
        self._network = self._network or self._load()
        plan = windows(
            inputs.length("pose"),
            stride=self._config.stride,
            reach_rows=self._config.reach_rows,
            window_rows=WINDOW_ROWS,
        )
        for window in plan:
            keypoints, present, frame_size = (
                np.asarray(inputs.rows("pose", name, window.start, window.stop))
                for name in ("keypoints", "present", "frame_size")
            )
            x_CTVM = normalise_poses(keypoints, frame_size, present)
            feature_TMCV, steps_TM = self._embed(self._network, x_CTVM, present)
            block: Block = {
                "embedding": feature_TMCV[window.keep],
                "present": steps_TM[window.keep],
            }
            if self._mirrored:
                mirrored_TMCV, _ = self._embed(self._network, mirror_poses(x_CTVM), present)
                block = {**block, MIRRORED_EMBEDDING: mirrored_TMCV[window.keep]}
            yield block

    def _embed(
        self, network: Stgcn, x_CTVM: np.ndarray, present_TM: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Features (T', M, C, V) float16 and presence (T', M) of one window."""
        x_NCTVM = torch.from_numpy(x_CTVM)[None].to(self._stage.device)
        present_NTM = torch.from_numpy(present_TM.astype(np.float32))[None].to(self._stage.device)
        with torch.inference_mode():
            feature_NCTVM, steps_NTM = network.extract_feature(x_NCTVM, present_NTM)
        feature_TMCV = feature_NCTVM[0].permute(1, 3, 0, 2).cpu().numpy()
        with np.errstate(over="ignore"):  # the writer refuses infinite values and names the item
            feature_TMCV = feature_TMCV.astype(np.float16)
        return feature_TMCV, steps_NTM[0].cpu().numpy().astype(np.uint8)

    def _load(self) -> Stgcn:
        """Network in eval mode on the stage's device; raises WeightsMissing for another file."""
        expected = self._stage.record.weights["model"]
        digest = sha256_file(self._weights)
        if digest != expected:
            raise WeightsMissing(
                f"{self._weights}: sha256 {digest[:12]}, expected {expected[:12]}: the published "
                "model was changed; restore it, or train it again (--repin)"
            )
        state = load_file(self._weights)
        network = Stgcn(
            self._config,
            spatial_partition(EDGES, N_JOINTS, CENTRE),
            n_classes=len(state[_CLASSIFIER]),
        )
        network.load_state_dict(state)
        return network.eval().to(self._stage.device)


def _read_configuration(weights: Path) -> tuple[NetworkConfig, int]:
    """Shape of the network and number of persons, from the model.json beside the weights."""
    path = weights.with_name("model.json")
    if not path.is_file():
        raise WeightsMissing(
            f"{path} is not there: the model that pose_embed is pinned to is not published"
        )
    configuration = json.loads(path.read_text(encoding="utf-8"))["record"]["configuration"]
    return NetworkConfig.from_json(configuration["network"]), configuration["persons"]


def _schema(n_persons: int, n_channels: int, mirrored: bool) -> StageSchema:
    """Return the arrays of the stage; features of absent persons are zero."""
    embeddings = (
        ArraySpec(
            name=name,
            dtype="float16",
            row_shape=(n_persons, n_channels, N_JOINTS),
            dims=("time", "person", "channel", "joint"),
            chunk_rows=_CHUNK_STEPS,
        )
        for name in ("embedding", MIRRORED_EMBEDDING)[: 1 + mirrored]
    )
    present = ArraySpec(
        name="present",
        dtype="uint8",
        row_shape=(n_persons,),
        dims=("time", "person"),
        chunk_rows=_CHUNK_STEPS,
    )
    return StageSchema(arrays=(*embeddings, present))


def build(stage: ResolvedStage) -> PoseEmbedExtractor:
    """Return the extractor; the network is loaded at the first item.

    Raises
    ------
    WeightsMissing
        The pinned model is not in the store.
    """
    return PoseEmbedExtractor(stage)
