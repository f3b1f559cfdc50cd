"""A line of the table of stages, and the lines that installed packages add to it.

Flows in: the entry points of the group `soundstage.stages`, each of which names a `StageDef`.
Flows out: these lines, checked against the table's own. Light: no torch, no cv2.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import EntryPoint, entry_points
from typing import Any

from pipeline.failures import EnvironmentBroken

ENTRY_POINTS = "soundstage.stages"


@dataclass(frozen=True, slots=True, kw_only=True)
class StageDef:
    """One line of the table.

    `module` exposes `build(stage: ResolvedStage) -> Extractor`; `inputs` are the stages that it
    reads; `config` is its dataclass of settings, `default` one of these. `needs` is the stream
    ('video', 'audio' or 'any') without which the stage has no rows for an item; `network` says
    that it runs a torch network. Stages with the same word for `decode` are had from one pass over
    the media: the first of a run does it for all. A settings class may have a field `weights`
    ('random:<seed>' or what `pipeline.weights.find_weights` finds) or a property `weight_digests`,
    a field `backend`, and a property `sidecars`.
    """

    name: str
    version: int
    config: type
    inputs: tuple[str, ...]
    module: str
    needs: str = "any"
    network: bool = False
    decode: str = ""
    default: Any = None


def with_installed(table: Mapping[str, StageDef]) -> dict[str, StageDef]:
    """Return the table with the lines of installed packages behind it, by the name of the entry.

    Raises
    ------
    EnvironmentBroken
        An entry point that cannot be loaded, is no stage, or has the name of another one.
    """
    stages = dict(table)
    for entry in sorted(entry_points(group=ENTRY_POINTS), key=lambda each: each.name):
        stage = _load(entry)
        if stage.name in stages:
            raise EnvironmentBroken(_refusal(entry, f"there is a stage {stage.name!r} already"))
        if unknown := sorted(set(stage.inputs) - set(stages)):
            raise EnvironmentBroken(_refusal(entry, f"it reads {unknown}, which are no stages"))
        if not isinstance(stage.default, stage.config):
            raise EnvironmentBroken(_refusal(entry, "default: expected an object of its config"))
        stages[stage.name] = stage
    return stages


def _load(entry: EntryPoint) -> StageDef:
    try:
        found = entry.load()
    except (ImportError, AttributeError) as error:
        raise EnvironmentBroken(_refusal(entry, f"it cannot be loaded: {error}")) from error
    if not isinstance(found, StageDef):
        raise EnvironmentBroken(_refusal(entry, f"expected a StageDef, got {type(found).__name__}"))
    return found


def _refusal(entry: EntryPoint, why: str) -> str:
    package = entry.dist.name if entry.dist is not None else "an installed package"
    return (
        f"{package}: the entry point {entry.name} = {entry.value!r} of the group {ENTRY_POINTS} "
        f"gives no stage: {why}. Mend or uninstall {package}"
    )
