"""Figures of single examples: separated pairs, and what queries found.

Flows in: an evaluation's folder, or one that `model.tribert.show` wrote. Flows out: figures in a
gallery, and the URIs of them for the page.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.pose.draw import draw_poses
from tasks.report import figures
from tasks.report.gallery import Gallery, file_uri

STREAMS = {"audio": "sound", "vision": "picture", "pose": "pose"}


def separation_example(
    folder: Path, example: Mapping[str, Any], gallery: Gallery, name: str
) -> dict[str, Any]:
    """Return what the page shows and plays of one mix: figures, sounds, labels.

    Parameters
    ----------
    folder
        Holds the files that `example` names.
    name
        What the figures' files are called, before what each shows.
    """
    labels = [" + ".join(names) for names in example["labels"]]
    audio = example["audio"]
    with np.load(folder / example["arrays"]) as arrays:
        shown = {key: arrays[key] for key in arrays.files}
    return {
        "labels": labels,
        "pair": example["pair"],
        "mixture": _wav(folder, audio["mixture"]),
        "separation": gallery.keep(f"{name}-separation", figures.separation(shown, labels)),
        "sources": [
            {
                "label": label,
                **_source_figures(shown, n, label, gallery, name),
                "prediction": _wav(folder, audio["prediction"][n]),
                "truth": _wav(folder, audio["truth"][n]),
            }
            for n, label in enumerate(labels)
        ],
    }


def _source_figures(
    arrays: Mapping[str, np.ndarray], n: int, label: str, gallery: Gallery, name: str
) -> dict[str, str | None]:
    """Return the pictures with poses and, where the model has them, with attention maps."""
    players = figures.players(arrays["frames"][n], arrays["poses"][n])
    attention = None
    if "maps" in arrays:
        drawn = figures.attention(
            arrays["seen"][n], arrays["maps"][n], arrays["map_classes"][n], label
        )
        attention = gallery.keep(f"{name}-attention-{n}-{label}", drawn)
    return {
        "players": gallery.keep(f"{name}-poses-{n}-{label}", players),
        "attention": attention,
    }


def _wav(folder: Path, name: str) -> str:
    return file_uri(folder / name, "audio/wav")


def retrieval_figures(
    folder: Path, results: Mapping[str, Any], gallery: Gallery, name: str
) -> dict[tuple[str, str, str], str]:
    """Return a figure of each row's queries: (variant, embedding, protocol) -> URI.

    Evaluations that kept no pictures have none.
    """
    known = results.get("pictures", {}).get("items", [])
    if not known:
        return {}
    with np.load(folder / "pictures.npz") as arrays:
        frames, poses = arrays["frames"][:, 0], arrays["poses"][:, 0]
    labels = dict(zip(known, results["pictures"]["labels"], strict=True))
    plain = dict(zip(known, frames, strict=True))
    posed = {item: draw_poses(plain[item], p) for item, p in zip(known, poses, strict=True)}
    drawn = {}
    for row in results["rows"]:
        queried, wanted = _streams(row["variant"])
        rows = [
            _found_row(
                example,
                labels,
                (posed if "pose" in queried else plain),
                (posed if wanted == "pose" else plain),
            )
            for example in row["examples"]
        ]
        if not rows:
            continue
        said = " and ".join(STREAMS[stream] for stream in queried)
        title = f"asked with the {said}, looked for: the {STREAMS[wanted]}"
        key = (row["variant"], row["embedding"], row["protocol"])
        drawn[key] = gallery.keep(f"{name}-{'-'.join(key)}", figures.retrieved(rows, title))
    return drawn


def _streams(variant: str) -> tuple[tuple[str, ...], str]:
    from model.retrieval.config import VARIANTS

    return VARIANTS[variant]


def _found_row(
    example: Mapping[str, Any],
    labels: Mapping[str, Sequence[str]],
    asked: Mapping[str, np.ndarray],
    pictures: Mapping[str, np.ndarray],
) -> list[figures.Found]:
    query = example["query"]
    said = " + ".join(labels[query])
    row = [figures.Found(picture_HWC=asked[query], title=f"{said} (rank {example['rank']})")]
    for place, item in enumerate(example["found"], start=1):
        same = "class" if labels[item] == labels[query] else "wrong"
        row.append(
            figures.Found(
                picture_HWC=pictures[item],
                title=f"{place}: {' + '.join(labels[item])}",
                mark="right" if item == query else same,
            )
        )
    return row
