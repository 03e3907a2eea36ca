"""The figures of the study: HTML blocks, each with a caption that says what it shows and of how many. No image is chosen."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from experiments.unpaired.enhanced import Tested
from experiments.unpaired.judged import PLACED
from experiments.unpaired.runs import ARMS, LABELS, Study
from experiments.unpaired.tables import NAMES
from medjax import figures, report
from medjax.data.choice import spread
from medjax.figures.pictures import error_top, plane, show
from medjax.figures.style import BLUE, GREEN, ORANGE, PURPLE, SKY, WIDTH, YELLOW, styled
from medjax.metrics import lungs
from medjax.writers import read_metrics

SHOWN, WORST = 4, 4
COLUMNS = {"low": "input", "cyclegan": "CycleGAN", "led": "LED, one", "led_mean": "LED, mean"}
CHANGED = ("cyclegan", "regression", "led", "led_mean", "physical", "clahe")
COLOURS = {"low": ORANGE, "high": BLUE, "degraded": GREEN, "led": PURPLE}
WATCHED = ("psnr", "ssim", "loss", "g_loss", "balanced_accuracy", "auc")


def pictures(arm: str, test: Tested, rows: Mapping[str, np.ndarray], deviation: np.ndarray) -> list[str]:
    """Input, CycleGAN, LED, its uncertainty and the truth; then what every row changed."""
    chosen = spread(len(test.low), SHOWN)
    columns = {title: rows[row][chosen] for row, title in COLUMNS.items()}
    truth = None if test.truth is None else test.truth[chosen]
    caption = (
        f"{ARMS[arm]}: {len(chosen)} of {len(test.low)} test images, spread over them. Uncertainty: standard deviation over LED's"
        f" draws, at most {100 * _top(deviation[chosen]):.3g}% of the full range (yellow). Grey levels are shown as they are."
    )
    blocks = [report.figure(grid(columns, deviation[chosen], truth), caption)]
    changes = {NAMES[row]: rows[row][chosen] - rows["low"][chosen] for row in CHANGED if row in rows}
    top = error_top([np.abs(change) for change in changes.values()])
    caption = f"{ARMS[arm]}: output minus input of the same images, from {-top:g} (blue) to {top:g} (red) of the full range."
    return [*blocks, report.figure(differences(changes, top), caption)]


def worst(arm: str, test: Tested, rows: Mapping[str, np.ndarray], found: Mapping[str, Any]) -> str:
    """The test images whose anatomy LED moved most, with the lung fields of input and output."""
    places = found["worst"]["led"][:WORST]
    caption = (
        f"{ARMS[arm]}: the {len(places)} of {len(test.low)} test images with the lowest anatomy score under LED, the worst first."
        " Yellow: lung fields found in the input; blue: in the image shown. Chosen by the score alone."
    )
    return report.figure(contours({COLUMNS[row]: rows[row][places] for row in ("low", "cyclegan", "led")}), caption)


def degraded(arm: str, test: Tested, made: np.ndarray) -> str:
    """High-quality images and what the CycleGAN makes of them, for the pairs."""
    count, others = min(SHOWN, len(test.high), len(test.low)), "low quality\n(other patients)"
    chosen, beside = spread(len(test.high), count), spread(len(test.low), count)
    columns = {"high quality": test.high[chosen], "degraded by CycleGAN": made[chosen], others: test.low[beside]}
    caption = (
        f"{ARMS[arm]}: {len(chosen)} of {len(test.high)} high-quality test images and their learnt degradation, what the"
        " diffusion model learns from; lung fields in yellow (before) and blue. Bodies should not change."
    )
    return report.figure(contours(columns, apart=(others,)), caption)


def places(found: Mapping[str, Any]) -> str:
    """The pools and the generated one in the classifier's features."""
    apart = ", ".join(f"{PLACED[name]} {value:.2f}" for name, value in found["apart"].items() if name != "high")
    counts = ", ".join(f"{PLACED[name]} {len(own)}" for name, own in found["places"].items())
    caption = (
        f"Test images in the features of `{found['network']}` (before its head), first two principal components of all sets"
        f" together, {sum(found['explained']):.0%} of the variance; n: {counts}. Distance of a set's middle to that of high"
        f" quality, over all features in standard deviations of these: {apart}. What lies near is alike to this network,"
        " and no more."
    )
    return report.figure(scatter(found["places"], found["explained"]), caption)


def training(study: Study, arm: str, name: str) -> list[str]:
    """Losses and validation scores of a run."""
    rows, blocks = read_metrics(study.folder(arm, name)), []
    title = f"{ARMS[arm]}, {LABELS[name]}"
    panels = figures.training_panels(rows)
    if panels:
        blocks.append(report.figure(figures.curves(rows, panels), f"{title}: losses; dashed: validation."))
    checks = [row for row in rows if row["split"] == "validation"]
    watched = [metric for metric in WATCHED if any(metric in row for row in checks)][:3]
    if len(checks) > 1 and watched:
        blocks.append(report.figure(figures.quality_curves(rows, metrics=watched), f"{title}: validation images."))
    return blocks


def _top(deviation: np.ndarray) -> float:
    return max(float(np.percentile(deviation, 99.5)), 1e-6)


@styled
def grid(columns: Mapping[str, np.ndarray], deviation: np.ndarray, truth: np.ndarray | None) -> Figure:
    """A row for each image: `columns` {title: [n, H, W, 1]}, the deviation on a scale of its own from 0, the truth."""
    titles = [*columns, "uncertainty", *(["truth"] if truth is not None else [])]
    axes, figure = _axes(len(deviation), titles)
    for i, line in enumerate(axes):
        for cell, images in zip(line, columns.values(), strict=False):
            show(cell, plane(images[i]))
        show(line[len(columns)], plane(deviation[i]), cmap="viridis", vmin=0, vmax=_top(deviation))
        if truth is not None:
            show(line[-1], plane(truth[i]))
    return figure


@styled
def differences(changes: Mapping[str, np.ndarray], top: float) -> Figure:
    """A row for each image, a column for what each of `changes` {title: [n, H, W, 1]} added, on one symmetric scale."""
    titles = [title.replace(" on ", "\non ").replace(", ", ",\n") for title in changes]
    axes, figure = _axes(len(next(iter(changes.values()))), titles)
    for i, line in enumerate(axes):
        for cell, change in zip(line, changes.values(), strict=True):
            show(cell, plane(change[i]), cmap="RdBu_r", vmin=-top, vmax=top)
    return figure


@styled
def contours(columns: Mapping[str, np.ndarray], apart: Sequence[str] = ()) -> Figure:
    """A row for each image; on every column the lung fields of the first (yellow) and its own (blue), but not on `apart`."""
    axes, figure = _axes(len(next(iter(columns.values()))), list(columns))
    fields = {title: lungs.fields(images) for title, images in columns.items()}
    first = next(iter(fields.values()))
    for i, line in enumerate(axes):
        for cell, (title, images) in zip(line, columns.items(), strict=True):
            show(cell, plane(images[i]))
            drawn = () if title in apart else ((first[i], YELLOW), (fields[title][i], SKY))
            for field, colour in drawn if fields[title] is not first else ((first[i], YELLOW),):
                if field.any():
                    cell.contour(field, levels=[0.5], colors=[colour], linewidths=0.8)
    return figure


@styled
def scatter(found: Mapping[str, Sequence], explained: Sequence[float]) -> Figure:
    """{set: [n, 2]} as points, the middle of each as a cross."""
    figure = Figure(figsize=(WIDTH * 0.75, 3.6))
    axes = figure.subplots()
    for name, points in found.items():
        at = np.asarray(points, float)
        axes.scatter(*at.T, s=9, alpha=0.5, color=COLOURS[name], label=PLACED[name], linewidths=0)
        axes.scatter(*at.mean(0), s=70, marker="X", color=COLOURS[name], edgecolors="white", linewidths=0.8, zorder=3)
    axes.set(xlabel=f"first component ({explained[0]:.0%} of the variance)", ylabel=f"second ({explained[1]:.0%})")
    figure.legend(*axes.get_legend_handles_labels(), loc="outside upper left", ncols=2)
    return figure


def _axes(lines: int, titles: Sequence[str]) -> tuple[np.ndarray, Figure]:
    """Square axes for a grid of pictures, titles above."""
    side = min(WIDTH / len(titles), 1.6)
    figure = Figure(figsize=(side * len(titles), side * lines + 0.35))
    axes = figure.subplots(lines, len(titles), squeeze=False)
    for cell, title in zip(axes[0], titles, strict=True):
        cell.set_title(title, loc="center", fontsize=7.5)
    return axes, figure
