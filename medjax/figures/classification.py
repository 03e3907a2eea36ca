"""Figures of a classifier's evaluation: who is taken for whom, ROC curves, and whether its confidence means what it says."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from medjax.figures.style import BLUE, GREY, NAMES, WIDTH, colour_of, styled


@styled
def confusion(counts: Sequence[Sequence[int]], classes: Sequence[str]) -> Figure:
    """Counts `[K, K]`, rows what is true, columns what was decided: shaded and labelled by the share of each row."""
    counts = np.asarray(counts)
    shares = counts / np.maximum(counts.sum(1, keepdims=True), 1)
    side = min(WIDTH, 1.6 + 0.75 * len(classes))
    figure = Figure(figsize=(side, side * 0.85))
    axes = figure.subplots()
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    for i, row in enumerate(counts):
        for j, count in enumerate(row):
            colour = "white" if shares[i, j] > 0.6 else "#222222"
            axes.text(j, i, f"{count}\n{shares[i, j]:.0%}", ha="center", va="center", fontsize=8, color=colour)
    axes.set_xticks(range(len(classes)), classes, rotation=30, ha="right", rotation_mode="anchor")
    axes.set_yticks(range(len(classes)), classes)
    axes.set(xlabel="decided", ylabel="true")
    axes.grid(visible=False)
    axes.spines[:].set_visible(False)
    return figure


@styled
def roc_curves(curves: Mapping[str, Mapping[str, tuple[np.ndarray, np.ndarray]]]) -> Figure:
    """A panel for each class: {class: {row: (positive bool [n], scores [n])}}, with the area under each curve.

    A class without positive or without negative images has no curve and is left out.
    """
    curves = {name: rows for name, rows in curves.items() if all(0 < p.sum() < len(p) for p, _ in rows.values())}
    columns = min(3, max(1, len(curves)))
    lines = max(1, -(-len(curves) // columns))
    figure = Figure(figsize=(WIDTH * max(columns, 1.6) / 3, 2.6 * lines))
    grid = figure.subplots(lines, columns, squeeze=False).ravel()
    for axes, (name, rows) in zip(grid, curves.items(), strict=False):
        axes.plot([0, 1], [0, 1], color=GREY, ls=":", lw=1)
        for row, (positive, scores) in rows.items():
            x, y = roc_points(positive, scores)
            axes.plot(x, y, color=colour_of(row, list(rows)), label=f"{NAMES.get(row, row)}: {np.trapezoid(y, x):.3f}")
        axes.set(title=name, xlabel="1 - specificity", ylabel="sensitivity", xlim=(-0.02, 1.02), ylim=(-0.02, 1.02), aspect=1)
        axes.legend(loc="lower right", title="area", fontsize=7.5)
    for axes in grid[len(curves) :]:
        axes.remove()
    return figure


def roc_points(positive: np.ndarray, scores: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """1 - specificity and sensitivity from (0, 0) to (1, 1), one point for each score that occurs."""
    positive, scores = np.asarray(positive, bool), np.asarray(scores, float)
    order = np.argsort(-scores, kind="stable")
    last = np.flatnonzero(np.r_[np.diff(scores[order]) != 0, True])  # equal scores are passed together
    hits = np.cumsum(positive[order])[last]
    return np.r_[0, (last + 1 - hits) / (~positive).sum()], np.r_[0, hits / positive.sum()]


@styled
def calibration(curve: Mapping[str, Sequence[Any]], ece: float | None) -> Figure:
    """How often decisions are right by the confidence they came with. curve: `count`, `confidence`, `accuracy` of bins, None
    where a bin is empty.
    """
    count = np.asarray(curve["count"])
    confidence, accuracy = (np.array([np.nan if v is None else v for v in curve[n]], float) for n in ("confidence", "accuracy"))
    edges = np.linspace(0, 1, len(count) + 1)
    figure = Figure(figsize=(WIDTH * 0.55, 3.6))
    top, below = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
    top.plot([0, 1], [0, 1], color=GREY, ls=":", lw=1, label="as confident as right")
    label = "model" if ece is None else f"model, mean distance {ece:.3f}"
    top.plot(confidence, accuracy, color=BLUE, marker="o", ms=4, label=label)
    top.set(ylabel="share that is right", xlim=(0, 1), ylim=(0, 1.02))
    top.legend(loc="upper left")
    below.bar(edges[:-1], count, width=np.diff(edges), align="edge", color=BLUE, alpha=0.6, lw=0)
    below.set(xlabel="confidence", ylabel="decisions")
    return figure
