"""What a run is about: settings, dataset, recipes, and the stages that each source needs.

Flows in: the names given on the command line. Flows out: one `Context`, the same in every
process that is given the same names and the same luigi.cfg. Nothing is computed here.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

from pipeline.datasets.base import Dataset, SourceItem
from pipeline.pose.config import AlphaposeConfig, RtmConfig
from pipeline.stages import STAGES, ResolvedStage, is_imported, resolve, upstream_closure
from storage import FeatureStore, ItemId
from storage.layout import Layout, open_store
from storage.models import read_pins
from tasks.settings import Settings, SettingsError, load_settings

RECIPES = ("features", "tribert", "avvp", "all")
POSE_EMBED = "pose_embed"
DEMO_SOURCES = {
    "demo": ("demo-music", "demo-llp"),
    "demo:micro": ("demo-micro-music", "demo-micro-llp"),
}
SYNTHMUSIC = ("synthmusic", "synthmusic11")


@dataclass(frozen=True, kw_only=True, eq=False)
class Context:
    """One run's facts, equal to nothing but itself.

    `recipes` are the models to train: a part of ('tribert', 'avvp').
    """

    settings: Settings
    layout: Layout
    dataset: Dataset
    recipe: str
    recipes: tuple[str, ...]
    reason: str
    stages: Mapping[str, ResolvedStage]
    store: FeatureStore = field(repr=False)

    @property
    def name(self) -> str:
        """The dataset's name as a path component."""
        return self.dataset.name.replace(":", "-")

    def items_of(self, source: str) -> list[SourceItem]:
        """Return the dataset's items of one source, in the list's order."""
        return [i for i in self.dataset.items if ItemId.parse(i.item.item_id).source == source]

    @property
    def sources(self) -> tuple[str, ...]:
        """The sources that the dataset's items come from, in order of appearance."""
        return tuple(dict.fromkeys(ItemId.parse(i.item.item_id).source for i in self.dataset.items))

    def stages_of(self, source: str) -> tuple[str, ...]:
        """Return the stages that the items of `source` need, upstream first, without pose_embed."""
        wanted: set[str] = set()
        for recipe in self._recipes_of(source):
            wanted |= set(stages_needed(recipe, self.settings))
        closed = self.closure(wanted)
        return tuple(s for s in STAGES if s in closed and s != POSE_EMBED)

    def closure(self, names: Iterable[str]) -> set[str]:
        """Return the stages named and all that they are computed from in this run."""
        return upstream_closure(names, self.imported)

    @property
    def imported(self) -> frozenset[str]:
        """The stages whose rows were imported: they read nothing and are never computed."""
        return frozenset(name for name, stage in self.stages.items() if stage.imported)

    def needs_media(self, source: str) -> bool:
        """Whether a stage is computed for the items of `source`: imported rows need no video."""
        computed = set(self.stages_of(source)) - self.imported
        return bool(computed) or self.needs_pose_embed(source)

    def needs_pose_embed(self, source: str) -> bool:
        """Whether a recipe reads learned pose embeddings of this source."""
        return any(POSE_EMBED in stages_needed(r, self.settings) for r in self._recipes_of(source))

    def _recipes_of(self, source: str) -> tuple[str, ...]:
        if not self.recipes:
            return ("features",)
        return tuple(r for r in self.recipes if any(serves(i, r) for i in self.items_of(source)))

    def resolved(self, stage: str) -> ResolvedStage:
        """Return a stage with its fingerprint; pose_embed through the pinned ST-GCN.

        Raises
        ------
        LookupError
            pose_embed, while no ST-GCN is pinned.
        """
        if stage != POSE_EMBED:
            return self.stages[stage]
        from tasks.pins import resolve_pose_embed

        return resolve_pose_embed(self)

    def pins(self) -> dict[str, str]:
        """Return the dataset's pins as they stand now."""
        return read_pins(self.layout, self.name)


def serves(entry: SourceItem, recipe: str) -> bool:
    """Whether a recipe uses this item."""
    return recipe == "features" or not entry.item.tasks or recipe in entry.item.tasks


def stages_needed(recipe: str, settings: Settings | None = None) -> tuple[str, ...]:
    """Return the stages that a recipe reads directly, with these settings of luigi.cfg."""
    if recipe == "features":
        return tuple(name for name in STAGES if name != POSE_EMBED)
    if recipe == "tribert":
        from model.tribert.config import SPECTROGRAM_STAGES

        if settings is None:
            return SPECTROGRAM_STAGES["stored"]
        heard = ("vggish",) if settings.tribert.audio_encoder == "vggish" else ()
        return SPECTROGRAM_STAGES[settings.tribert.spectrogram] + heard
    from model.avvp.config import stages_needed as needed

    return tuple(needed)


@lru_cache(maxsize=4)
def load_context(dataset: str, recipe: str) -> Context:
    """Return the context of a run.

    Parameters
    ----------
    dataset
        `demo`, `demo:micro`, `synthmusic:SIZE`, `synthmusic11:SIZE` (see `pipeline.synthmusic`),
        `folder` (the folder that luigi.cfg names), `folder:PATH`, or a list: `music21`, `music`,
        `llp`, `synthllp:SIZE`, `audioset`, `csv:PATH` (see `tasks.lists`).
    recipe
        One of `RECIPES`, or '' for the dataset's own default.

    Raises
    ------
    SettingsError
        An unusable setting, dataset or recipe name.
    pipeline.datasets.base.DatasetError
        A folder or label file that cannot be used.
    storage.errors.StoreError
        A root that cannot be written, or a store of a newer version.
    """
    settings = load_settings()
    if recipe and recipe not in RECIPES:
        raise SettingsError(f"--recipe {recipe}: expected one of {', '.join(RECIPES)}")
    layout = open_store(Path(settings.run.root), create=True)
    data = read_dataset(dataset, settings)
    chosen, reason = _choose_recipe(data, recipe)
    stages = resolve_stages(settings, data)
    _check_imported(layout, stages)
    return Context(
        settings=settings,
        layout=layout,
        dataset=data,
        recipe=chosen,
        recipes=_models_of(chosen),
        reason=reason,
        stages=stages,
        store=FeatureStore(layout.root),
    )


def read_dataset(name: str, settings: Settings) -> Dataset:
    """Return the items of a dataset by its command-line name."""
    if name in DEMO_SOURCES:
        from pipeline.demo import make_demo

        size = name.partition(":")[2] or "demo"
        folder = Path(settings.run.demo_dir) / size
        return replace(make_demo(folder, size=size, seed=settings.run.seed), name=name)
    if name.partition(":")[0] in SYNTHMUSIC:
        return _synthmusic(name, settings)
    if name == "folder" or name.startswith("folder:"):
        from pipeline.datasets.folder import read_folder

        path = name.partition(":")[2] or settings.run.folder
        if not path:
            raise SettingsError(
                "--dataset folder: no folder given; write --dataset folder:PATH, "
                "or set [soundstage] folder in luigi.cfg"
            )
        folder = Path(path).resolve()
        source = folder_source(folder)
        return replace(read_folder(folder, source=source), name=source)
    from tasks.lists import list_names, read_list

    if name.partition(":")[0] in list_names():
        return read_list(name, settings)
    raise SettingsError(
        f"unknown dataset {name!r}; expected demo, demo:micro, synthmusic:SIZE, "
        "synthmusic11:SIZE, folder, folder:PATH, csv:PATH, music21, music, llp, synthllp:SIZE or "
        "audioset"
    )


def _synthmusic(name: str, settings: Settings) -> Dataset:
    """Return the dataset of `synthmusic:SIZE` or `synthmusic11:SIZE`, making its clips."""
    from pipeline.synthmusic import SPECS, make_synthmusic

    if name not in SPECS:
        raise SettingsError(f"unknown dataset {name!r}; expected one of {', '.join(SPECS)}")
    dataset, _, size = name.partition(":")
    made = make_synthmusic(
        Path(settings.run.demo_dir) / "synthmusic",
        dataset=dataset,
        size=size,
        seed=settings.run.seed,
        soundfont=settings.run.soundfont,
    )
    return replace(made, name=name)


def folder_source(folder: Path, kind: str = "folder") -> str:
    """Return the source name of a folder or file: its own name and a digest of its place."""
    kept = "".join(c if c.isalnum() and c.isascii() else "-" for c in folder.name).strip("-")
    digest = hashlib.sha256(str(folder).encode()).hexdigest()[:6]
    return f"{kind}-{kept or 'root'}-{digest}"


def resolve_stages(settings: Settings, dataset: Dataset) -> dict[str, ResolvedStage]:
    """Return every stage but pose_embed, with the dataset's and the user's parameters.

    What luigi.cfg sets wins over the dataset's preset, unless it says `auto` or the dataset has
    nothing but imported rows.
    """
    configs: dict[str, Any] = {}
    for name, definition in STAGES.items():
        if name == POSE_EMBED:
            continue
        preset = dict(dataset.preset.get(name, {}))
        chosen = {k: v for k, v in settings.stages[name].items() if v != "auto"}
        if is_imported(replace(definition.default, **preset)):
            chosen.pop("weights", None)
        configs[name] = replace(definition.default, **{**preset, **chosen})
    configs["pose"] = replace(
        configs["pose"], alphapose=alphapose_settings(settings), rtm=rtm_settings(settings)
    )
    return resolve(
        configs, precision=settings.run.precision, weights_dir=settings.run.weights_dir or None
    )


def _check_imported(layout: Layout, stages: Mapping[str, ResolvedStage]) -> None:
    for name, stage in stages.items():
        if stage.imported and not layout.stage_dir(stage.record.name).is_dir():
            raise SettingsError(
                f"[{name}] weights = {stage.config.weights}: the store {layout.root} has no such "
                "imported rows; run `soundstage import-features`, which prints the setting, or "
                "`soundstage synthllp` for a synthetic LLP"
            )


def alphapose_settings(settings: Settings) -> AlphaposeConfig:
    """Return what the section [alphapose] says, checked."""
    try:
        return AlphaposeConfig(**settings.poses["alphapose"])
    except ValueError as error:
        raise SettingsError(f"luigi.cfg: [alphapose] {error}") from error


def rtm_settings(settings: Settings) -> RtmConfig:
    """Return what the section [rtm] says, with the run's weights directory."""
    return RtmConfig(**{"weights_dir": settings.run.weights_dir, **settings.poses["rtm"]})


def _choose_recipe(dataset: Dataset, recipe: str) -> tuple[str, str]:
    if recipe:
        return recipe, f"recipe {recipe}, as asked for"
    if dataset.name in DEMO_SOURCES:
        return "all", "recipe all: the demo has clips for both models"
    from pipeline.datasets.recipes import default_recipe

    return default_recipe(dataset)


def _models_of(recipe: str) -> tuple[str, ...]:
    if recipe == "all":
        return ("tribert", "avvp")
    return () if recipe == "features" else (recipe,)
