"""What the report shows of retrieval: one table a variant, ours above, chance, the paper's below.

Flows in: the results of an evaluation of retrieval. Flows out: plain values for the template.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

TOP = (1, 5, 10)
TITLES = {
    "audio_to_vision": "sound to picture",
    "vision_to_audio": "picture to sound",
    "audio_to_pose": "sound to pose",
    "pose_to_audio": "pose to sound",
    "vision_audio_to_pose": "picture and sound to pose",
}
KINDS = {
    ("transformer", "joint"): "transformer",
    ("transformer", "alone"): "transformer, leak-free",
    ("input", "joint"): "before the transformer",
}


def retrieval(
    results: Mapping[str, Any], pictures: Mapping[tuple[str, str, str], str]
) -> dict[str, Any]:
    """Return the tables of one evaluation: by variant, rows of top-1, 5 and 10 in percent.

    Parameters
    ----------
    pictures
        (variant, embedding, protocol) -> a figure of its queries.
    """
    variants = dict.fromkeys(row["variant"] for row in results["rows"])
    return {
        "top": TOP,
        "pool": results["pool"],
        "printed": results["printed"]["source"],
        "left_out": results["left_out"],
        "variants": [
            {
                "title": TITLES[variant],
                "rows": _rows(variant, results),
                "pictures": [
                    (KINDS[embedding, protocol], uri)
                    for (of, embedding, protocol), uri in pictures.items()
                    if of == variant
                ],
            }
            for variant in variants
        ],
    }


def _rows(variant: str, results: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return measured rows, chance, then printed ones; a cell is a figure and its interval."""
    rows = [
        {
            "kind": "ours" if row["embedding"] == "transformer" else "measured",
            "title": KINDS[row["embedding"], row["protocol"]],
            "cells": [(row[f"top{k}"], row[f"top{k}_interval"]) for k in TOP],
            "median_rank": row["median_rank"],
        }
        for row in results["rows"]
        if row["variant"] == variant
    ]
    chance = results["chance"]
    rows.append(
        {
            "kind": "measured",
            "title": "random",
            "cells": [(chance[f"top{k}"], None) for k in TOP],
            "median_rank": chance["median_rank"],
        }
    )
    printed = results["printed"]["rows"].get(variant, {})
    for embedding, figures in printed.items():
        rows.append(
            {
                "kind": "paper",
                "title": f"{KINDS[embedding, 'joint']} (paper)",
                "cells": [(figure, None) for figure in figures],
                "median_rank": None,
            }
        )
    return rows
