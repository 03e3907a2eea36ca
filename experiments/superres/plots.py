"""The figures of the study: HTML blocks, each with a caption that says what it shows and of how many."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from experiments.superres import mixing
from experiments.superres.runs import RUNS, Opened, Study, heading, title
from experiments.superres.scores import Results, images
from experiments.superres.tables import cases_of, label, short
from medjax import baselines, figures, report
from medjax.figures import NAMES, series
from medjax.figures.detail import told
from medjax.figures.pictures import decibels

CURVES = {"psnr": "PSNR (dB)", "ssim": "SSIM", "ms_ssim": "MS-SSIM", "gms": "gradient similarity"}


def details(study: Study, opened: Opened, results: Results, pairs: str) -> list[str]:
    """Bicubic, the runs and the truth, whole and enlarged, of the best, the median and the worst image."""
    data, first = opened.data[pairs], results.first(pairs)
    numbers = {name: i for i, name in enumerate(data.source.names)}
    scored = [numbers[name] for name in results.evaluations[first][0].names]
    chosen = {case: scored[i] for case, i in cases_of(results, pairs).items()}
    found = images(study, data, first, list(chosen.values()))
    shown = {}
    for case, index in chosen.items():
        small, reference = found[index]
        made = {short(run): results.outputs[run][index] for run in opened.on(pairs)}
        shown[case] = {"bicubic": baselines.enlarge(small, factor=RUNS[first].factor), **made, "reference": reference}
    side = next(iter(found.values()))[1].shape
    names = ", ".join(f"{case} `{data.source.names[i]}`" for case, i in chosen.items())
    caption = (
        f"{heading(pairs)}: test images by the PSNR of the L1 phase, near-empty ones left out ({names}). {told(side)}."
        " PSNR: of the whole image. Grey levels are not stretched."
    )
    return [report.figure(figures.detail(shown), caption)]


def intervals(results: Results, pairs: str) -> str:
    """The table of one modality and scale as a picture."""
    rows = [row for row in results.rows_of(pairs) if row != "nearest"]
    points = {label(results, pairs, row): results.mean(pairs, row, "psnr") for row in rows}
    caption = f"{heading(pairs)}: PSNR as a picture, without nearest neighbour. Compare rows by the paired differences."
    return report.figure(figures.intervals(points, "psnr"), caption)


def interpolation(results: Results, pairs: str) -> list[str]:
    """PSNR against what looks at texture, from L1 to GAN."""
    points = {share: mixing.point(results, pairs, row) for share, row in mixing.curve(results, pairs).items()}
    db = [means["psnr"] for _, means in points.values()]
    key = next((k for k in next(iter(points.values()))[0] if k.partition("/")[0] in ("fd", "fid")), "")
    measures = {"gradient similarity": [means["gms"] for _, means in points.values()]}
    records = [found[key]["value"] for found, _ in points.values()] if key else [None]
    if None not in records:
        measures[f"distance of the sets, {key}"] = records
    shares, blocks = ", ".join(f"{share:g}" for share in points), []
    for name, values in measures.items():
        drawn = figures.paths({"from L1 (0) to GAN (1)": (db, values)}, ylabel=name, xlabel="PSNR (dB)")
        for share, x, y in zip(points, db, values, strict=True):
            drawn.axes[0].annotate(f"{share:g}", (x, y), textcoords="offset points", xytext=(4, 4), fontsize=7.5)
        better = "higher is better" if name == "gradient similarity" else "lower is better"
        caption = f"{heading(pairs)}: {name} ({better}) against PSNR at shares {shares} of the GAN's weights."
        blocks.append(report.figure(drawn, caption))
    return blocks


def together(results: Results) -> str:
    """Validation PSNR of every run."""
    lines = {
        f"{title(RUNS[run].pairs)}, {short(run)}": series(rows[0], "psnr", "validation") for run, rows in results.rows.items()
    }
    drawn = figures.paths({k: v for k, v in lines.items() if len(v[0])}, ylabel="validation PSNR (dB)")
    return report.figure(drawn, "Validation PSNR of all runs, seed 0. Lines of different images are not to be compared.")


def training(results: Results, run: str) -> list[str]:
    """Losses, then every metric and every distance at hand on images trained on and on validation images."""
    name, blocks = f"{title(RUNS[run].pairs)}, {RUNS[run].label}", []
    panels = figures.training_panels(results.rows[run][0])
    if panels:
        caption = (
            f"Losses of {name}, seed 0, on crops, as logged (pale) and their running mean; dashed: validation, whole images."
        )
        blocks.append(report.figure(figures.curves(results.rows[run][0], panels), caption))
    rows = results.curves[run][0]
    keys = [k for k in dict.fromkeys(k for row in rows for k in row) if k.partition("/")[0] in ("fd", "fid", "kid")]
    panels = {title_: {metric: ""} for metric, title_ in CURVES.items()} | {key: {key: ""} for key in keys}
    panels = {t: metrics for t, metrics in panels.items() if any(next(iter(metrics)) in row for row in rows)}
    if panels:
        drawn = figures.curves(rows, panels)
        caption = (
            f"{name[0].upper()}{name[1:]}: training and validation curves of each metric, on a few whole images of each split,"
            " the same ones each time. Distances over features are of sets so small that only their course can be read."
        )
        blocks.append(report.figure(drawn, caption))
    return blocks


def by_itself(study: Study, index: int, name: str) -> str:
    """One image by a network that saw nothing else, in detail."""
    with np.load(Path(study.workdir) / "alone" / str(index) / "outputs.npz") as arrays:
        names = {"bicubic": NAMES["bicubic"], "others": "trained on others", "itself": "on itself"}
        shown = {label_: arrays[row] for row, label_ in names.items()}
        reference = arrays["reference"]
    scores = ", ".join(f"{row} {decibels(image, reference):.2f} dB" for row, image in shown.items())
    caption = (
        f"`{name}` at x2: bicubic, a network trained on other patients, one trained on this image alone ({scores})."
        f" {told(reference.shape)}."
    )
    return report.figure(figures.detail({"x2": {**shown, "reference": reference}}), caption)
