"""The table of stages: what each is called, what it reads, its settings, where its code lies.

Settings go in, `ResolvedStage`s come out: settings, fingerprint record and upstream fingerprints
of every stage that is wanted. Light on purpose: no torch, no cv2; schedulers import it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Container, Iterable, Mapping
from dataclasses import Field, dataclass, fields
from pathlib import Path
from typing import Any

from pipeline.media import MediaRef
from pipeline.pose.config import PoseConfig, PoseEmbedConfig
from pipeline.stage_configs import (
    AudioConfig,
    FramesConfig,
    ProbeConfig,
    R2plus1dConfig,
    Resnet152Config,
    StftConfig,
    VggishConfig,
)
from pipeline.stage_def import StageDef, with_installed
from storage.fingerprint import StageRecord

RANDOM_WEIGHTS = "random:"
IMPORTED = "imported"
"""Backend of a stage whose rows were imported (`pipeline.npy_features`): its setting `weights` is
`imported:<digest of the files>`, it reads no stage, and no run computes it."""
PRECISIONS = ("auto", "float32", "bfloat16")


def _stage(name: str, config: type, inputs: tuple[str, ...], **more: Any) -> StageDef:
    more.setdefault("module", f"pipeline.extractors.{name}")
    more.setdefault("version", 1)
    if "default" not in more and config is not PoseEmbedConfig:
        more["default"] = config()
    return StageDef(name=name, config=config, inputs=inputs, **more)


TABLE: Mapping[str, StageDef] = {
    stage.name: stage
    for stage in (
        _stage("probe", ProbeConfig, ()),
        _stage("frames", FramesConfig, ("probe",), needs="video"),
        _stage(
            "audio_11025",
            AudioConfig,
            ("probe",),
            needs="audio",
            decode="sound",
            module="pipeline.extractors.audio",
            default=AudioConfig(rate_hz=11025),
        ),
        _stage(
            "audio_16000",
            AudioConfig,
            ("probe",),
            needs="audio",
            decode="sound",
            module="pipeline.extractors.audio",
            default=AudioConfig(rate_hz=16000),
        ),
        _stage("stft", StftConfig, ("audio_11025",), needs="audio"),
        _stage("vggish", VggishConfig, ("audio_16000",), needs="audio", network=True, version=2),
        _stage("resnet152", Resnet152Config, ("frames",), needs="video", network=True),
        _stage("r2plus1d", R2plus1dConfig, ("frames",), needs="video", network=True),
        _stage("pose", PoseConfig, ("probe",), needs="video", version=2),
        _stage("pose_embed", PoseEmbedConfig, ("pose",), needs="video", network=True),
    )
}
"""The stages of this software, upstream before downstream."""

STAGES: Mapping[str, StageDef] = with_installed(TABLE)
"""Every stage by name, upstream before downstream: the table, then what packages bring along."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ResolvedStage:
    """A stage with its settings chosen: all that a worker needs to run it. Picklable.

    `upstream` maps stage names to `<stage>-<fingerprint>`; `weights_path` is None for networks
    filled from a seed and for stages without one; `sidecars` are the kinds of sidecar file that
    the rows depend on, the stage's own and its upstream's. `device` is where a network runs: the
    worker sets it, and it is no part of the fingerprint.
    """

    name: str
    config: Any
    record: StageRecord
    upstream: Mapping[str, str]
    precision: str = ""
    weights_path: str | None = None
    sidecars: tuple[str, ...] = ()
    device: str = "cpu"

    @property
    def definition(self) -> StageDef:
        """The stage's line in the table."""
        return STAGES[self.name]

    @property
    def wants_gpu(self) -> bool:
        """Whether the rows are computed on a GPU where there is one."""
        return self.definition.network or getattr(self.config, "wants_gpu", False)

    @property
    def imported(self) -> bool:
        """Whether the rows were imported and are never computed."""
        return self.record.backend == IMPORTED

    def input_sha256(self, media: MediaRef) -> str:
        """Return the digest of the files that the rows depend on: the media, and any sidecars."""
        present = [kind for kind in self.sidecars if kind in media.sidecar_sha256]
        if not present:
            return media.sha256
        digests = [media.sha256, *(f"{kind}={media.sidecar_sha256[kind]}" for kind in present)]
        return hashlib.sha256("\n".join(digests).encode()).hexdigest()


def default_configs() -> dict[str, Any]:
    """Return the settings of every stage that has a default (all but pose_embed)."""
    return {name: stage.default for name, stage in STAGES.items() if stage.default is not None}


def resolve(
    configs: Mapping[str, Any],
    *,
    precision: str = "auto",
    weights_dir: str | Path | None = None,
) -> dict[str, ResolvedStage]:
    """Return the stages named in `configs` and all that they read, upstream first.

    Parameters
    ----------
    configs : mapping of stage name to its settings object
        A stage that is only read by another one takes its defaults. Not pose_embed, which needs
        a trained model: `resolve_pose_embed_stage`.
    precision : 'float32', 'bfloat16' or 'auto'
        For networks; 'auto' is bfloat16 for weights filled from a seed, float32 otherwise.
    weights_dir : directory
        Where the networks' weight files lie.

    Raises
    ------
    ValueError
        An unknown stage or precision, or settings of the wrong class.
    WeightsMissing
        Weights that are named but not there.
    """
    if precision not in PRECISIONS:
        raise ValueError(f"precision {precision!r}: expected one of {', '.join(PRECISIONS)}")
    for name, config in configs.items():
        _check_config(name, config)
    wanted = upstream_closure(configs)
    resolved: dict[str, ResolvedStage] = {}
    for name, definition in STAGES.items():
        if name in wanted:
            config = configs.get(name, definition.default)
            if is_imported(config):
                resolved[name] = _imported_stage(name, config)
                continue
            digests, path = _weights(config, weights_dir)
            resolved[name] = _resolved(
                config,
                definition,
                upstream={above: resolved[above] for above in definition.inputs},
                precision=_precision(config, precision),
                weights=digests,
                weights_path=path,
            )
    return resolved


def is_imported(config: Any) -> bool:
    """Whether a stage's settings name imported rows."""
    return str(getattr(config, "weights", "")).startswith(f"{IMPORTED}:")


def _imported_stage(name: str, config: Any) -> ResolvedStage:
    """Return a stage that the imported files alone decide: no other setting counts."""
    record = StageRecord(
        stage=name, stage_version=1, backend=IMPORTED, weights={"weights": config.weights}
    )
    return ResolvedStage(name=name, config=config, record=record, upstream={})


def resolve_pose_embed_stage(
    config: PoseEmbedConfig, *, weights_sha256: str, pose: ResolvedStage
) -> ResolvedStage:
    """Return the pose_embed stage through a trained model.

    Its weights lie in the store; the worker fills `weights_path` from the store's root, which may
    be mounted elsewhere there.
    """
    return _resolved(
        config,
        STAGES["pose_embed"],
        upstream={"pose": pose},
        precision="float32",
        weights={"model": weights_sha256},
        weights_path=None,
    )


def _is_hashed(setting: Field[Any], value: Any) -> bool:
    how = setting.metadata.get("fingerprint", True)
    return value != setting.default if how == "changed" else bool(how)


def _resolved(
    config: Any,
    definition: StageDef,
    *,
    upstream: Mapping[str, ResolvedStage],
    precision: str,
    weights: Mapping[str, str],
    weights_path: str | None,
) -> ResolvedStage:
    apart = {"backend", "weights"}
    hashed = [f.name for f in fields(config) if _is_hashed(f, getattr(config, f.name))]
    sidecars = set(getattr(config, "sidecars", ()))
    sidecars.update(kind for stage in upstream.values() for kind in stage.sidecars)
    return ResolvedStage(
        name=definition.name,
        config=config,
        record=StageRecord(
            stage=definition.name,
            stage_version=definition.version,
            parameters={name: getattr(config, name) for name in hashed if name not in apart},
            backend=getattr(config, "backend", ""),
            precision=precision,
            weights=dict(weights),
            upstream={name: stage.record.fingerprint for name, stage in upstream.items()},
        ),
        upstream={name: stage.record.name for name, stage in upstream.items()},
        precision=precision,
        weights_path=weights_path,
        sidecars=tuple(sorted(sidecars)),
    )


def _check_config(name: str, config: Any) -> None:
    if name not in STAGES:
        raise ValueError(f"unknown stage {name!r}: expected one of {', '.join(STAGES)}")
    if STAGES[name].default is None:
        raise ValueError(f"stage {name!r} needs a trained model: use resolve_{name}_stage")
    if not isinstance(config, STAGES[name].config):
        raise ValueError(
            f"stage {name!r}: settings are a {type(config).__name__}, "
            f"expected {STAGES[name].config.__name__}"
        )


def upstream_closure(names: Iterable[str], imported: Container[str] = ()) -> set[str]:
    """Return the stages named and everything that they are computed from.

    Nothing is needed for the stages in `imported`.
    """
    wanted: set[str] = set()
    todo = list(names)
    while todo:
        name = todo.pop()
        if name not in wanted:
            wanted.add(name)
            todo += () if name in imported else STAGES[name].inputs
    return wanted


def _precision(config: Any, asked: str) -> str:
    """Return the precision of a stage's network; '' for a stage without weights of ours."""
    weights = getattr(config, "weights", None)
    if weights is None:
        return ""
    if asked != "auto":
        return asked
    return "bfloat16" if weights.startswith(RANDOM_WEIGHTS) else "float32"


def _weights(config: Any, weights_dir: str | Path | None) -> tuple[Mapping[str, str], str | None]:
    """Return the digests that name a stage's weights, and the file to load them from."""
    weights = getattr(config, "weights", None)
    if weights is None:
        return getattr(config, "weight_digests", {}), None
    if weights.startswith(RANDOM_WEIGHTS):
        return {"weights": weights}, None
    from pipeline.weights import find_weights

    path, digest = find_weights(weights, weights_dir)
    return {"weights": digest}, str(path)
