"""Figures of a run: curves, separated spectrograms, poses, attention maps, retrieved clips.

Flows in: histories and arrays of an evaluation. Flows out: the bytes of PNG files.
"""

from __future__ import annotations

import io
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import cycle
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
MARKS = {"query": INK, "right": "#2e7d32", "class": "#b08900", "wrong": "#b3261e"}
"""Frame of a query, of its own clip, of another clip of its classes, of any other."""
COLOURS = ("#2a6f97", "#c8553d", "#588157", "#8d6a9f", "#b08900", "#3b4252", "#4aa3a2")


def png(figure: Figure) -> bytes:
    """Return a figure as the content of a PNG file, and close it."""
    stream = io.BytesIO()
    figure.savefig(stream, format="png", dpi=DPI, bbox_inches="tight", facecolor="white")
    plt.close(figure)
    return stream.getvalue()


def curves(history: Sequence[Mapping[str, Any]]) -> bytes | None:
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
    return png(figure)


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


def separation(arrays: Mapping[str, np.ndarray], labels: Sequence[str]) -> bytes:
    """Return the paper's Figure 3 of one mix.

    A row for each source: a picture of its video, its true and its predicted mask, its true and its
    separated spectrogram; the mixture's stands beside them.

    Parameters
    ----------
    arrays
        As an example's npz holds them (`model.tribert.examples`, `model.tribert.example_arrays`).
    """
    mixture = arrays["mixture"]
    sources = arrays["sources"] if "sources" in arrays else _masked(mixture, arrays["true"])
    separated = (
        arrays["separated"] if "sources" in arrays else _masked(mixture, arrays["predicted"])
    )
    count = len(labels)
    figure = plt.figure(figsize=(13.2, 2.15 * count))
    grid = figure.add_gridspec(count, 6, wspace=0.08, hspace=0.1)
    loudest = float(max(mixture.max(), sources.max()))
    middle = figure.add_subplot(grid[:, 1])
    _spectrogram(middle, mixture, "mixture", "magma", loudest)
    for n, label in enumerate(labels):
        pictures = arrays["frames"][n]
        axis = figure.add_subplot(grid[n, 0])
        axis.imshow(pictures[len(pictures) // 2])
        _bare(axis)
        axis.set_ylabel(label, fontsize=9, color=INK, fontweight="bold")
        panels = (
            ("true mask", arrays["true"][n], "Greys_r", 1.0),
            ("predicted mask", arrays["predicted"][n], "Greys_r", 1.0),
            ("true spectrogram", sources[n], "magma", loudest),
            ("separated spectrogram", separated[n], "magma", loudest),
        )
        for column, (title, values, cmap, most) in enumerate(panels, start=2):
            axis = figure.add_subplot(grid[n, column])
            _spectrogram(axis, values, title if n == 0 else "", cmap, most)
    return png(figure)


def _masked(mixture_QF: np.ndarray, masks_NQF: np.ndarray) -> np.ndarray:
    """Return what masks leave of a mixture, all as log(1 + magnitude)."""
    return np.log1p(np.expm1(mixture_QF.astype(np.float32)) * masks_NQF)


def attention(
    seen_THWC: np.ndarray, maps_TOYX: np.ndarray, classes_TO: np.ndarray, label: str
) -> bytes:
    """Return the attention maps of one video over its pictures: a row for each map kept.

    Parameters
    ----------
    seen_THWC
        uint8 RGB, as the network got them.
    maps_TOYX
        Signed maps, the best first.
    classes_TO
        The classes that the maps are of.
    """
    pictures, kept = maps_TOYX.shape[:2]
    height, width = seen_THWC.shape[1:3]
    most = max(float(np.abs(maps_TOYX).max()), 1e-9)
    figure, axes = plt.subplots(
        kept, pictures, figsize=(1.9 * pictures, 2.05 * kept), squeeze=False, layout="constrained"
    )
    for o in range(kept):
        for t in range(pictures):
            axis = axes[o, t]
            axis.imshow(seen_THWC[t].mean(axis=-1), cmap="gray", vmin=0, vmax=255)
            shown = axis.imshow(
                maps_TOYX[t, o],
                extent=(-0.5, width - 0.5, height - 0.5, -0.5),
                cmap="coolwarm",
                vmin=-most,
                vmax=most,
                alpha=0.55,
                interpolation="bilinear",
            )
            axis.set_title(str(classes_TO[t, o]), fontsize=8, color=INK)
            axis.axis("off")
    bar = figure.colorbar(shown, ax=axes, shrink=0.7, pad=0.02)
    bar.ax.tick_params(labelsize=7)
    figure.suptitle(f"where it looks: {label}", fontsize=9, color=INK)
    return png(figure)


def players(frames: np.ndarray, poses: np.ndarray) -> bytes:
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
    return png(figure)


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """One picture of a retrieval: a query, or a clip that it found."""

    picture_HWC: np.ndarray
    title: str
    mark: str = "query"
    """query; right: the query's own clip; class: another with its labels; wrong."""


def retrieved(rows: Sequence[Sequence[Found]], title: str) -> bytes:
    """Return the paper's Figure 4: a row for each query, what it found best first."""
    columns = max(len(row) for row in rows)
    height, width = rows[0][0].picture_HWC.shape[:2]
    figure, axes = plt.subplots(
        len(rows),
        columns,
        figsize=(1.7 * columns, 0.35 + (1.7 * height / width + 0.3) * len(rows)),
        squeeze=False,
        layout="constrained",
    )
    for axis in axes.flat:
        axis.axis("off")
    for row, own in zip(rows, axes, strict=True):
        for found, axis in zip(row, own, strict=False):
            _framed(axis, found)
    key = "green: its own clip; yellow: another of its classes; red: another"
    figure.suptitle(f"{title}\n{key}", fontsize=9, color=INK)
    return png(figure)


def _framed(axis: Axes, found: Found) -> None:
    axis.axis("on")
    axis.imshow(found.picture_HWC)
    _bare(axis)
    for spine in axis.spines.values():
        spine.set_color(MARKS[found.mark])
        spine.set_linewidth(3.0)
    axis.set_title(found.title, fontsize=7.5, color=MARKS[found.mark])


def _spectrogram(axis: Any, values: np.ndarray, title: str, cmap: str, most: float) -> None:
    shown = values.astype(np.float32)
    axis.imshow(shown, origin="lower", aspect="auto", cmap=cmap, vmin=0.0, vmax=most)
    axis.set_title(title, fontsize=8, color=INK)
    _bare(axis)


def _bare(axis: Axes) -> None:
    """Take the ticks off a picture."""
    axis.set_xticks([])
    axis.set_yticks([])
