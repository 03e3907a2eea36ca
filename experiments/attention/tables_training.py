"""The tables on training: quality as it goes on, what each placement costs, how far seeds lie apart."""

from __future__ import annotations

from typing import Any

import numpy as np

from experiments.attention.costs import PUBLISHED_PLACES
from experiments.attention.runs import RUNS, SIXTHS, Study
from experiments.attention.scores import Results
from medjax import report
from medjax.figures import series


def periodic(study: Study, results: Results) -> str:
    """Validation PSNR at every sixth of the training, as the paper compares every 25 of 150 epochs."""
    steps, _ = series(results.rows["baseline"][0], "psnr", "validation")
    if not len(steps):
        return ""
    epochs, last = study.scale.epochs, steps[-1]
    wanted = [round(last * k / SIXTHS) for k in range(1, SIXTHS + 1)]
    found = [int(np.argmin(np.abs(steps - w))) for w in dict.fromkeys(wanted)]
    found = list(dict.fromkeys(found))
    base = series(results.rows["baseline"][0], "psnr", "validation")[1]
    body = []
    for run in results.evaluations:
        values = series(results.rows[run][0], "psnr", "validation")[1]
        if len(values) != len(base):
            continue
        shown = [f"{values[i]:.2f}" + (f" ({values[i] - base[i]:+.2f})" if run != "baseline" else "") for i in found]
        body.append((RUNS[run].short, *shown))
    header = ("", *(f"epoch {epochs * steps[i] / last:.0f}" for i in found))
    caption = (
        f"Validation PSNR (dB) at every sixth of the training of {epochs} epochs, and in brackets the difference from"
        " pix2pix at the same epoch; the paper: attention 0.5 to 2.5 dB below at every 25 of 150. Seed 0, the same"
        " images throughout."
    )
    return report.table(header, body, caption=caption)


def placements(study: Study, costs: dict[str, Any], steps: int) -> str:
    """Parameters, operations and seconds added by each placement in the networks trained here."""
    base, body = costs["runs"]["baseline"], []
    for run, row in costs["runs"].items():
        ratios = np.array(row["seconds"]) / np.array(base["seconds"])
        body.append(
            (RUNS[run].label, row["places"], f"{row['parameters']:,}", f"{row['parameters'] - base['parameters']:+,}",
             f"{row['gflop'] / base['gflop'] - 1:+.1%}", f"{np.median(row['seconds']) * steps:.1f}", f"{np.median(ratios):.2f}",
             f"{row['logged_seconds'] * steps:.1f}")
        )  # fmt: skip
    header = (
        "",
        "attention at",
        "parameters",
        "added",
        "forward operations",
        "s per epoch, in rotation",
        "times pix2pix",
        "s per epoch, as logged",
    )
    caption = (
        f"Cost in this study's networks, {steps} steps an epoch. In rotation: median of single steps, each run taking"
        f" one in turn, {len(base['seconds'])} each. As logged: the median of the training itself, when runs followed"
        " one another and the machine may have had other work, so compare the former."
    )
    return report.table(header, body, caption=caption)


def published(costs: dict[str, Any]) -> str:
    """The same for the networks as published."""
    base = costs["published"][0]
    body = [
        (row["places"], f"{row['parameters'] / 1e6:.2f}M", f"{row['parameters'] - base['parameters']:+,}", f"{row['gflop']:.2f}",
         f"{row['gflop'] / base['gflop'] - 1:+.1%}")
        for row in costs["published"]
    ]  # fmt: skip
    caption = (
        "The published generator (256 pixels, 64 features, 1 channel) with one self-attention block on maps of side"
        f" {', '.join(map(str, PUBLISHED_PLACES))} in the encoder (the decoder's have the same channels): counted, not"
        " timed. The paper's place, a 1x1 map, is refused: it attends to nothing."
    )
    return report.table(("attention at", "parameters", "added", "forward GFLOP", "more"), body, caption=caption)


def seeds(study: Study, results: Results) -> str:
    """How far trainings that differ in the seed alone lie apart, beside the difference that attention makes."""
    if study.seeds < 2:
        return ""
    body = []
    base = np.array([e.scores["model"]["psnr"].mean() for e in results.evaluations["baseline"]])
    for run, evaluations in results.evaluations.items():
        means = np.array([e.scores["model"]["psnr"].mean() for e in evaluations])
        gap = means - base
        shown = "–" if run == "baseline" else f"{gap.mean():+.2f} ({gap.min():+.2f} to {gap.max():+.2f})"
        body.append(
            (
                RUNS[run].label,
                f"{means.mean():.2f}",
                f"{means.std(ddof=1):.2f}",
                f"{means.min():.2f}–{means.max():.2f}",
                shown,
                len(means),
            )
        )
    caption = (
        "Mean test PSNR (dB) of each training: mean, standard deviation and range over seeds, and the difference from"
        " pix2pix of the same seed."
    )
    return report.table(("", "mean", "std", "range", "minus pix2pix (range)", "seeds"), body, caption=caption)
