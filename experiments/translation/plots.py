"""The figures of the study: HTML blocks, each with a caption that says what it shows and of how many."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from experiments.translation.runs import LEGS, RUNS, Study
from experiments.translation.scores import Results, by_subject
from medjax import figures, report
from medjax.build.data import Data
from medjax.figures import series
from medjax.figures.pictures import decibels, plane
from medjax.figures.style import WIDTH, styled

COLOURS = "viridis"  # perceptually uniform: equal steps of grey level look equally large
ORIENTATION = "Front is up and the patient's right is on the left."


def middle_slice(data: Data, results: Results, indices: list[int]) -> int:
    """The record number of the slice that stands for a subject: the nearest to 5 mm above the middle of the head."""
    position = lambda i: abs(float(data.source.records[i].extra["position_mm"]) - 5.0)  # noqa: E731
    return min((i for i in indices if i in results.images), key=position)


def median_subject(results: Results) -> str:
    """The test subject in the middle by the main run's score, so not picked by eye."""
    order = np.argsort(results.of("main", "psnr_inside"))
    return results.subjects[int(order[len(order) // 2])]


def of_subject(data: Data, results: Results, subject: str) -> int:
    """The record number of a subject's middle slice."""
    return middle_slice(data, results, [i for i in results.images if data.source.records[i].patient == subject])


def picture(axes: Axes, image: np.ndarray, **style: object) -> Any:
    """An image without axes, on the fixed range [0, 1]."""
    axes.set_xticks([])
    axes.set_yticks([])
    for spine in axes.spines.values():
        spine.set_visible(False)
    return axes.imshow(plane(image), **({"cmap": "gray", "vmin": 0, "vmax": 1} | style))


@styled
def sheet(columns: Mapping[str, np.ndarray], target: np.ndarray) -> Figure:
    """Pictures in grey and, below, in a perceptually uniform colour map, on one fixed range; PSNR under what is judged."""
    figure = Figure(figsize=(WIDTH, 2 * (WIDTH - 0.8) / len(columns) + 0.5))
    grid = figure.subplots(2, len(columns))
    for axes, (name, image) in zip(grid.T, columns.items(), strict=True):
        picture(axes[0], image)
        drawn = picture(axes[1], image, cmap=COLOURS)
        axes[0].set_title(name, loc="center")
        if name.startswith("generated"):
            axes[1].set_xlabel(f"{decibels(image, target):.2f} dB", fontsize=7.5, labelpad=2)
    bar = figure.colorbar(drawn, ax=list(grid.ravel()), shrink=0.6, aspect=20)
    bar.set_label("intensity")
    bar.outline.set_visible(False)
    return figure


def progress(study: Study, data: Data, results: Results) -> list[str]:
    """Figures 3 to 5: the paper's system at 1x, 6x and 10x of its schedule, on a subject it was not trained on."""
    subject = median_subject(results)
    i = of_subject(data, results, subject)
    source, target, _ = results.images[i]
    generated = {f"generated, {leg}": results.outputs[f"published {leg}"][i] for leg in LEGS}
    steps = {leg: study.scale.steps["published"] * tenths // 10 for leg, tenths in LEGS.items()}
    told = ", ".join(f"{leg} = {count:,} steps" for leg, count in steps.items())
    position = float(data.source.records[i].extra["position_mm"])
    caption = (
        f"Figures 3 to 5 remade ({told}): real T1, target T2 and what the published network makes of the T1, in grey and in a"
        f" perceptually uniform colour map of the same values (intensity 0 to 1, none stretched). `{subject}`, axial,"
        f" {position:+.0f} mm from the middle of the head: the median test subject, never trained on; the paper shows slices"
        " it trained on."
        f" {ORIENTATION} Whole-slice PSNR under each."
    )
    block = report.figure(sheet({"real T1": source, "target T2": target, **generated}, target), caption)
    return [block, _legs(study, results)]


def _legs(study: Study, results: Results) -> str:
    lines = {}
    steps = [study.scale.steps["published"] * tenths // 10 for tenths in LEGS.values()]
    for subject, values in zip(results.subjects, np.transpose([
        by_subject(e, "model", "psnr_inside")[0] for e in results.legs.values()
    ]), strict=True):  # fmt: skip
        lines[subject] = (steps, values)
    drawn = figures.paths(lines, ylabel="PSNR inside the head (dB)", xlabel="training step")
    return report.figure(drawn, "The same in figures: each test subject at 1x, 6x and 10x, one training.")


def cases(data: Data, results: Results, runs: tuple[str, ...]) -> list[str]:
    """The middle slice of the best, the median and the worst test subject, by the main run's score."""
    values = results.of("main", "psnr_inside")
    order = [results.subjects[int(i)] for i in np.argsort(values)[::-1]]
    chosen = dict(zip(("best", "median", "worst"), (order[0], order[len(order) // 2], order[-1]), strict=True))
    chosen = {name: subject for k, (name, subject) in enumerate(chosen.items()) if subject not in list(chosen.values())[:k]}
    shown = {}
    for name, subject in chosen.items():
        i = of_subject(data, results, subject)
        made = {RUNS[run].short: results.outputs[run][i] for run in (*[r for r in runs if r != "main"], "main")}
        shown[name] = {"T1": results.images[i][0], **made, "reference": results.images[i][1]}
    told = ", ".join(f"{name} `{subject}`" for name, subject in chosen.items())
    caption = (
        f"The middle slice of test subjects, by the score of {RUNS['main'].short}: {told}. The reference is the real T2."
        f" Whole-slice PSNR under each. {ORIENTATION}"
    )
    return [report.figure(figures.cases(shown), caption)]


def warm_up(results: Results, data: Data) -> str:
    """Digits: damaged, restored and true."""
    rows = [i for i in sorted(results.outputs["digits"])][:3]
    shown = {}
    for n, i in enumerate(rows):
        images = data.source.load(i)
        shown[f"digit {n + 1}"] = {
            "input": images["source"], "generated": results.outputs["digits"][i], "reference": images["target"]
        }  # fmt: skip
    caption = "The warm-up on the first test digits: a blurred and noisy digit, the U-Net's output, the digit. PSNR under each."
    return report.figure(figures.cases(shown), caption)


def training(results: Results, run: str) -> list[str]:
    """Losses of a run."""
    rows = results.rows[run][0]
    panels = figures.training_panels(rows)
    if not panels:
        return []
    caption = f"Losses of {RUNS[run].label}, seed 0, as logged (pale) and their running mean; dashed: validation."
    return [report.figure(figures.curves(rows, panels), caption)]


def together(study: Study, results: Results) -> str:
    """Validation PSNR inside the head of all runs on one pair of axes."""
    lines = {RUNS[run].short: series(results.rows[run][0], "psnr_inside", "validation") for run in study.compared}
    drawn = figures.paths({k: v for k, v in lines.items() if len(v[0])}, ylabel="validation PSNR inside (dB)")
    return report.figure(drawn, "Validation PSNR of the runs that share the volumes, seed 0, on the same slices.")
