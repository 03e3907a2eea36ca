"""Figures of a generator's evaluation: its images class by class beside real ones, and its nearest approaches to copies.

Images are `[H, W]` or `[H, W, 1]` in [0, 1], shown so: none is stretched to its own extremes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure

from medjax.figures.pictures import plane, show
from medjax.figures.style import BLUE, GREY, ORANGE, WIDTH, styled
from medjax.types import Array


@styled
def classes(rows: Mapping[str, Sequence[Array]]) -> Figure:
    """A row of images for each label {label: images}; rows may differ in length."""
    count = max(map(len, rows.values()))
    cell = (WIDTH - 0.8) / count
    figure = Figure(figsize=(WIDTH, (cell + 0.05) * len(rows) + 0.1))
    grid = figure.subplots(len(rows), count, squeeze=False)
    for line, (label, images) in zip(grid, rows.items(), strict=True):
        for axes, image in zip(line, images, strict=False):
            show(axes, plane(image))
        for axes in line[len(images) :]:
            axes.axis("off")
        line[0].set_ylabel(label, rotation=0, ha="right", va="center", fontsize=7.5)
    return figure


@styled
def nearest(pairs: Mapping[str, tuple[Sequence[Array], Sequence[Array], Sequence[float]]]) -> Figure:
    """For each label {label: (images, their nearest training images, distances)} two rows, an image above its neighbour."""
    count = max(len(images) for images, _, _ in pairs.values())
    cell = (WIDTH - 0.9) / count
    figure = Figure(figsize=(WIDTH, (2 * cell + 0.35) * len(pairs) + 0.1))
    grid = figure.subplots(2 * len(pairs), count, squeeze=False)
    for place, (label, (images, neighbours, distances)) in enumerate(pairs.items()):
        above, below = grid[2 * place], grid[2 * place + 1]
        for i, (image, neighbour, distance) in enumerate(zip(images, neighbours, distances, strict=True)):
            show(above[i], plane(image))
            above[i].set_title(f"{distance:.3f}", loc="center", fontsize=7.5)
            show(below[i], plane(neighbour))
        for axes in (*above[len(images) :], *below[len(images) :]):
            axes.axis("off")
        above[0].set_ylabel(label, rotation=0, ha="right", va="center", fontsize=7.5)
        below[0].set_ylabel("training", rotation=0, ha="right", va="center", fontsize=7.5)
    return figure


@styled
def distances(found: Mapping[str, np.ndarray]) -> Figure:
    """Histograms of the distances to the nearest training image, {"real" | "model": `[n]`}."""
    figure = Figure(figsize=(WIDTH * 0.62, 2.4))
    axes = figure.subplots()
    edges = np.histogram_bin_edges(np.concatenate(list(found.values())), bins=24)
    for row, told, colour in (("real", "held-out real images", GREY), ("model", "generated images", BLUE)):
        values = found[row]
        axes.hist(values, bins=edges, weights=np.full(len(values), 1 / len(values)), color=colour, alpha=0.55, lw=0, label=told)
        axes.axvline(np.median(values), color=colour, ls="--", lw=1)
    axes.set(xlabel="distance to the nearest training image", ylabel="share of the images")
    axes.legend(loc="best")
    return figure


@styled
def reliability(found: Mapping[str, Sequence], ece: float, threshold: float) -> Figure:
    """The share of real images by the probability the discriminator gave, real and generated ones weighted alike.

    found: `count`, `probability`, `real` of bins, None where one is empty.
    """
    count = np.asarray(found["count"])
    given, real = (np.array([np.nan if v is None else v for v in found[name]], float) for name in ("probability", "real"))
    edges = np.linspace(0, 1, len(count) + 1)
    figure = Figure(figsize=(WIDTH * 0.55, 3.6))
    top, below = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
    top.plot([0, 1], [0, 1], color=GREY, ls=":", lw=1, label="as sure as right")
    top.plot(given, real, color=BLUE, marker="o", ms=4, label=f"discriminator, mean distance {ece:.3f}")
    top.axvline(threshold, color=ORANGE, ls="--", lw=1, label=f"threshold {threshold:g}")
    top.set(ylabel="share that is real", xlim=(0, 1), ylim=(0, 1.02))
    top.legend(loc="upper left")
    below.bar(edges[:-1], count, width=np.diff(edges), align="edge", color=BLUE, alpha=0.6, lw=0)
    below.set(xlabel="probability of being real", ylabel="images")
    return figure
