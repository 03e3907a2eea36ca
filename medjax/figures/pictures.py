"""Figures of images: grey on a fixed range, errors on one shared, perceptually uniform scale, zooms no result can pick.

Images are `[H, W]` or `[H, W, 1]` in [0, 1] and shown so: 0 black, 1 white, never stretched to their own extremes; one of
fewer pixels than the reference is shown, and judged, with every pixel repeated. The style is that of `medjax.figures.style`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from matplotlib.patches import Rectangle

from medjax.figures.style import WIDTH, YELLOW, styled
from medjax.types import Array

ERROR_MAP = "inferno"


def plane(image: Array) -> np.ndarray:
    """`[H, W]` float32 of an image `[H, W, 1]`."""
    image = np.asarray(image, np.float32)
    return image[..., 0] if image.ndim == 3 else image


def like(image: Array, reference: Array) -> np.ndarray:
    """`[H, W]` of an image `[h, w]` whose size divides that of `reference`, every pixel repeated."""
    image, wanted = plane(image), plane(reference).shape
    if image.shape == wanted:
        return image
    factors = wanted[0] // image.shape[0], wanted[1] // image.shape[1]
    return image.repeat(factors[0], axis=0).repeat(factors[1], axis=1)


def decibels(image: Array, target: Array) -> float:
    """PSNR (dB) with data range 1; infinite for equal images."""
    error = float(np.mean((plane(image).astype(np.float64) - plane(target)) ** 2))
    return math.inf if error == 0 else -10 * math.log10(error)


def zoom_box(target: Array, *, side: int | None = None) -> tuple[int, int, int]:
    """(top, left, side) of the square of the reference richest in detail, a quarter of the image wide by default.

    Chosen from the reference alone, so that no result can pick its best corner; gradients are capped at their 95th
    percentile, so that a burnt-in letter does not win, and the outer eighth is left out.
    """
    image = plane(target)
    height, width = image.shape
    side = min(side or max(8, min(height, width) // 4), height, width)
    slope = np.hypot(*np.gradient(image))
    total = np.pad(np.minimum(slope, np.percentile(slope, 95)), ((1, 0), (1, 0))).cumsum(0).cumsum(1)
    detail = total[side:, side:] - total[:-side, side:] - total[side:, :-side] + total[:-side, :-side]
    y, x = (min(n // 8, (n - side) // 2) for n in (height, width))
    inner = detail[y : detail.shape[0] - y, x : detail.shape[1] - x]
    top, left = np.unravel_index(np.argmax(inner), inner.shape)
    return int(top + y), int(left + x), side


def error_top(errors: Sequence[np.ndarray]) -> float:
    """The end of a shared error scale: the 99.5th percentile of all, rounded up to a plain number."""
    top = float(np.percentile(np.concatenate([e.ravel() for e in errors]), 99.5))
    return next((t for t in (0.01, 0.02, 0.05, 0.1, 0.2, 0.3, 0.5) if t >= top), 1.0)


def show(axes: Axes, image: np.ndarray, **style: object) -> AxesImage:
    """`[H, W]` in [0, 1] as a picture without ticks; style: other options of `imshow`."""
    axes.set_xticks([])
    axes.set_yticks([])
    for spine in axes.spines.values():
        spine.set_visible(False)
    return axes.imshow(image, **({"cmap": "gray", "vmin": 0, "vmax": 1} | style))


def boxed(axes: Axes, box: tuple[int, int, int]) -> None:
    """Draws the frame of (top, left, side)."""
    top, left, side = box
    axes.add_patch(Rectangle((left - 0.5, top - 0.5), side, side, fill=False, ec=YELLOW, lw=1.0))


@styled
def comparison(
    images: Mapping[str, Array], target: Array, *, target_label: str = "reference", title: str = ""
) -> Figure:
    """Side by side: each of `images` {label: image} and the reference; below, a zoom of each and its absolute error.

    Every image carries its PSNR; the square is the zoom; errors share one scale, in percent of the full range.
    """
    reference = plane(target)
    shown = {label: like(image, reference) for label, image in images.items()}
    errors = {label: np.abs(image - reference) for label, image in shown.items()}
    scale, box = Normalize(0, 100 * error_top(list(errors.values()))), zoom_box(reference)
    crop = np.s_[box[0] : box[0] + box[2], box[1] : box[1] + box[2]]
    count, ratio = len(shown) + 1, reference.shape[0] / reference.shape[1]
    cell = (WIDTH - 0.3) / count
    figure = Figure(figsize=(WIDTH, cell * (1 + 2 * ratio) + 0.75 + 0.25 * bool(title)))
    grid = figure.subplots(3, count, height_ratios=[ratio, 1, ratio])
    drawn = None
    for column, (label, image) in enumerate({**shown, target_label: reference}.items()):
        show(grid[0, column], image)
        boxed(grid[0, column], box)
        quality = f"\n{decibels(image, reference):.2f} dB" if label in errors else "\n"
        grid[0, column].set_title(label + quality, loc="center")
        show(grid[1, column], image[crop])
        if label in errors:
            drawn = show(grid[2, column], errors[label] * 100, cmap=ERROR_MAP, norm=scale, vmin=None, vmax=None)
    for axes, name in zip(grid[:, 0], ("whole", "zoom", "absolute error"), strict=True):
        axes.set_ylabel(name)
    grid[2, -1].axis("off")
    _error_bar(figure, grid[2, -1], drawn)
    if title:
        figure.suptitle(title, fontsize=9)
    return figure


def _error_bar(figure: Figure, axes: Axes, drawn: AxesImage) -> None:
    """The colour bar, in the empty corner under the reference."""
    inset = axes.inset_axes((0.12, 0.05, 0.1, 0.9))
    bar = figure.colorbar(drawn, cax=inset, extend="max")
    bar.set_label("absolute error\n(% of full range)")
    bar.outline.set_visible(False)


@styled
def cases(examples: Mapping[str, Mapping[str, Array]], *, reference: str = "reference") -> Figure:
    """A row for each case {name: {label: image}} (best, median, worst), all with the same labels in the same order.

    The last column is the absolute error of the image before the reference, on one scale for all rows.
    """
    labels = list(next(iter(examples.values())))
    judged = [label for label in labels if label != reference][-1]
    errors = {name: np.abs(plane(e[judged]) - plane(e[reference])) for name, e in examples.items()}
    scale = Normalize(0, 100 * error_top(list(errors.values())))
    ratio = max(plane(e[reference]).shape[0] / plane(e[reference]).shape[1] for e in examples.values())
    cell = (WIDTH - 0.9) / (len(labels) + 1)
    figure = Figure(figsize=(WIDTH, (cell * ratio + 0.22) * len(examples) + 0.25))
    grid = figure.subplots(len(examples), len(labels) + 1, squeeze=False)
    drawn = None
    for axes, label in zip(grid[0], labels, strict=False):
        axes.set_title(label, loc="center")
    for row, (name, example) in zip(grid, examples.items(), strict=True):
        for axes, label in zip(row, labels, strict=False):
            image = like(example[label], example[reference])
            show(axes, image)
            if label != reference:
                axes.set_xlabel(f"{decibels(image, example[reference]):.2f} dB", fontsize=7.5, labelpad=2)
        row[0].set_ylabel(name)
        drawn = show(row[-1], errors[name] * 100, cmap=ERROR_MAP, norm=scale, vmin=None, vmax=None)
    grid[0, -1].set_title(f"error of {judged}", loc="center")
    bar = figure.colorbar(drawn, ax=list(grid[:, -1]), extend="max", shrink=0.8, aspect=30)
    bar.set_label("absolute error (% of full range)")
    bar.outline.set_visible(False)
    return figure


@styled
def maps(
    image: Array, overlays: Mapping[str, Array], *, unit: str = "", label: str = "image", colours: str = "viridis"
) -> Figure:
    """An image beside maps of it {label: `[h, w]`} (deviation, attention), all on one scale that starts at 0."""
    count = len(overlays) + 1
    image = plane(image)
    cell = (WIDTH - 0.8) / max(count, 3)
    figure = Figure(figsize=(cell * count + 0.8, cell * image.shape[0] / image.shape[1] + 0.35))
    grid = figure.subplots(1, count)
    show(grid[0], image)
    grid[0].set_title(label, loc="center")
    top = max(float(np.percentile(plane(m), 99.5)) for m in overlays.values()) or 1.0
    extent = (-0.5, image.shape[1] - 0.5, image.shape[0] - 0.5, -0.5)
    drawn = None
    for axes, (name, overlay) in zip(grid[1:], overlays.items(), strict=True):
        drawn = show(axes, plane(overlay), cmap=colours, vmax=top, extent=extent)
        axes.set_title(name, loc="center")
    bar = figure.colorbar(drawn, ax=list(grid), extend="max", shrink=0.8)
    bar.set_label(unit)
    bar.outline.set_visible(False)
    return figure
