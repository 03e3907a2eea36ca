"""The figures of volumes: three planes, the cost of misalignment, what the paper put side by side, lesions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from experiments.translation import lesions, misalignment
from experiments.translation.plots import ORIENTATION, picture
from experiments.translation.runs import Study
from experiments.translation.scores import Results, images_of
from medjax import report
from medjax.build.data import Data
from medjax.data.phantom.mri_source import lesion_numbers, lesions_of
from medjax.figures.pictures import ERROR_MAP, decibels, error_top
from medjax.figures.style import BLUE, GREY, ORANGE, WIDTH, styled


@styled
def three_planes(views: Mapping[str, Mapping[str, np.ndarray]]) -> Figure:
    """Rows: planes; columns: T1, true and synthetic T2, and the absolute error on one scale."""
    errors = {name: np.abs(view["synthetic T2"] - view["true T2"]) for name, view in views.items()}
    top = 100 * error_top(list(errors.values()))
    labels = list(next(iter(views.values())))
    figure = Figure(figsize=(WIDTH, len(views) * (WIDTH - 0.6) / (len(labels) + 1) + 0.4))
    grid = figure.subplots(len(views), len(labels) + 1, squeeze=False)
    for row, (name, view) in zip(grid, views.items(), strict=True):
        for axes, (label, image) in zip(row, view.items(), strict=False):
            picture(axes, image)
            axes.set_title(label if name == next(iter(views)) else "", loc="center")
        row[0].set_ylabel(name)
        drawn = picture(row[-1], errors[name] * 100, cmap=ERROR_MAP, vmin=0, vmax=top)
    grid[0, -1].set_title("absolute error", loc="center")
    bar = figure.colorbar(drawn, ax=list(grid[:, -1]), extend="max", shrink=0.7, aspect=30)
    bar.set_label("% of full range")
    bar.outline.set_visible(False)
    return figure


@styled
def misalignment_curves(found: Mapping[str, Any], levels: Mapping[str, float]) -> Figure:
    """PSNR and SSIM of the true T2 by its distance from the target; the audit's figures as crosses, levels as lines."""
    figure = Figure(figsize=(WIDTH, 2.9))
    left, right = figure.subplots(1, 2)
    for axes, names, label in ((left, ("psnr", "psnr_inside"), "PSNR (dB)"), (right, ("ssim", "ssim_inside"), "SSIM")):
        for metric, colour in zip(names, (BLUE, ORANGE), strict=True):
            rows = misalignment.curve(found, metric)
            mm, mean = list(rows), [row["mean"] for row in rows.values()]
            axes.plot(mm, mean, color=colour, marker="o", ms=3, label="inside the head" if "inside" in metric else "whole slice")
            ends = [row["ci95"] or (row["mean"], row["mean"]) for row in rows.values()]
            axes.fill_between(mm, *np.transpose(ends), color=colour, alpha=0.2, lw=0) if mm else None
        axes.set(xlabel="distance along the slice axis (mm)", ylabel=label, xlim=(0, 17))
    blurred = misalignment.curve({"subjects": found["blurred"]}, "psnr")
    left.plot(list(blurred), [r["mean"] for r in blurred.values()], color=GREY, ls=":", label="whole slice, volume blurred")
    left.plot(*zip(*misalignment.AUDIT.items(), strict=True), "x", color="#222222", ms=6, label="average template (audit)")
    for (name, level), style in zip(levels.items(), ("--", "-."), strict=False):
        left.axhline(level, color="#444444", ls=style, lw=1, label=name)
    figure.legend(*left.get_legend_handles_labels(), loc="outside upper center", ncols=3)
    return figure


def side_by_side(study: Study) -> list[str]:
    """What the paper's pairing puts beside each other: the T1's plane and the T2's, of one subject."""
    (name, axial), (_, sagittal) = (next(misalignment.slabs(study, plane)) for plane in ("axial", "sagittal"))
    middle = (misalignment.FIRST + misalignment.LAST) // 2
    at = {
        "axial": int(misalignment.share_of(middle, misalignment.T2_SLICES) * len(axial["position"])),
        "sagittal": int(misalignment.share_of(middle, misalignment.T1_SLICES) * len(sagittal["position"])),
    }
    predicted, target = sagittal["target"][at["sagittal"]], axial["target"][at["axial"]]
    shift = int(np.argmin(np.abs(axial["position"] - axial["position"][at["axial"]] + 4)))
    lower = axial["target"][shift]
    shown = {"the target, axial": target, "the same head, sagittal": predicted, "the target's plane, 4 mm lower": lower}
    caption = (
        f"`{name}`: slice {middle} by the paper's rule, as shares of the head's extent. Left what would be the target, in the"
        " middle what a perfect network would make of the T1 that lies beside it, right the true T2 a little lower; the decibels"
        " are those of a network that errs nowhere."
    )
    return [report.figure(_row(shown, target), caption)]


@styled
def _row(images: Mapping[str, np.ndarray], target: np.ndarray) -> Figure:
    figure = Figure(figsize=(WIDTH, WIDTH / len(images) + 0.4))
    for axes, (name, image) in zip(figure.subplots(1, len(images)), images.items(), strict=True):
        picture(axes, image)
        axes.set_title(name, loc="center")
        axes.set_xlabel("" if image is target else f"{decibels(image, target):.2f} dB", fontsize=7.5, labelpad=2)
    return figure


def lesion_pictures(study: Study, data: Data, results: Results, found: Mapping[str, Any]) -> list[str]:
    """A slice of each of three simulated heads, with the lesions outlined."""
    if not found["shown"]:
        return []
    run = study.on_phantoms
    images, records = images_of(study, run, data), data.source.records
    rows = {}
    for head, i in list(found["shown"].items())[:3]:
        source, target, _ = images[i]
        visible = {lesion.number: lesion.visible for lesion in lesions_of(records[i])}
        rows[head] = (source, target, results.outputs[run][i], lesion_numbers(records[i]), visible)
    caption = (
        "The slice that cuts the largest lesion of each simulated head. Outlines in the true T2: blue, lesions that the T1 shows;"
        f" orange, veiled ones that it does not. The synthetic T2 has no outlines, to be judged by eye. {ORIENTATION}"
    )
    return [report.figure(_lesions(rows), caption)]


@styled
def _lesions(rows: Mapping[str, tuple]) -> Figure:
    figure = Figure(figsize=(WIDTH, len(rows) * WIDTH / 3 + 0.3))
    grid = figure.subplots(len(rows), 3, squeeze=False)
    for axes, (source, target, output, numbers, visible) in zip(grid, rows.values(), strict=True):
        for place, image in zip(axes, (source, target, output), strict=True):
            picture(place, image)
        for number in np.unique(numbers[numbers > 0]):
            colour = BLUE if visible[int(number)] else ORANGE
            axes[1].contour(numbers == number, levels=[0.5], colors=[colour], linewidths=0.8)
    for axes, name in zip(grid[0], ("T1", "true T2", "synthetic T2"), strict=True):
        axes.set_title(name, loc="center")
    return figure


def curves(found: Mapping[str, Any], levels: Mapping[str, float]) -> str:
    """The cost of misalignment as a block."""
    caption = (
        "A perfect predictor, misplaced: the true T2 scored against itself some millimetres along the slice axis. Bands: 95%"
        f" interval over {len(found['subjects'])} subjects. Dotted: the same volumes blurred to {misalignment.TEMPLATE_FWHM:g}"
        " mm, as soft as an average of many heads; crosses: an audit's figures on such an average (SPM's avg152T2). Horizontal"
        " lines: scores of this study, whole slice, on pairs that do lie on each other."
    )
    return report.figure(misalignment_curves(found, levels), caption)


def lesion_rule() -> str:
    """The rule in a sentence."""
    return (
        f"A lesion counts as kept if its mean less the median of the white matter within {lesions.REACH} pixels and slices of it"
        f" is, in the synthetic T2, at least {lesions.KEPT:g} of what it is in the true one."
    )
