"""Figures of fine detail: one square of an image, enlarged pixel by pixel, as each method gives it.

Images are `[H, W]` or `[H, W, 1]` in [0, 1]; one of fewer pixels is shown enlarged by repetition, so that nothing is invented.
Where the square lies is decided on the reference alone, by `pictures.zoom_box`: where local contrast is largest.
"""

from __future__ import annotations

from collections.abc import Mapping

from matplotlib.figure import Figure

from medjax.figures.pictures import boxed, decibels, like, plane, show, zoom_box
from medjax.figures.style import WIDTH, styled
from medjax.types import Array

SHARE = 8  # the square's side in shares of the image's
LEAST = 16  # pixels


def detail_box(reference: Array) -> tuple[int, int, int]:
    """(top, left, side) of the square that `detail` shows: an eighth of the image wide, where local contrast is largest."""
    return zoom_box(reference, side=max(LEAST, min(plane(reference).shape) // SHARE))


@styled
def detail(examples: Mapping[str, Mapping[str, Array]], *, reference: str = "reference") -> Figure:
    """A row for each case {name: {label: image}}, all with the same labels in the same order, the reference among them.

    First the whole reference with the square, then the square of every image; under each the PSNR of the whole image.
    """
    labels = list(next(iter(examples.values())))
    ratio = max(plane(e[reference]).shape[0] / plane(e[reference]).shape[1] for e in examples.values())
    cell = WIDTH / (len(labels) + 1)
    figure = Figure(figsize=(WIDTH, (cell * max(ratio, 1) + 0.2) * len(examples) + 0.3))
    grid = figure.subplots(len(examples), len(labels) + 1, squeeze=False)
    for axes, label in zip(grid[0], (reference, *labels), strict=True):
        axes.set_title(label, loc="center")
    for row, (name, example) in zip(grid, examples.items(), strict=True):
        truth = plane(example[reference])
        top, left, side = detail_box(truth)
        show(row[0], truth)
        boxed(row[0], (top, left, side))
        row[0].set_ylabel(name)
        for axes, label in zip(row[1:], labels, strict=True):
            image = like(example[label], truth)
            show(axes, image[top : top + side, left : left + side], interpolation="nearest")
            if label != reference:
                axes.set_xlabel(f"{decibels(image, truth):.2f} dB", fontsize=7.5, labelpad=2)
    return figure


def told(shape: tuple[int, ...]) -> str:
    """How a caption says where the square lies."""
    side = max(LEAST, min(shape[:2]) // SHARE)
    return (
        f"The square, {side} pixels wide and shown pixel by pixel, lies where the reference has its largest local contrast "
        "(gradients summed over the square, capped at their 95th percentile, the outer eighth left out)"
    )


__all__ = ["detail", "detail_box", "told"]
