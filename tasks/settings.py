"""Settings: luigi.cfg in, typed values out; an unknown section or key is an error.

A stage's section carries its own name and the fields of its configuration dataclass
(`pipeline.stages`); a model's section the fields of its preset.
"""

from __future__ import annotations

import difflib
import os
import types
import typing
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from luigi.configuration import get_config

from pipeline.download.config import FetchSettings
from pipeline.pose.config import AlphaposeConfig, RtmConfig

if typing.TYPE_CHECKING:
    from model.separation.config import System

LUIGI_SECTIONS = frozenset(
    {
        "DEFAULT",
        "batch_notifier",
        "core",
        "email",
        "execution_summary",
        "logging",
        "parameter_visibility",
        "resources",
        "retcode",
        "scheduler",
        "smtp",
        "task_history",
        "worker",
    }
)
POSE_SECTIONS: Mapping[str, type] = {"alphapose": AlphaposeConfig, "rtm": RtmConfig}
"""Sections of pose backends; the stage `pose` takes them as its fields of the same names."""
MODEL_SECTIONS = ("stgcn", "tribert", "avvp")
MODEL_KEYS = ("preset", "max_steps", "seed", "loader_workers")


class SettingsError(Exception):
    """A setting that cannot be used; the message names section, key, value and what is allowed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunSettings:
    """The section [soundstage]: where the store is and how wide a run is."""

    root: str = "store"
    """Directory of the feature store; created when it does not exist."""
    demo_dir: str = "demo"
    """Directory that the built-in demo clips are made in, and those of synthmusic."""
    soundfont: str = ""
    """General MIDI soundfont (.sf2) of synthmusic; empty: TimGM6mb.sf2 in the usual places."""
    folder: str = ""
    """The folder of videos that `--dataset folder` reads."""
    import_mode: str = "copy"
    """How local videos enter the store: copy, hardlink or symlink."""
    weights_dir: str = ""
    """Directory with pre-trained weight files; empty: none."""
    precision: str = "auto"
    """float32, bfloat16, or auto: bfloat16 for random weights, float32 for trained ones."""
    seed: int = 0
    """Seeds the split draw, the demo and synthmusic."""
    workers: int = 0
    """Dask worker processes; 0: one for each CPU core."""
    dask_address: str = ""
    """Address of a running Dask scheduler; empty: one LocalCluster for the run."""
    item_timeout_s: float = 3600.0
    """Longest time one item may take in one stage."""
    device: str = "auto"
    """Device of networks and training: auto, cpu or cuda."""
    workers_a_gpu: int = 4
    """Workers that share a GPU: one computes while the others decode."""
    min_coverage: float = 0.5
    """Smallest share of the items that must come through; below it the run fails."""
    min_items: int = 1
    """Fewest items that each class and each split must keep for a model to be trained."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ListSettings:
    """The section [lists]: where the published lists are, and which of their parts are meant."""

    dir: str = ""
    """Folder with the lists as they are published, in any arrangement of folders."""
    seed: int = 0
    """Draws the validation part of lists that have none."""
    overlap: str = "refuse"
    """Videos of both training and test: refuse to train, or keep them for test or train only."""
    exclude: str = ""
    """Videos to keep out of training and validation: names of lists, or files of ids; by ';'."""
    music21_view: str = "solo+duet"
    """solo or solo+duet."""
    music21_split: str = "tribert"
    """tribert (840 and 211 ids), iquery or draw."""
    music21_refit: bool = False
    """Train on the validation videos, too."""
    music_view: str = "solo"
    music_split: str = "co-separation"
    """co-separation, ccol, iquery, clipsep, mix-and-localize or draw."""
    llp_audio_edition: str = "pre2024"
    """pre2024 (as the published figures) or 2024."""
    audioset_files: str = ""
    """Segment lists, separated by ';'."""
    audioset_names: str = ""
    """class_labels_indices.csv: the names of the classes; empty: their ids."""
    audioset_classes: str = ""
    """Names of classes to keep, separated by ';'; empty: all."""
    audioset_exclude: str = "llp/test"
    """Videos to leave out: names of lists, or files of ids, separated by ';'."""
    csv: str = ""
    """The list that `--dataset csv` reads."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelSettings:
    """The section of one model: its preset and the few values that runs usually change."""

    preset: str = "tiny"
    max_steps: int = 0
    """Training steps; 0: the preset's own."""
    seed: int = 0
    loader_workers: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class TribertSettings(ModelSettings):
    """The section [tribert]."""

    spectrogram: str = "stored"
    """stored: crops are read from the stft stage; computed: from the stored sound."""
    audio_encoder: str = "vgg"
    """vgg: trained with the rest; vggish: the vggish stage's network hears the mixture, frozen."""
    flip: float = 0.0
    """Share of the training clips that are mirrored; above 0 mirrored poses are embedded, too."""
    initial: str = ""
    """Name of a published TriBERT to fine-tune; empty: train from nothing."""
    initial_maps: str = "keep"
    """keep or swap its attention maps where the classes are others."""
    initial_overlap: str = "refuse"
    """refuse, or allow, one that has seen test videos."""
    precision: str = "32-true"
    """32-true, or bf16-mixed: autocast to bfloat16."""
    accumulate: int = 1
    """Parts that a step's batch is computed in."""
    checkpoint_activations: bool = False
    """Compute activations twice, to keep fewer of them."""
    cuda_graphs: bool = True
    """On one GPU: record a step once and replay it."""
    baselines: str = ""
    """Systems trained and judged beside it, separated by commas, or all; empty: none."""
    retrieval: bool = False
    """Train and judge retrieval by its embeddings."""

    @property
    def systems(self) -> tuple[System, ...]:
        """The baselines, in the order of the table."""
        from model.separation.jobs import SYSTEMS

        named = _names(self.baselines)
        return tuple(each for each in SYSTEMS if each in named or "all" in named)

    @property
    def training(self) -> dict[str, Any]:
        """The settings that are TriBERT's `optim` ones."""
        return {
            "precision": self.precision,
            "accumulate": self.accumulate,
            "checkpoint_activations": self.checkpoint_activations,
            "cuda_graphs": self.cuda_graphs,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class ParsingTableSettings:
    """The section [parsing_tables]: what ReproduceParsingTables trains; see docs/parsing.md."""

    preset: str = "paper"
    """Preset of model/avvp/config.py."""
    rows: str = ""
    """Rows of the tables, separated by ';'; empty: all rows of the paper."""
    seeds: str = "0,1,2"
    """One training of each row for each, separated by commas."""
    settings: str = "{}"
    """Settings of every row, over those of the preset, as a JSON object."""
    pretraining: str = "{}"
    """The same of the models that rows start from."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Everything luigi.cfg says: run, stage parameters that were set, models."""

    run: RunSettings
    lists: ListSettings
    fetch: FetchSettings
    stages: Mapping[str, Mapping[str, Any]]
    poses: Mapping[str, Mapping[str, Any]]
    models: Mapping[str, ModelSettings]
    parsing_tables: ParsingTableSettings

    @property
    def tribert(self) -> TribertSettings:
        """The section [tribert], with what only TriBERT has."""
        return typing.cast(TribertSettings, self.models["tribert"])


def load_settings() -> Settings:
    """Return the settings of luigi.cfg, checked.

    Raises
    ------
    SettingsError
        An unknown section or key, or a value of the wrong type.
    """
    from pipeline.stages import STAGES

    config = get_config()
    known = {"soundstage": RunSettings, "lists": ListSettings, "fetch": FetchSettings}
    known |= dict.fromkeys(MODEL_SECTIONS, ModelSettings)
    known["tribert"] = TribertSettings
    known["parsing_tables"] = ParsingTableSettings
    known |= {name: definition.config for name, definition in STAGES.items()}
    known |= POSE_SECTIONS
    for section in config.sections():
        if section not in known and section not in LUIGI_SECTIONS and not _is_luigi_task(section):
            raise SettingsError(_unknown(f"section [{section}]", section, known))
    values = {section: _section(section, cls) for section, cls in known.items()}
    run = RunSettings(**values["soundstage"])
    one_of("[soundstage]", "import_mode", run.import_mode, ("copy", "hardlink", "symlink"))
    lists = ListSettings(**values["lists"])
    one_of("[lists]", "overlap", lists.overlap, ("refuse", "test", "train"))
    tribert = TribertSettings(**values["tribert"])
    one_of("[tribert]", "spectrogram", tribert.spectrogram, ("stored", "computed"))
    one_of("[tribert]", "audio_encoder", tribert.audio_encoder, ("vgg", "vggish"))
    one_of("[tribert]", "initial_maps", tribert.initial_maps, ("keep", "swap"))
    one_of("[tribert]", "initial_overlap", tribert.initial_overlap, ("refuse", "allow"))
    one_of("[tribert]", "precision", tribert.precision, ("32-true", "bf16-mixed"))
    _check_baselines(tribert)
    return Settings(
        run=run,
        lists=lists,
        fetch=_fetch_settings(values["fetch"]),
        stages={name: values[name] for name in STAGES},
        poses={name: values[name] for name in POSE_SECTIONS},
        models={name: known[name](**values[name]) for name in MODEL_SECTIONS},
        parsing_tables=ParsingTableSettings(**values["parsing_tables"]),
    )


def _check_baselines(tribert: TribertSettings) -> None:
    from model.separation.jobs import SYSTEMS

    for name in _names(tribert.baselines):
        one_of("[tribert]", "baselines", name, (*SYSTEMS, "all"))


def _names(text: str) -> list[str]:
    """Return the names in a list separated by commas."""
    return [name.strip() for name in text.split(",") if name.strip()]


def _fetch_settings(values: Mapping[str, Any]) -> FetchSettings:
    try:
        return FetchSettings(**values)
    except ValueError as error:
        raise SettingsError(f"luigi.cfg: {error}") from error


def one_of(where: str, key: str, value: str, allowed: Iterable[str]) -> None:
    """Raise SettingsError for a value that is not one of those allowed."""
    allowed = tuple(allowed)
    if value not in allowed:
        close = difflib.get_close_matches(value, allowed, n=1)
        hint = f"did you mean {close[0]!r}? " if close else ""
        raise SettingsError(
            f"{where} {key} = {value!r}: {hint}expected one of {', '.join(allowed)}"
        )


def worker_count(run: RunSettings) -> int:
    """Return the number of Dask worker processes that a run uses."""
    return run.workers or len(os.sched_getaffinity(0))


def _is_luigi_task(section: str) -> bool:
    return section in ("FullPipeline", "ReproduceParsingTables")


def _section(section: str, cls: type) -> dict[str, Any]:
    config = get_config()
    if section not in config.sections():
        return {}
    hints = typing.get_type_hints(cls)
    allowed = [field.name for field in fields(cls)]
    values = {}
    for key in config[section]:
        if key in config.defaults():
            continue
        if key not in allowed:
            raise SettingsError(_unknown(f"[{section}] {key}", key, allowed))
        values[key] = _convert(section, key, str(config.get(section, key)), hints[key])
    return values


def _convert(section: str, key: str, text: str, hint: Any) -> Any:
    """Return `text` as the field's type; an empty value is None where None is allowed."""
    if isinstance(hint, types.UnionType) or typing.get_origin(hint) is typing.Union:
        kinds = [k for k in typing.get_args(hint) if k is not type(None)]
        if text.strip() == "":
            return None
        hint = kinds[0]
    try:
        if hint is bool:
            return {"true": True, "false": False}[text.strip().lower()]
        if hint in (int, float, str):
            return hint(text.strip())
        if hint is Path:
            return Path(text.strip())
    except (ValueError, KeyError):
        name = "true or false" if hint is bool else hint.__name__
        raise SettingsError(f"luigi.cfg: [{section}] {key} = {text!r}: expected {name}") from None
    raise SettingsError(f"luigi.cfg: [{section}] {key}: cannot be set there")


def _unknown(what: str, name: str, allowed: Iterable[str]) -> str:
    allowed = sorted(allowed)
    close = difflib.get_close_matches(name, allowed, n=1)
    hint = f"did you mean {close[0]!r}? " if close else ""
    return f"luigi.cfg: unknown {what}; {hint}Known: {', '.join(allowed)}"
