"""How right the removal of labels is, on clips whose events are known; nothing learns from this.

In: flags, tags and dense events of validation clips. Out: JSON values for a model's record.

Legend: N clips, M modalities (0 audio, 1 visual), C classes, T seconds.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from model.avvp.data import MODALITIES
from model.avvp.metrics import parsing_scores


def removal_scores(
    flags_NMC: np.ndarray, tags_NC: np.ndarray, truth_NMCT: np.ndarray, classes: Sequence[str]
) -> dict[str, Any]:
    """Return what removed labels are worth, in percent.

    For each modality: `removed` and `wrong`, the shares of all labels that are flagged and that
    the modality has no event of; `precision` and `recall` of the flags; `classes`, (removed, wrong)
    of each. And `type_at_av` of labels on for the whole clip at segment level: of the weak tags, of
    the refined ones, and of the true ones. A share of nothing is None.
    """
    tagged_NC = tags_NC > 0
    there_NMC = np.asarray(truth_NMCT.any(-1))
    found: dict[str, Any] = {}
    for m, modality in enumerate(MODALITIES):
        wrong_NC, flag_NC = tagged_NC & ~there_NMC[:, m], tagged_NC & flags_NMC[:, m]
        found[modality] = {
            "removed": _percent(flag_NC.sum(), tagged_NC.sum()),
            "wrong": _percent(wrong_NC.sum(), tagged_NC.sum()),
            "precision": _percent((flag_NC & wrong_NC).sum(), flag_NC.sum()),
            "recall": _percent((flag_NC & wrong_NC).sum(), wrong_NC.sum()),
            "classes": {
                name: [
                    _percent(flag_NC[:, c].sum(), tagged_NC[:, c].sum()),
                    _percent(wrong_NC[:, c].sum(), tagged_NC[:, c].sum()),
                ]
                for c, name in enumerate(classes)
            },
        }
    labels = {
        "weak": np.repeat(tagged_NC[:, None], 2, axis=1),
        "refined": tagged_NC[:, None] & ~flags_NMC,
        "true": tagged_NC[:, None] & there_NMC,
    }
    found["type_at_av"] = {name: _score(on, truth_NMCT) for name, on in labels.items()}
    return found


def _score(on_NMC: np.ndarray, truth_NMCT: np.ndarray) -> float:
    answers = np.broadcast_to(on_NMC[..., None], truth_NMCT.shape)
    scores = parsing_scores(answers[:, 0], answers[:, 1], truth_NMCT[:, 0], truth_NMCT[:, 1])
    return round(scores.type_at_av, 2)


def _percent(part: np.integer, whole: np.integer) -> float | None:
    return round(100 * float(part) / float(whole), 2) if whole else None


def said(scores: Mapping[str, Any]) -> str:
    """Return one line for a log."""
    parts = [
        f"{modality}: {scores[modality]['removed']} % removed, precision "
        f"{scores[modality]['precision']}, recall {scores[modality]['recall']}"
        for modality in MODALITIES
    ]
    type_at_av = scores["type_at_av"]
    parts.append(f"tags for ten seconds {type_at_av['weak']}, refined {type_at_av['refined']}")
    return "; ".join(parts)
