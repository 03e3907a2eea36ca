"""Figures of two runs or more on the same images: paired differences, agreement, scatter, critical difference.

Values are `[n]`, one per image or patient, paired by position. The style is that of `medjax.figures.style`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from medjax.figures.style import BLUE, GREY, ORANGE, WIDTH, digits, styled, unit
from medjax.types import Array

INK = "#222222"
SHORT = {"ms_ssim": "MS-SSIM", "psnr": "PSNR", "ssim": "SSIM", "mae": "MAE"}


def _finite(a: Array, b: Array) -> tuple[np.ndarray, np.ndarray]:
    a, b = np.asarray(a, float), np.asarray(b, float)
    good = np.isfinite(a) & np.isfinite(b)
    return a[good], b[good]


def _number(value: float, metric: str, *, sign: bool = False) -> str:
    return f"{value:{'+' if sign else ''}.{digits(metric)}f}".replace("-", "\N{MINUS SIGN}")


def _short(metric: str) -> str:
    """A metric's name without what its unit adds, where an axis has no room."""
    return SHORT.get(metric, metric.replace("_", " ")) + (" (dB)" if metric.startswith("psnr") else "")


def _scatter(axes: Axes, a: np.ndarray, b: np.ndarray, metric: str, labels: Sequence[str]) -> None:
    """Every image once: x in the second run, y in the first, one scale for both, the diagonal where they are equal."""
    low, high = float(min(a.min(), b.min())), float(max(a.max(), b.max()))
    room = 0.06 * (high - low or 1.0)
    ends = (low - room, high + room)
    axes.plot(ends, ends, color=INK, lw=0.9)
    axes.plot(b, a, "o", color=BLUE, ms=_size(len(a)), alpha=0.55, mec="none")
    axes.set(xlim=ends, ylim=ends, xlabel=f"{_short(metric)}, {labels[1]}", ylabel=f"{_short(metric)}, {labels[0]}")
    axes.set_box_aspect(1)
    axes.xaxis.set_major_locator(_few(metric))
    axes.yaxis.set_major_locator(_few(metric))
    share = np.mean(a > b)
    corner = dict(transform=axes.transAxes, fontsize=7.5, color=INK)
    axes.text(0.04, 0.96, f"{share:.0%} above", va="top", **corner)
    axes.text(0.97, 0.04, f"{np.mean(a < b):.0%} below", ha="right", va="bottom", **corner)


def _bland_altman(axes: Axes, a: np.ndarray, b: np.ndarray, metric: str, labels: Sequence[str] | None = None) -> None:
    """Difference over mean, the mean difference and the limits of agreement, 1.96 standard deviations away."""
    middle, difference = (a + b) / 2, a - b
    mean, spread = float(difference.mean()), float(difference.std(ddof=1)) if len(a) > 1 else 0.0
    axes.axhline(0, color=INK, lw=0.9)
    axes.plot(middle, difference, "o", color=BLUE, ms=_size(len(a)), alpha=0.55, mec="none")
    limits = [mean - 1.96 * spread, mean + 1.96 * spread]
    for value, style in ((mean, "-"), *((limit, "--") for limit in limits)):
        axes.axhline(value, color=ORANGE, lw=1.1, ls=style)
    edges = [*difference, 0.0, *limits]
    low, high = min(edges), max(edges)
    room = (high - low) or 1.0
    axes.set_ylim(low - 0.06 * room, high + 0.06 * room)
    told = [_number(value, metric, sign=True) for value in (mean, *limits)]
    axes.set_title(f"{told[0]}  ({told[1]}, {told[2]})", fontsize=8)
    axes.set_xlabel(f"mean of both, {_short(metric)}\nline: mean, dashed: 1.96 SD away")
    axes.set_ylabel("difference" if labels is None else f"{labels[0]} \N{MINUS SIGN} {labels[1]}")
    axes.xaxis.set_major_locator(_few(metric))


def _histogram(
    axes: Axes, difference: np.ndarray, metric: str, counted: str, interval: Sequence[float] | None, sign: int
) -> None:
    """Paired differences, better ones blue, zero an edge; the band is the 95% interval of the mean."""
    low, high = min(difference.min(), 0.0), max(difference.max(), 0.0)
    width = (high - low or 1.0) / max(6, min(30, round(2 * math.sqrt(len(difference)))))
    edges = np.arange(math.floor(low / width - 1e-9), math.ceil(high / width + 1e-9) + 1) * width
    better = sign * difference > 0
    for part, colour in ((better, BLUE), (sign * difference < 0, ORANGE)):
        axes.hist(difference[part], edges, color=colour, alpha=0.8)
    if not np.all(difference):
        axes.bar(0, np.sum(difference == 0), width / 2, color=GREY, alpha=0.8)
    if interval is not None:
        axes.axvspan(*interval, color=INK, alpha=0.18, lw=0)
    axes.axvline(0, color=INK, lw=0.9)
    axes.axvline(difference.mean(), color=INK, lw=1.2, ls="--")
    equal = f", {np.sum(difference == 0)} equal" if not np.all(difference) else ""
    axes.set_title(f"{better.sum()} better, {np.sum(sign * difference < 0)} worse{equal}", fontsize=8)
    note = "\ndashed: mean" + ", band: its 95%" * (interval is not None)
    axes.set_xlabel(f"difference in {_short(metric)}{note}")
    axes.set_ylabel(counted)
    axes.xaxis.set_major_locator(_few(metric))
    axes.yaxis.set_major_locator(MaxNLocator(4, integer=True))


def _few(metric: str) -> MaxNLocator:
    """Ticks whose numbers do not touch in a third of the width."""
    return MaxNLocator(4 if digits(metric) == 2 else 3)


def _brief(label: str, most: int) -> str:
    """The end of a name too long for its place: runs of one study differ there."""
    return label if len(label) <= most else "\N{HORIZONTAL ELLIPSIS}" + label[1 - most :]


def _size(count: int) -> float:
    return 4.0 if count <= 60 else 2.8 if count <= 400 else 1.8


@styled
def scatter(a: Array, b: Array, metric: str, *, labels: Sequence[str]) -> Figure:
    """One value per image in two runs, `a` over `b` `[n]`, with the diagonal. labels: the names of a and b."""
    figure = Figure(figsize=(WIDTH * 0.5, WIDTH * 0.5))
    _scatter(figure.subplots(), *_finite(a, b), metric, labels)
    return figure


@styled
def bland_altman(a: Array, b: Array, metric: str, *, labels: Sequence[str]) -> Figure:
    """The difference a - b over the mean of both (Bland and Altman 1986), with the limits of agreement."""
    figure = Figure(figsize=(WIDTH * 0.6, 2.8))
    _bland_altman(figure.subplots(), *_finite(a, b), metric, labels)
    return figure


@styled
def paired(
    runs: Mapping[str, Array],
    baseline: Array,
    metric: str,
    *,
    name: str,
    intervals: Mapping[str, Sequence[float] | None] | None = None,
    counted: str = "images",
    higher_is_better: bool = True,
) -> Figure:
    """A row for each of `runs` {label: `[n]`} against `baseline` `[n]`: scatter, Bland-Altman, histogram of differences.

    name: the baseline's; intervals: `{label: (low, high)}` of the mean difference; counted: what n counts.
    """
    figure = Figure(figsize=(WIDTH, 2.55 * len(runs) + 0.3))
    grid = figure.subplots(len(runs), 3, squeeze=False)
    for row, (label, values) in zip(grid, runs.items(), strict=True):
        a, b = _finite(values, baseline)
        labels = [_brief(each, 16) for each in (label, name)]
        _scatter(row[0], a, b, metric, labels)
        _bland_altman(row[1], a, b, metric)
        _histogram(row[2], a - b, metric, counted, (intervals or {}).get(label), 1 if higher_is_better else -1)
        row[0].set_title(f"{_brief(label, 13)} against {_brief(name, 13)}", fontsize=8)
    better = "higher" if higher_is_better else "lower"
    figure.suptitle(f"{unit(metric)}, {better} is better, n = {len(b)} {counted}", fontsize=8.5)
    return figure


def cliques(ranks: Sequence[float], reach: float) -> list[tuple[int, int]]:
    """(first, last) of each longest stretch of the sorted `ranks` whose ends are less than `reach` apart, two or more."""
    found: list[tuple[int, int]] = []
    for first in range(len(ranks)):
        last = max(i for i in range(first, len(ranks)) if i == first or ranks[i] - ranks[first] < reach)
        if last > first and (not found or last > found[-1][1]):
            found.append((first, last))
    return found


@styled
def critical_difference(tables: Mapping[str, Mapping[str, Any]], names: Sequence[str]) -> Figure:
    """Mean ranks on a line, the best at the left; a bar joins runs that do not differ (Demsar 2006, fig. 1).

    tables: `{title: result of hypothesis.friedman}`, a panel each; names: the runs, in the order of `mean_ranks`.
    """
    rows = math.ceil(len(names) / 2)
    height = 1.15 + 0.24 * rows + 0.1 * min(3, rows)
    figure = Figure(figsize=(WIDTH, height * len(tables)))
    for axes, (title, table) in zip(figure.subplots(len(tables), squeeze=False)[:, 0], tables.items(), strict=True):
        _ranks(axes, table, names)
        p = "p < 0.001" if table["p_value"] < 0.001 else f"p = {table['p_value']:.2g}"
        axes.set_title(f"{title}: n = {table['n']}, Friedman {p}")
    return figure


def _ranks(axes: Axes, table: Mapping[str, Any], names: Sequence[str]) -> None:
    order = np.argsort(table["mean_ranks"], kind="stable")
    ranks, labels = np.asarray(table["mean_ranks"])[order], [_brief(names[i], 26) for i in order]
    count, reach = len(ranks), table["critical_difference"]
    joined = cliques(ranks, reach)
    end, half, first_line = max(count, 1 + reach), math.ceil(count / 2), 0.55 + 0.3 * len(joined)
    beside = min(2.2, 0.55 + 0.065 * max(map(len, labels)))  # inches for names
    margin = (end - 1) * beside / (WIDTH - 2 * beside)
    pad = 0.06 * (end - 1)
    axes.set_axis_off()
    axes.plot([1, count], [0, 0], color=INK, lw=1)
    for rank in range(1, count + 1):
        axes.plot([rank, rank], [0, -0.18], color=INK, lw=1)
        axes.text(rank, -0.28, str(rank), ha="center", va="bottom", fontsize=8)
    for place, (rank, label) in enumerate(zip(ranks, labels, strict=True)):
        left = place < half
        y = first_line + 0.62 * (place if left else count - 1 - place)
        x = 1 - pad if left else count + pad
        axes.plot([rank, rank, x], [0, y, y], color=BLUE, lw=1)
        text = f"{label}  {rank:.2f}" if left else f"{rank:.2f}  {label}"
        axes.text(x - pad / 4 if left else x + pad / 4, y, text, ha="right" if left else "left", va="center", fontsize=8)
    for level, (first, last) in enumerate(joined):
        y, over = 0.28 + 0.3 * level, 0.01 * (end - 1)
        axes.plot([ranks[first] - over, ranks[last] + over], [y, y], color=INK, lw=3.2, solid_capstyle="butt")
    axes.plot([1, 1 + reach], [-1.15, -1.15], color=INK, lw=1.2, marker="|", ms=6)
    axes.text(1 + reach / 2, -1.28, f"critical difference {reach:.2f}", ha="center", va="bottom", fontsize=8)
    axes.set(ylim=(first_line + 0.62 * (half - 1) + 0.4, -1.9), xlim=(1 - pad - margin, end + pad + margin))
