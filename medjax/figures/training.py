"""Figures of a run's progress, from the rows of `metrics.jsonl` (see `medjax.writers`)."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from medjax.figures.style import BLUE, CYCLE, WIDTH, styled, unit

Lines = Mapping[str, tuple[Sequence[float], Sequence[float]]]  # {label: (x, y)}


def series(rows: Sequence[Mapping[str, Any]], name: str, split: str) -> tuple[np.ndarray, np.ndarray]:
    """(steps, values) of one metric of `read_metrics` rows; what is missing or not finite is left out."""
    pairs = [(row["step"], row[name]) for row in rows if row["split"] == split and name in row]
    pairs = [(s, v) for s, v in pairs if isinstance(v, (int, float)) and math.isfinite(v)]
    steps, values = zip(*pairs, strict=True) if pairs else ((), ())
    return np.array(steps), np.array(values, float)


def metric_names(rows: Sequence[Mapping[str, Any]], pattern: str = "", split: str | None = None) -> list[str]:
    """The names of metrics that match a regular expression, in order of appearance."""
    chosen = (row for row in rows if split in (None, row["split"]))
    names = dict.fromkeys(name for row in chosen for name in row if name not in ("step", "split", "time"))
    return [name for name in names if re.search(pattern, name)]


def _steps_axis(axes: Axes) -> None:
    axes.set_xlabel("training step")
    axes.xaxis.set_major_locator(MaxNLocator(5, integer=True, steps=[1, 2, 2.5, 5, 10]))
    axes.xaxis.set_major_formatter(lambda x, _: f"{x:,.0f}")


def smoothed(values: np.ndarray, window: int) -> np.ndarray:
    """The running mean over `window` values, shorter at the two ends; lags nothing."""
    if window < 2:
        return values
    kernel = np.ones(window)
    return np.convolve(values, kernel, "same") / np.convolve(np.ones(len(values)), kernel, "same")


@styled
def curves(rows: Sequence[Mapping[str, Any]], panels: Mapping[str, Mapping[str, str]]) -> Figure:
    """Curves over training. panels: {title: {metric: label}}; training as a line, validation dashed with points.

    Where more than 60 rows were logged, the training line is their running mean and the rows lie pale behind it.
    """
    columns = min(2, len(panels))
    figure = Figure(figsize=(WIDTH if columns == 2 else WIDTH * 0.75, 2.4 * -(-len(panels) // columns)))
    grid = figure.subplots(-(-len(panels) // columns), columns, squeeze=False).ravel()
    for axes, (title, metrics) in zip(grid, panels.items(), strict=False):
        axes.set_title(title)
        for colour, (name, label) in zip(CYCLE, metrics.items(), strict=False):
            steps, values = series(rows, name, "train")
            if len(steps):
                window = len(steps) // 30 if len(steps) > 60 else 1
                if window > 1:
                    axes.plot(steps, values, color=colour, alpha=0.2, lw=0.6)
                axes.plot(steps, smoothed(values, window), color=colour, label=f"{label}, training".lstrip(", "))
            steps, values = series(rows, name, "validation")
            if len(steps):
                style = dict(ls="--", marker="o", ms=3, lw=1.1, mfc="white")
                axes.plot(steps, values, color=colour, label=f"{label}, validation".lstrip(", "), **style)
        if "share" in title:
            axes.set_ylim(-0.02, 1.02)
        _steps_axis(axes)
        axes.legend()
    for axes in grid[len(panels) :]:
        axes.remove()
    return figure


def training_panels(rows: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, str]]:
    """The panels for `curves` that the logged names call for: the parts of G's loss, D's loss and accuracy."""
    wanted = {
        "Generator: adversarial loss": {"g_gan": ""},
        "Generator: reconstruction loss, as weighted": {"g_reconstruction": ""},
        "Generator: feature matching loss, as weighted": {"g_features": ""},
        "Discriminator: loss": {"d_loss": ""},
        "Discriminator: share judged rightly": {"d_real": "real images", "d_fake": "fakes"},
    }
    logged = set(metric_names(rows))
    panels = {title: {n: s for n, s in names.items() if n in logged} for title, names in wanted.items()}
    panels = {title: names for title, names in panels.items() if names}
    return panels or {n.replace("_", " ").removeprefix("g ").capitalize(): {n: ""} for n in metric_names(rows, "loss")}


@styled
def quality_curves(
    rows: Sequence[Mapping[str, Any]],
    *,
    metrics: Sequence[str] = ("psnr", "ssim"),
    references: Mapping[str, Mapping[str, float]] | None = None,
) -> Figure:
    """Validation quality over training. references: {label: {metric: value}}, level lines (input, best baseline)."""
    metrics = [m for m in metrics if len(series(rows, m, "validation")[0])]
    figure = Figure(figsize=(WIDTH, 2.6))
    for axes, metric in zip(figure.subplots(1, max(1, len(metrics)), squeeze=False)[0], metrics, strict=False):
        steps, values = series(rows, metric, "validation")
        axes.plot(steps, values, color=BLUE, marker="o", ms=3, label="model")
        for style, (label, levels) in zip(("--", ":", "-."), (references or {}).items(), strict=False):
            if metric in levels:
                axes.axhline(levels[metric], color="#444444", ls=style, lw=1, label=label)
        axes.set_ylabel(f"{unit(metric)}, validation mean")
        axes.legend(loc="best")
        _steps_axis(axes)
    return figure


@styled
def paths(lines: Lines, *, ylabel: str, xlabel: str = "training step") -> Figure:
    """Any lines {label: (x, y)} on one pair of axes: runs beside each other, gamma of each attention module."""
    figure = Figure(figsize=(WIDTH, 2.8))
    axes = figure.subplots()
    for i, (label, (x, y)) in enumerate(lines.items()):
        style = ("-", "--", ":")[i // len(CYCLE) % 3]
        axes.plot(x, y, label=label, ls=style, marker="o" if len(x) <= 40 else None, ms=3)
    axes.set(xlabel=xlabel, ylabel=ylabel)
    if xlabel == "training step":
        _steps_axis(axes)
    figure.legend(*axes.get_legend_handles_labels(), loc="outside upper left", ncols=2 if len(lines) < 9 else 3)
    return figure


def gamma_paths(rows: Sequence[Mapping[str, Any]]) -> Figure | None:
    """Gamma of each attention module over training (SAGAN eq. 3; at 0 it does nothing); None where none is logged."""
    names = metric_names(rows, "gamma", "train")
    lines = {name.removeprefix("gamma").strip("/_ ") or name: series(rows, name, "train") for name in names}
    if not lines:
        return None
    figure = paths(lines, ylabel="gamma (weight of attention)")
    figure.axes[0].axhline(0, color="#222222", lw=0.8)
    return figure
