"""Rows of the ablation table of what goes beyond HAN, as settings over those of preset `han`.

In: nothing. Out: `modern_rows`. Light: no torch. docs/parsing-modern.md says what each step is and
where it is from.
"""

from __future__ import annotations

from typing import Any

Settings = dict[str, Any]

HAN_R: Settings = {
    "optimiser": "adamw",
    "weight_decay": 1e-3,
    "schedule": "cosine",
    "warmup_epochs": 5,
    "clip_norm": 1.0,
    "batch_size": 64,
    "epochs": 30,
    "gate": "modality",
}
"""HAN's network under the recipe of today: every later row differs from it in labels or loss."""
_NCE = {"nce": "expected"}
_DENOISE = {**HAN_R, "denoise": "rank", "opposite": "rest"}
_SOFT = {**_DENOISE, "segments": "soft", "audio_factor": 2.0}
_REWEIGHT = {**_SOFT, "positive_weight": 0.5}
_MIX = {**_REWEIGHT, "mix": 1.0}
_MA = {
    "epochs": 12,
    "lr_every_epochs": 10,
    "nce": "cross_entropy",
    "denoise": "swap",
    "swap_partners": 1,
    "swap_alias": True,
    "select": "last",
    "gate": "modality",
}
_JOMOLD = {
    "learning_rate": 5e-4,
    "lr_factor": 0.25,
    "lr_every_epochs": 6,
    "batch_size": 128,
    "epochs": 25,
    "nce": "expected",
    "visual_dropout": 0.5,
    "audio_factor": 2.0,
    "denoise": "jomold",
    "select": "event_audio",
    "gate": "modality",
}

MODERN = "modern"
modern_rows: dict[str, Settings] = {
    "han_r": HAN_R,
    "han_r, no visual Speech": {**HAN_R, "drop_visual": ["Speech"]},
    "MA": _MA,
    "MA, clean": {**_MA, "swap_alias": False, "swap_partners": 4},
    "JoMoLD": _JOMOLD,
    "JoMoLD, batch 16": {**_JOMOLD, "batch_size": 16},
    "nce": {**HAN_R, **_NCE},
    "nce, visual dropout": {**HAN_R, **_NCE, "visual_dropout": 0.5},
    "denoise": _DENOISE,
    "denoise, half": {**_DENOISE, "opposite": "half"},
    "denoise, JoMoLD's rates": {**_DENOISE, "opposite": "half", "rates": "ratio"},
    "denoise and swap": {**_DENOISE, "swap_vote": "and"},
    "denoise or swap": {**_DENOISE, "swap_vote": "or"},
    "denoise, swap alone": {**HAN_R, "denoise": "swap"},
    "segments, hard": {**_SOFT, "segments": "hard"},
    "segments, soft": _SOFT,
    "reweight": _REWEIGHT,
    "mix": _MIX,
    "recombine": {**_MIX, "recombine": 0.5},
    MODERN: _MIX,
    "modern, nce": {**_MIX, **_NCE},
}
"""Row -> settings. `denoise`, `segments, soft`, `reweight`, `mix` and `recombine` add one step each
to the one before; `modern` is the last of them that held up. `MA` and `JoMoLD` are as published,
with their own recipes."""
