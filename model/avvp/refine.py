"""Before training: which labels are not heard or not seen, and the targets that follow.

In: a `Study`: settings, clips with weak tags, validation clips. Out: `Refined`: the training clips
with targets, rates for what is removed batch by batch, and what a model's record says of it.

All of it follows from the seed. What takes long (teachers, networks that are asked) is kept in the
run's directory, so that a killed run goes on; the generators of the training itself are untouched.
The dense events of validation clips choose epochs, as in every training, and tell how right the
removal is; no label of a training clip comes from them.

Legend: N clips, M modalities (0 audio, 1 visual), C classes, T seconds.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from model.avvp import removal
from model.avvp.config import Config
from model.avvp.data import Clip
from model.avvp.diagnosis import removal_scores, said
from model.avvp.keep import Arrays, kept
from model.avvp.labels import Removed, never_seen, with_targets
from model.avvp.parse import Parser
from model.avvp.segments import segment_labels
from model.avvp.swaps import drawn_partners, flags_of, pooled, swap_test
from model.avvp.targets import smoothed
from model.avvp.teachers import Answers, cross_fitted
from model.train.errors import RecipeError
from model.train.fit import Device, fit, process_rank, under_torchrun
from model.train.parts import TrainParts
from model.train.resume import generator_states, restore_generators
from storage.fingerprint import FINGERPRINT_DIGITS, sha256_json

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Study:
    """What labels are refined with; `stage` gives what trains a whole network on the weak tags."""

    config: Config
    classes: Sequence[str]
    train: Sequence[Clip]
    val: Sequence[Clip]
    truth: np.ndarray | None
    """Dense events of `val`, (N, M, C, T)."""
    seed: int
    folder: Path
    device: str
    stage: Callable[[Config], TrainParts]


@dataclass(frozen=True, slots=True, kw_only=True)
class Refined:
    """Training clips with targets; `rates_MC` are JoMoLD's where each batch is denoised."""

    clips: list[Clip]
    rates_MC: Tensor | None = None
    summary: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Found:
    """Flags (N, M, C) of the training and of the validation clips."""

    train_NMC: Tensor
    val_NMC: Tensor


def refine(study: Study) -> Refined:
    """Return the training clips with the targets that the settings ask for.

    Raises
    ------
    ConfigError
        `drop_visual` names a class that the list does not have.
    RecipeError
        Several processes would each refine the labels.
    """
    states = generator_states()
    study = replace(study, folder=study.folder / _digest(study))
    try:
        return _refined(study)
    finally:
        restore_generators(states)


def _digest(study: Study) -> str:
    """Return the address of what is kept: all that it follows from."""
    decisive = {
        "configuration": study.config.as_json(),
        "seed": study.seed,
        "clips": [[clip.item_id for clip in clips] for clips in (study.train, study.val)],
    }
    return sha256_json(decisive)[:FINGERPRINT_DIGITS]


def _refined(study: Study) -> Refined:
    config = study.config
    summary: dict[str, Any] = {}
    rates_MC: Tensor | None = None
    removed = Removed.nothing(len(study.train), len(study.classes))
    if config.denoise == "jomold":
        rates_MC = _estimated_rates(study)
        summary["rates"] = _by_class(study, rates_MC)
    elif config.denoise != "none":
        found = _ranked(study, summary) if config.denoise == "rank" else _swapped(study)
        removed = _removed(config, found.train_NMC)
        summary |= _described(study, found)
    removed = never_seen(config, removed, study.classes)
    return Refined(
        clips=with_targets(config, study.train, removed, _segments(study, removed)),
        rates_MC=rates_MC,
        summary=summary,
    )


def _segments(study: Study, removed: Removed) -> np.ndarray | None:
    """Return the targets of seconds (N, M, C, T) that the settings ask for."""
    if study.config.segments == "none":
        return None
    answers, _ = teachers_answers(study)
    gone_NMC = np.stack([removed.audio_NC, removed.visual_NC], axis=1)
    kept_NMC = (_tags(study.train).numpy() > 0)[:, None] & ~gone_NMC
    return segment_labels(answers.logit_NMCT, kept_NMC, soft=study.config.segments == "soft")


def _removed(config: Config, flags_NMC: Tensor) -> Removed:
    audio_NC, visual_NC = (flags.numpy() for flags in flags_NMC.unbind(1))
    video_NC = audio_NC if config.swap_alias else np.zeros_like(audio_NC)
    return Removed(audio_NC=audio_NC, visual_NC=visual_NC, video_NC=video_NC)


def _described(study: Study, found: _Found) -> dict[str, Any]:
    """Return what was removed in training, and how right that is on the validation clips."""
    number_C = _tags(study.train).sum(0).clamp(min=1)
    share_MC = (found.train_NMC.sum(0) / number_C).double()
    summary: dict[str, Any] = {"removed": _by_class(study, share_MC)}
    if study.truth is not None:
        scores = removal_scores(
            found.val_NMC.numpy(), _tags(study.val).numpy(), study.truth, study.classes
        )
        log.info("on validation clips, %s", said(scores))
        summary["validation"] = scores
    return summary


def _by_class(study: Study, share_MC: Tensor) -> dict[str, list[float]]:
    """Return class -> its share in audio and in vision."""
    rows = share_MC.double().T.tolist()
    return {name: [round(x, 4) for x in row] for name, row in zip(study.classes, rows, strict=True)}


def _tags(clips: Sequence[Clip]) -> Tensor:
    return torch.stack([clip.tags_C for clip in clips]) if clips else torch.zeros(0, 0)


def teachers_answers(study: Study) -> tuple[Answers, Answers]:
    """Return what held-out teachers say of the training and of the validation clips."""
    return cross_fitted(
        study.config,
        study.train,
        study.val,
        seed=study.seed,
        folder=_only_process(study) / "teachers",
        device=Device.parse(study.device).kind,
    )


def _ranked(study: Study, summary: dict[str, Any]) -> _Found:
    """Return flags by the ranks of the held-out teachers' losses, with MA's vote if asked for."""
    config = study.config
    estimate = removal.ratio_rates if config.rates == "ratio" else removal.contrasted_rates
    answers = teachers_answers(study)
    p_train, p_val = (torch.from_numpy(one.pooled_NMC).double() for one in answers)
    rates_MC = estimate(p_train, _tags(study.train))
    summary["rates"] = _by_class(study, rates_MC)
    votes = None if config.swap_vote == "none" else _swapped(study)
    flags = []
    for name, clips, p_NMC in (("train", study.train, p_train), ("val", study.val, p_val)):
        if not clips:
            flags.append(torch.zeros(p_NMC.shape, dtype=torch.bool))
            continue
        tags_NC = _tags(clips).double()
        losses_NMC = removal.bag_losses(p_NMC, _modal_targets(config, tags_NC))
        flags_NMC = removal.rank_flags(
            losses_NMC, tags_NC, rates_MC, rest=config.opposite == "rest"
        )
        if votes is not None:
            vote_NMC = votes.train_NMC if name == "train" else votes.val_NMC
            both = flags_NMC & vote_NMC if config.swap_vote == "and" else flags_NMC | vote_NMC
            flags_NMC = removal.one_kept(both, -losses_NMC)
        flags.append(flags_NMC)
    return _Found(train_NMC=flags[0], val_NMC=flags[1])


def _modal_targets(config: Config, tags_NC: Tensor) -> Tensor:
    """Return the smoothed targets of both modalities, (N, M, C)."""
    weights = (config.audio_smoothing, config.visual_smoothing)
    return torch.stack([smoothed(tags_NC, weight) for weight in weights], dim=1)


def _swapped(study: Study) -> _Found:
    """Return MA's flags: a network on the weak tags is asked under other clips' tracks."""
    config = study.config
    base = replace(
        _weak(config),
        epochs=config.base_epochs or config.epochs,
        val_every_epochs=1,
        select="last",
    )
    drawn = [
        drawn_partners(clips, config.swap_partners, seed=study.seed) if clips else None
        for clips in (study.train, study.val)
    ]

    def make() -> Arrays:
        parser = _stage_network(study, base, "base")
        found: dict[str, np.ndarray] = {}
        for name, clips, partners_NK in zip(
            ("train", "val"), (study.train, study.val), drawn, strict=True
        ):
            if partners_NK is not None:
                arrays = swap_test(parser, clips, partners_NK)
                found |= {f"{name}_{key}": array for key, array in arrays.items()}
        return found

    folder = _only_process(study)
    arrays = kept(folder / "swaps.npz", make, scratch=folder / "base")
    flags = []
    for name, clips in (("train", study.train), ("val", study.val)):
        own = {
            key.removeprefix(f"{name}_"): array
            for key, array in arrays.items()
            if key.startswith(name)
        }
        flags.append(
            flags_of(own, _tags(clips), never_both=not config.swap_alias)
            if own
            else torch.zeros(0, 2, len(study.classes), dtype=torch.bool)
        )
    return _Found(train_NMC=flags[0], val_NMC=flags[1])


def _estimated_rates(study: Study) -> Tensor:
    """Return JoMoLD's rates, float32 (M, C), from a network whose modalities do not attend."""
    estimator = replace(_weak(study.config), cross_attention=False, audio_factor=1.0)

    def make() -> Arrays:
        parser = _stage_network(study, estimator, "estimator")
        return {"pooled": pooled(parser, study.train).numpy()}

    folder = _only_process(study)
    found = kept(folder / "estimator.npz", make, scratch=folder / "estimator")
    return removal.ratio_rates(torch.from_numpy(found["pooled"]), _tags(study.train)).float()


def _weak(config: Config) -> Config:
    """Return the settings of a training on the weak tags alone."""
    return replace(
        config,
        denoise="none",
        swap_vote="none",
        swap_alias=False,
        drop_visual=(),
        segments="none",
        positive_weight=0.0,
        mix=0.0,
        recombine=0.0,
    )


def _stage_network(study: Study, config: Config, name: str) -> Parser:
    """Return a network trained on the weak tags."""
    folder = study.folder / name
    torch.manual_seed(study.seed)
    parts = study.stage(config)
    log.info("%s: a network learns the weak tags, %d steps", folder, parts.max_steps)
    fit(parts, folder, seed=study.seed, device=Device.parse(study.device).kind)
    parser = parts.module.get_submodule("parser")
    if not isinstance(parser, Parser):
        raise TypeError(f"stage {name}: expected a Parser, got {type(parser).__name__}")
    return parser.cpu().eval()


def _only_process(study: Study) -> Path:
    """Return the folder to keep things in. Raises RecipeError where several would write."""
    several = under_torchrun() and Device.parse(study.device).world_size > 1
    if several or (process_rank() > 0 and not study.folder.exists()):
        raise RecipeError(
            f"{study.folder}: labels are refined by one process before training: train on one "
            "device, or 'cuda:<processes>' without torchrun"
        )
    return study.folder
