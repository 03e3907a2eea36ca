"""The figures of the study: HTML blocks, each with a caption that says what it shows and of how many. No image is chosen."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from experiments.labelled import clahe, domain, threshold
from experiments.labelled.judged import Results
from experiments.labelled.runs import RUNS, Study
from experiments.superres.targets import bicubic, few_images
from medjax import figures, formats, report, synthetic
from medjax.build.data import Data
from medjax.data.augment import resize
from medjax.data.tables import read_table
from medjax.figures.detail import told as square
from medjax.figures.generation import classes as sheet
from medjax.figures.pictures import decibels

CLIP = 0.02  # of the published config's CLAHE, as far as the paper lets one guess it
FIRST = 4  # images of each class


def figure_one(data: Data, size: int) -> str:
    """Images as they are and under CLAHE, with what x4 bicubic scores on either."""
    images = few_images(data, size, FIRST)
    under = [clahe.equalised(image, CLIP) for image in images]
    rows = {"as they are": images, f"CLAHE,\nclip {CLIP:g}": under}
    scores = {
        name: [decibels(a, b) for a, b in zip(bicubic(made, clahe.FACTOR), made, strict=True)] for name, made in rows.items()
    }
    told = [", ".join(f"{v:.1f}" for v in values) for values in scores.values()]
    caption = (
        f"Figure 1 of the paper, redone: {len(images)} images spread over the data set, and the same under CLAHE. The paper"
        f" shows one image and states neither clip nor regions. PSNR of x4 bicubic (dB): {told[0]} as they are, {told[1]} under"
        " CLAHE. Grey levels are shown as they are, from 0 to 1."
    )
    return report.figure(sheet(rows), caption)


def figure_three(study: Study, data: Data, summary: Mapping[str, Any]) -> str:
    """Generated images above real ones, class by class, the first of each."""
    rows, folder = {}, threshold.folder(study, study.main, threshold.ENLARGED)
    table = read_table(folder / synthetic.TABLE, synthetic.COLUMNS)
    held = [int(i) for i in data.splits["test"]]
    for name in summary["classes"]:
        made = [row["Image Index"] for row in table if row["Finding Labels"] == name][:FIRST]
        rows[f"{name},\ngenerated"] = [formats.read(folder / file)[0] for file in made]
        real = [i for i in held if data.source.records[i].labels[0] == name][:FIRST]
        side = next(iter(rows.values()))[0].shape[0]
        rows[f"{name},\nreal"] = [resize(data.source.load(i)["target"], side) for i in real]
    judged = summary["classifier"]
    seen = {row: judged[row]["balanced_accuracy"]["mean"] for row in ("model", "real")}
    caption = (
        f"Figure 3 of the paper, redone: for each class the first {FIRST} generated images, enlarged by SRGAN, **above** the"
        " first held-out real ones. They are neither chosen nor filtered; the paper shows one of each, passed by a threshold,"
        " and tells both ways which row is real. The label is the one that was asked for: a classifier's balanced accuracy on"
        f" such images is {seen['model']:.2f}, on real ones {seen['real']:.2f}. **Generated images show no patient.**"
    )
    return report.figure(sheet({name: images for name, images in rows.items() if images}), caption)


def enlargements(study: Study) -> list[str]:
    """One real image reduced and enlarged, and generated ones enlarged, in detail."""
    with np.load(study.place / "gap.npz") as arrays:
        shown = {name: arrays[name] for name in arrays.files}
    examples = {
        f"real {i + 1}": {"bicubic": shown["real_bicubic"][i], "SRGAN": shown["real_sr"][i], "reference": shown["real"][i]}
        for i in range(min(2, len(shown["real"])))
    }
    caption = (
        f"Real held-out images, reduced and enlarged. {square(shown['real'][0].shape)}. PSNR: of the whole image. Grey levels"
        " are not stretched."
    )
    blocks = [report.figure(figures.detail(examples), caption)]
    rows = {domain.ROWS[row]: list(shown[row]) for row in ("generated_bicubic", "generated_sr", "real_sr", "real")}
    caption = (
        f"The first {len(shown['made'])} generated images enlarged, and real ones of the same classes reduced and enlarged, and"
        " as they are: what the distances of this section are of."
    )
    return [*blocks, report.figure(sheet({name.replace(", ", ",\n"): images for name, images in rows.items()}), caption)]


def training(results: Results, run: str) -> list[str]:
    """Losses and validation scores of a run."""
    rows, name, blocks = results.rows[run], RUNS[run].label, []
    panels = figures.training_panels(rows)
    if panels:
        caption = f"{name}: losses as logged (pale) and their running mean; dashed: validation."
        blocks.append(report.figure(figures.curves(rows, panels), caption))
    watched = {"generator": ("swd", "similarity", "d_real"), "classifier": ("balanced_accuracy", "auc", "accuracy")}
    metrics = watched.get(RUNS[run].kind, ("psnr", "ssim"))
    checks = [row for row in rows if row["split"] == "validation" and any(m in row for m in metrics)]
    if len(checks) > 1:
        caption = f"{name}: what the validation images said."
        blocks.append(report.figure(figures.quality_curves(rows, metrics=metrics), caption))
    return blocks
