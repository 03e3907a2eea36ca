"""The tables of the study's report: HTML blocks, every figure with n, its interval, and what it was paired with."""

from __future__ import annotations

from typing import Any

import numpy as np

from experiments import scoring
from experiments.attention import audit as inputs
from experiments.attention.elsewhere import Elsewhere
from experiments.attention.runs import ATTENTION, RUNS, Study
from experiments.attention.scores import Results
from medjax import report
from medjax.figures import NAMES
from medjax.metrics import hypothesis, statistics
from medjax.report.blocks import ARTEFACTS, cell, number, p_value

METRICS = {"psnr": "PSNR (dB)", "ssim": "SSIM", "ms_ssim": "MS-SSIM"}


def label(row: str) -> str:
    """A row's name in tables."""
    return RUNS[row].label if row in RUNS else NAMES.get(row, row)


def table_one(results: Results) -> str:
    """Table 1 of the paper, with the rows it left out."""
    rows, metrics = results.table(), METRICS | scoring.lpips_of(results.summaries["baseline"][0])
    body = [
        [name, *(cell(m, results.mean(row, m)) for m in metrics), results.mean(row, "psnr")["n"]]
        for row, name in rows.items()
    ]
    caption = (
        "Table 1 remade: mean over test images [95% bootstrap interval over images]. The classical denoisers were"
        " tuned on validation images. Higher is better, but of LPIPS."
    )
    return report.table(("", *metrics.values(), "n"), body, caption=caption, strong=[list(rows).index("baseline")])


def comparisons(results: Results) -> list[tuple[str, str]]:
    """What is compared with what: the runs with pix2pix, pix2pix with the best classical row and the input."""
    runs = [run for run in results.evaluations if run != "baseline"]
    best = results.best_classical()
    return [*((run, "baseline") for run in runs), ("baseline", best), ("l1_only", best), ("baseline", "input")]


def differences(results: Results) -> str:
    """The paper's row 'Improvement', as it should have been printed."""
    body, tests = [], []
    for run, other in comparisons(results):
        if run not in results.evaluations:
            continue
        psnr, ssim = (results.versus(run, other, m) for m in ("psnr", "ssim"))
        body.append(
            (f"{RUNS[run].short} minus {RUNS[other].short if other in RUNS else label(other)}", cell("psnr", psnr, sign=True),
             p_value(psnr["p_value"]), p_value(psnr["wilcoxon"]), f"{psnr['wins']:.0%}", cell("ssim", ssim, sign=True),
             p_value(ssim["p_value"]), psnr["n"])
        )  # fmt: skip
        tests.append(psnr["p_value"])
    body = [(*row[:3], p_value(float(p)), *row[3:]) for row, p in zip(body, hypothesis.holm(tests), strict=True)]
    caption = (
        "Paired differences, image by image: mean [95% interval], two-sided sign-flip test, the same corrected for the"
        " number of rows (Holm), and Wilcoxon's signed-rank test. They say whether these trained networks differ on such images,"
        " not whether another training"
        " would."
    )
    return report.table(("", "PSNR (dB)", "p", "p, Holm", "p, Wilcoxon", "higher on", "SSIM", "p", "n"), body, caption=caption)


def feature_tables(results: Results) -> list[str]:
    """Distances of every row's set of images to the references, over feature networks."""
    first = results.summaries["baseline"][0]
    rows = {label(row): (first, row) for row in ("input", *results.classical())}
    return scoring.over_features(rows | {RUNS[run].label: (found[0], "model") for run, found in results.summaries.items()})


def artefacts(results: Results) -> str:
    """Over-smoothing and checkerboards, section 4.8 of the paper in figures."""
    rows = ["input", results.best_classical(), *results.evaluations]
    body = [
        [label(row), *(number(m, results.mean(row, m)["mean"]) for m in ARTEFACTS), results.mean(row, "psnr")["n"]]
        for row in rows
    ]
    caption = (
        "Means over test images. Detail, edges and grids are ratios to the reference: 1 is right, detail or edges"
        " below 1 are over-smoothed, grids above 1 are checkerboards. Similarity is best at 1, deviation at 0. The"
        " input's detail is noise as well as anatomy."
    )
    return report.table(("", *ARTEFACTS.values(), "n"), body, caption=caption)


def other_hospital(found: Elsewhere) -> list[str]:
    """Scores on the other hospital's images, degraded by computer; then what happens to them as they come."""
    first = found.scored["baseline"].scores
    rows = {row: first[row] for row in first if row != "model"} | {
        run: e.scores["model"] for run, e in found.scored.items()
    }
    metrics = ("psnr", "ssim", "spectrum_ratio")
    body = [
        [label(row), *(cell(m, statistics.summary(values[m])) for m in metrics), len(values["psnr"])]
        for row, values in rows.items()
    ]
    caption = (
        "Degraded by computer as in training; denoisers tuned at the first hospital. Mean [95% interval over images]."
    )
    blocks = [report.table(("", "PSNR (dB)", "SSIM", "fine detail: power", "n"), body, caption=caption)]
    body = []
    for row, values in found.natural.items():
        parts = {name: statistics.summary(np.array(v)) for name, v in values.items()}
        change = {
            **parts["change"],
            "mean": 100 * parts["change"]["mean"],
            "ci95": [100 * e for e in parts["change"]["ci95"]],
        }
        body.append(
            (
                label(row),
                cell("psnr", change),
                *(cell("psnr", parts[k]) for k in ("noise", "detail", "edges")),
                parts["change"]["n"],
            )
        )
    caption = (
        "As they come, nothing degraded, no reference: what the output is to its input. Mean absolute change in"
        " percent of the full range; the rest are ratios (1: unchanged) of the noise estimated by wavelets, of the"
        " power of fine detail and of edges. None of these says better or worse: a ratio below 1 may be noise removed"
        " or anatomy lost."
    )
    blocks.append(report.table(("", "change (%)", "noise", "fine detail", "edges", "n"), body, caption=caption))
    blocks.append(by_unit(found))
    return blocks


def by_unit(found: Elsewhere) -> str:
    """Change by X-ray unit: portable films are noisier than those of fixed units."""
    units, change = np.array(found.units), {run: np.array(v["change"]) * 100 for run, v in found.natural.items()}
    rows = [run for run in ("baseline", "both") if run in change]
    body = []
    for unit in sorted(set(found.units)):
        here = units == unit
        body.append((f"…{unit[-12:]}", *(f"{change[run][here].mean():.2f}" for run in rows), int(here.sum())))
    caption = "Mean absolute change (%) by X-ray unit (end of the device's identifier), as they come."
    return report.table(("unit", *(RUNS[run].short for run in rows), "n"), body, caption=caption)


def hypotheses(audit: dict[str, Any]) -> str:
    """What the stated degradation gives, and everything tried to explain the paper's input row."""
    groups = {
        "stated chain or a slip in it": (*inputs.SLIPS, inputs.AT_NATIVE),
        "not in the chain": (*inputs.OTHERS, inputs.WRONG_PAIR, inputs.DENSE),
    }
    groups["denoised, for comparison"] = (inputs.NLM_STATED, inputs.NLM_NATIVE)
    body = [("the paper's input row", "", f"{inputs.PAPER_PSNR:.2f}", f"{inputs.PAPER_SSIM:.3f}", "")]
    for group, names in groups.items():
        for name in names:
            if name in audit["rows"]:
                row = audit["rows"][name]
                body.append(
                    (
                        name + (" **(matches)**" if inputs.near(row) else ""),
                        group,
                        f"{row['psnr']:.2f}",
                        f"{row['ssim']:.3f}",
                        row["n"],
                    )
                )
    caption = (
        f"Mean PSNR and SSIM of what could have been scored as 'Input (Degraded)', at {audit['size']} pixels. A match"
        " is within 1 dB and 0.05 of SSIM."
    )
    return report.table(("", "", "PSNR (dB)", "SSIM", "n"), body, caption=caption, strong=[0])


def facts(study: Study, results: Results, sizes: dict[str, int]) -> str:
    """What was run, in a few lines."""
    summary = results.summaries["baseline"][0]
    splits = ", ".join(f"{count} {name}" for name, count in sizes.items())
    rows = [
        ("scale", study.scale_name),
        ("images", f"{study.source}{'' if study.real else ' (simulated)'}: {splits}; by patient"),
        ("scored at", f"{summary['protocol']['resolution']} pixels, degraded at that size"),
        (
            "each run",
            (
                f"{study.scale.epochs} epochs, {summary['protocol']['checkpoint_step']:,} steps; the weights after the"
                " last are scored"
            ),
        ),
        ("seeds", study.seeds),
        ("runs", "; ".join(RUNS[run].label for run in results.evaluations)),
    ]
    return report.table(("", ""), rows)


def attention_differences(results: Results) -> list[tuple[str, dict[str, Any]]]:
    """(run, its paired PSNR difference from pix2pix) of every attention run, best first."""
    found = [(run, results.versus(run, "baseline", "psnr")) for run in results.evaluations if run in ATTENTION]
    return sorted(found, key=lambda pair: -pair[1]["mean"])
