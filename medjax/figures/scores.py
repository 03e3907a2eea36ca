"""Figures of an evaluation: how the images' scores spread, how rows differ, what a map of deviation is worth."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from medjax.figures.style import BLUE, GREEN, GREY, NAMES, ORANGE, WIDTH, colour_of, digits, styled, unit


@styled
def score_histograms(scores: Mapping[str, Sequence[float]], metric: str) -> Figure:
    """How the images' scores spread: {row: [n]}, one outline each over shared bins, the mean as a dashed line."""
    figure = Figure(figsize=(WIDTH * 0.75, 2.6))
    axes = figure.subplots()
    finite = {row: np.asarray(v, float)[np.isfinite(v)] for row, v in scores.items()}
    pooled = np.concatenate(list(finite.values()))
    bins = np.linspace(pooled.min(), pooled.max() + 1e-9, _bins(max(map(len, finite.values()))) + 1)
    for row, values in finite.items():
        colour = colour_of(row, list(scores))
        label = f"{NAMES.get(row, row)}: mean {values.mean():.{digits(metric)}f}"
        axes.hist(values, bins, histtype="stepfilled", color=colour, alpha=0.15)
        axes.hist(values, bins, histtype="step", color=colour, lw=1.2, label=label)
        axes.axvline(values.mean(), color=colour, lw=1, ls="--")
    axes.set(xlabel=unit(metric), ylabel="images")
    axes.yaxis.set_major_locator(MaxNLocator(5, integer=True))
    figure.legend(*axes.get_legend_handles_labels(), loc="outside right upper")
    return figure


@styled
def difference_histogram(
    differences: Sequence[float], metric: str, *, label: str, interval: Sequence[float] | None = None
) -> Figure:
    """Paired differences per image `[n]`, zero marked, the mean with its 95% interval. label: what minus what."""
    values = np.asarray(differences, float)
    values = values[np.isfinite(values)]
    figure = Figure(figsize=(WIDTH * 0.75, 2.5))
    axes = figure.subplots()
    low, high = min(values.min(), 0), max(values.max(), 0) + 1e-9
    width = (high - low) / _bins(len(values))
    # zero is an edge, so that no bar straddles it
    bins = np.arange(math.floor(low / width), math.ceil(high / width) + 1) * width
    axes.hist(
        values[values <= 0], bins, color=ORANGE, alpha=0.75, label=f"not better: {np.sum(values <= 0)} of {len(values)}"
    )
    axes.hist(values[values > 0], bins, color=BLUE, alpha=0.75, label=f"better: {np.sum(values > 0)} of {len(values)}")
    axes.axvline(0, color="#222222", lw=1)
    if interval is not None:
        axes.axvspan(*interval, color="#222222", alpha=0.15, lw=0, label="95% interval of the mean")
    axes.axvline(values.mean(), color="#222222", lw=1.2, ls="--", label=f"mean {values.mean():+.{digits(metric)}f}")
    axes.set(xlabel=f"difference in {unit(metric)}: {label}", ylabel="images")
    axes.xaxis.set_major_locator(MaxNLocator(5))
    axes.yaxis.set_major_locator(MaxNLocator(5, integer=True))
    figure.legend(*axes.get_legend_handles_labels(), loc="outside right upper")
    return figure


@styled
def intervals(table: Mapping[str, Mapping[str, Any]], metric: str) -> Figure:
    """Means as points with 95% intervals. table: {row: {"mean", "ci95": [low, high] or None}}, drawn top to bottom.

    A row so far from the others that it would flatten them lies outside the axis: an arrow and its value stand for it.
    """
    table = {row: cell for row, cell in table.items() if cell.get("mean") is not None}
    ends = {row: cell.get("ci95") or (cell["mean"], cell["mean"]) for row, cell in table.items()}
    low, high = _near([cell["mean"] for cell in table.values()], list(ends.values()))
    figure = Figure(figsize=(WIDTH * 0.75, 0.7 + 0.24 * len(table)))
    axes = figure.subplots()
    for y, (row, cell) in enumerate(table.items()):
        colour = BLUE if row == "model" else "#444444"
        text = f"{cell['mean']:.{digits(metric)}f}"
        style = dict(textcoords="offset points", va="center", fontsize=7.5, color=colour)
        if low <= cell["mean"] <= high:
            axes.plot(ends[row], [y, y], color=colour, lw=2, solid_capstyle="butt")
            axes.plot(cell["mean"], y, "o", color=colour, ms=4.5)
            axes.annotate(text, (ends[row][1], y), xytext=(5, 0), **style)
        else:
            left = cell["mean"] < low
            axes.plot(low if left else high, y, marker="<" if left else ">", color=colour, ms=4.5, clip_on=False)
            axes.annotate(text, (low if left else high, y), xytext=(6, 0) if left else (-32, 0), **style)
    axes.set_yticks(range(len(table)), [NAMES.get(row, row) for row in table])
    axes.set(xlim=(low, high), ylim=(len(table) - 0.4, -0.6), xlabel=f"{unit(metric)}, mean and 95% interval")
    axes.grid(axis="y", visible=False)
    return figure


def _near(means: Sequence[float], ends: Sequence[Sequence[float]]) -> tuple[float, float]:
    """The axis for `intervals`: the rows within four times the middle half's spread of it, and room for the numbers."""
    quarter, three = np.percentile(means, [25, 75])
    reach = 4 * max(three - quarter, 1e-3 * abs(three), 1e-9)
    kept = [end for mean, end in zip(means, ends, strict=True) if quarter - reach <= mean <= three + reach]
    low, high = min(end[0] for end in kept), max(end[1] for end in kept)
    room = max(high - low, 1e-6)
    return low - 0.08 * room, high + 0.15 * room


@styled
def sparsification_curve(result: Mapping[str, Sequence[float]]) -> Figure:
    """The mean error of what is left as the most uncertain pixels go. result: `fraction`, `curve`, `oracle`."""
    figure = Figure(figsize=(WIDTH * 0.75, 2.7))
    axes = figure.subplots()
    share = np.asarray(result["fraction"]) * 100
    axes.plot(share, result["curve"], color=BLUE, label="by the model's own deviation")
    axes.plot(share, result["oracle"], color=GREEN, ls="--", label="by the error itself (the best possible)")
    axes.axhline(1, color=GREY, ls=":", label="at random (a worthless map)")
    axes.set(xlabel="pixels left out, most uncertain first (%)", xlim=(0, 100))
    axes.set_ylabel("mean error of the rest,\nas a share of all")
    axes.set_ylim(0, max(1.1, 1.05 * max(result["curve"])))
    axes.legend(loc="lower left")
    return figure


def _bins(count: int) -> int:
    """How many bars show `count` values: twice the square root, 8 to 40."""
    return max(8, min(40, round(2 * math.sqrt(count))))
