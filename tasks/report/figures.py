"""Pictures of a report: training curves, spectrograms with masks, players with their poses.

Flows in: histories and arrays of an evaluation. Flows out: PNG files as data URIs.
"""

from __future__ import annotations

import base64
import io
from collections import defaultdict
from collections.abc import Mapping, Sequence
from itertools import cycle
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np

mpl.use("Agg")
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from pipeline.pose.draw import draw_poses

DPI = 110
INK = "#3b4252"
COLOURS = ("#2a6f97", "#c8553d", "#588157", "#8d6a9f", "#b08900", "#3b4252", "#4aa3a2")


def png_uri(figure: Figure) -> str:
    """Return a figure as a data URI, and close it."""
    stream = io.BytesIO()
    figure.savefig(stream, format="png", dpi=DPI, bbox_inches="tight", facecolor="white")
    plt.close(figure)
    return data_uri(stream.getvalue(), "image/png")


def data_uri(content: bytes, kind: str) -> str:
    """Return bytes as a data URI of a MIME type."""
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"


def file_uri(path: Path, kind: str) -> str:
    """Return a file as a data URI."""
    return data_uri(path.read_bytes(), kind)


def curves(history: Sequence[Mapping[str, Any]]) -> str | None:
    """Return a figure of every logged value over the steps, losses left, the rest right."""
    series: dict[str, list[tuple[int, float]]] = defaultdict(list)
    for row in history:
        for name, value in row.items():
            if isinstance(value, int | float) and name.startswith(("train/", "val/")):
                series[name].append((row["step"], value))
    losses = {n: s for n, s in series.items() if "loss" in n}
    others = {n: s for n, s in series.items() if "loss" not in n}
    panels = [p for p in (losses, others) if p]
    if not panels:
        return None
    figure, axes = plt.subplots(1, len(panels), figsize=(4.6 * len(panels), 3.4), squeeze=False)
    for axis, panel in zip(axes[0], panels, strict=True):
        _panel(axis, panel)
    return png_uri(figure)


def _panel(axis: Axes, panel: Mapping[str, Sequence[tuple[int, float]]]) -> None:
    """One set of axes; a value has one colour, dotted in training and solid in validation."""
    colours = dict(zip(_plain_names(panel), cycle(COLOURS), strict=False))
    for name, points in sorted(panel.items()):
        split, _, plain = name.partition("/")
        steps, values = zip(*points, strict=True)
        style = "-" if split == "val" else ":"
        axis.plot(steps, values, style, color=colours[plain], label=name)
    axis.set_xlabel("step")
    axis.spines[["top", "right"]].set_visible(False)
    axis.legend(fontsize=7, frameon=False, ncols=2, loc="upper center", bbox_to_anchor=(0.5, -0.18))


def _plain_names(panel: Mapping[str, object]) -> list[str]:
    """Return the names of the values without their split, sorted."""
    return sorted({name.partition("/")[2] for name in panel})


def masks(arrays: Mapping[str, np.ndarray], labels: Sequence[str]) -> str:
    """Return the mixture's spectrogram, and each source's predicted and true mask below it."""
    predicted, true = arrays["predicted"], arrays["true"]
    sources = len(predicted)
    figure, axes = plt.subplots(1, 1 + 2 * sources, figsize=(2.2 * (1 + 2 * sources), 2.3))
    _spectrogram(axes[0], arrays["mixture"], "mixture", "magma")
    for n in range(sources):
        _spectrogram(axes[1 + 2 * n], predicted[n], f"{labels[n]}: predicted", "Greys_r", unit=True)
        _spectrogram(axes[2 + 2 * n], true[n], f"{labels[n]}: true", "Greys_r", unit=True)
    return png_uri(figure)


def players(frames: np.ndarray, poses: np.ndarray) -> str:
    """Return the pictures of one video side by side, poses drawn on them.

    Parameters
    ----------
    frames
        uint8, shape (pictures, height, width, 3), RGB.
    poses
        float, shape (pictures, persons, 68, 3), pixels of the picture.
    """
    drawn = [draw_poses(f, p.astype(np.float32)) for f, p in zip(frames, poses, strict=True)]
    height, width = drawn[0].shape[:2]
    figure, axes = plt.subplots(
        1, len(drawn), figsize=(1.9 * len(drawn) * width / height, 1.9), squeeze=False
    )
    for axis, picture in zip(axes[0], drawn, strict=True):
        axis.imshow(picture)
        axis.axis("off")
    figure.subplots_adjust(wspace=0.03)
    return png_uri(figure)


def _spectrogram(axis: Any, values: np.ndarray, title: str, cmap: str, unit: bool = False) -> None:
    limits = {"vmin": 0.0, "vmax": 1.0} if unit else {}
    axis.imshow(values.astype(np.float32), origin="lower", aspect="auto", cmap=cmap, **limits)
    axis.set_title(title, fontsize=8, color=INK)
    axis.set_xticks([])
    axis.set_yticks([])
