"""The tables of scores: HTML blocks, every figure with n, its interval, and what it was paired with."""

from __future__ import annotations

from typing import Any

import numpy as np

from experiments import scoring
from experiments.superres import mixing
from experiments.superres.runs import MODALITIES, RUNS, Opened, Study, heading, title
from experiments.superres.scores import CLASSICAL, MIXED, RANDOM, Results, by_patient, share_of
from medjax import report
from medjax.figures import NAMES
from medjax.metrics import hypothesis, statistics
from medjax.report.blocks import ARTEFACTS, cell, number, p_value

METRICS = {"psnr": "PSNR (dB)", "ssim": "SSIM", "ms_ssim": "MS-SSIM", "gms": "gradient similarity"}
OVER_RANDOM = "distance over random features"
FEW = 6  # below so many patients no sign-flip test can reach p = 0.05
CASES = ("best", "median", "worst")


def label(results: Results, pairs: str, row: str) -> str:
    """A row's name in the table of its images."""
    if row == MIXED:
        return f"interpolated, {share_of(results.mixed[results.gan(pairs)]):g} of GAN"
    return RUNS[row].label if row in RUNS else NAMES.get(row, row)


def short(row: str) -> str:
    """A row's name in narrow columns."""
    return RUNS[row].short if row in RUNS else NAMES.get(row, row)


def metrics_of(results: Results, pairs: str) -> dict[str, str]:
    """{metric: its title}: the protocol's, the LPIPS whose weights are at hand, and the one that always is."""
    published = scoring.lpips_of(results.summaries[results.first(pairs)][0])
    return METRICS | published | {RANDOM: OVER_RANDOM}


def bare(metric: str, entry: dict[str, Any]) -> str:
    """PSNR and SSIM with their intervals, other means alone, so that a table fits the page."""
    return cell(metric, entry) if metric in ("psnr", "ssim") else number(metric, entry["mean"])


def counted(results: Results, pairs: str) -> str:
    """`12 images of 3 patients`, or `24 images` of as many patients."""
    evaluation = results.evaluations[results.first(pairs)][0]
    images, patients = len(evaluation.names), len(set(evaluation.columns["patient"]))
    told = f"{images} image{'s' * (images > 1)}"
    return told if images == patients else f"{told} of {patients} patient{'s' * (patients > 1)}"


def table_one(results: Results, pairs: str) -> str:
    """The paper's table for one modality and scale, with the rows it left out."""
    rows = results.rows_of(pairs)
    metrics = metrics_of(results, pairs)
    body = [[label(results, pairs, r), *(bare(m, results.mean(pairs, r, m)) for m in metrics)] for r in rows]
    protocol = results.summaries[results.first(pairs)][0]["protocol"]
    unit = "first over each patient's images, then over patients" if "patient" in counted(results, pairs) else "over images"
    caption = (
        f"{heading(pairs)}: {protocol['scale'].partition(': ')[2]}, {counted(results, pairs)} held out. Means {unit} [95%"
        " bootstrap interval]. The last column is lower the better (of the form of LPIPS, over an AlexNet that nobody trained,"
        " every channel alike), the others higher."
    )
    return report.table(("", *metrics.values()), body, caption=caption, strong=[len(CLASSICAL)])


def compared(results: Results, pairs: str) -> list[tuple[str, str]]:
    """What is compared with what: every run with bicubic, L1 with Lanczos, the second phase and its mixture with the first."""
    runs, gan = [row for row in results.rows_of(pairs) if row not in CLASSICAL], results.gan(pairs)
    found = [(row, "bicubic") for row in runs] + [(results.first(pairs), "lanczos")]
    if gan:
        found += [(row, RUNS[gan].after) for row in runs if row in (gan, MIXED)]
    return found + ([("light", results.first(pairs))] if "light" in runs else [])


def differences(results: Results, pairs: str) -> str:
    """Paired differences, with p-values corrected for their number."""
    body, tests = [], []
    for row, other in compared(results, pairs):
        psnr, ssim, gms = (results.versus(pairs, row, other, m) for m in ("psnr", "ssim", "gms"))
        body.append(
            (f"{short(row)} minus {short(other)}", cell("psnr", psnr, sign=True), p_value(psnr["p_value"]),
             p_value(psnr["wilcoxon"]), f"{psnr['wins']:.0%}", cell("ssim", ssim, sign=True),
             number("gms", gms["mean"], sign=True), psnr["n"])
        )  # fmt: skip
        tests.append(psnr["p_value"])
    body = [(*row[:3], p_value(float(p)), *row[3:]) for row, p in zip(body, hypothesis.holm(tests), strict=True)]
    n = len(results.of(pairs, "bicubic", "psnr"))
    caption = (
        f"{heading(pairs)}: paired differences, patient by patient: mean [95% interval], two-sided sign-flip test, the"
        " same corrected for the number of rows (Holm), and Wilcoxon's signed-rank test."
    )
    if n < FEW:
        caption += f" With {n} patient{'s' * (n > 1)} the smallest p there can be is {min(1.0, 2.0 ** (1 - n)):.2g}."
    header = ("", "PSNR (dB)", "p", "p, Holm", "p, Wilcoxon", "higher on", "SSIM", "gradient similarity", "n")
    return report.table(header, body, caption=caption)


def cases_of(results: Results, pairs: str) -> dict[str, int]:
    """{"best", "median", "worst": place among the test images} by the PSNR of the L1 phase, so not picked by eye.

    Images with less than half the contrast of the median one are passed over: a slice of air has the best PSNR and shows nothing.
    """
    first = results.first(pairs)
    contrast = np.array([image.std() for image in results.outputs[first].values()])
    shown = np.flatnonzero(contrast >= np.median(contrast) / 2)
    values = results.evaluations[first][0].scores["model"]["psnr"][shown]
    order = shown[np.argsort(values)[::-1]]
    chosen = dict(zip(CASES, (int(order[0]), int(order[len(order) // 2]), int(order[-1])), strict=True))
    return {name: i for k, (name, i) in enumerate(chosen.items()) if i not in list(chosen.values())[:k]}


def image_by_image(results: Results, pairs: str) -> str:
    """The paper's table of single images, of those that stand for the rest."""
    rows = [row for row in results.rows_of(pairs) if row not in ("nearest", "bilinear")]
    body = []
    for case, i in cases_of(results, pairs).items():
        for metric in ("psnr", "ssim"):
            parts = (results.evaluation(pairs, row) for row in rows)
            values = [number(metric, float(e.scores[name][metric][i])) for e, name in parts]
            first = f"{case}: `{results.evaluations[results.first(pairs)][0].names[i]}`" if metric == "psnr" else ""
            body.append((first, {"psnr": "PSNR (dB)", "ssim": "SSIM"}[metric], *values))
    caption = (
        f"{heading(pairs)}: single images by the PSNR of the L1 phase, near-empty ones left out. All of them, by every row:"
        " `images.csv`."
    )
    return report.table(("", "", *map(short, rows)), body, caption=caption)


def features(results: Results, pairs: str) -> list[str]:
    """Distances of every row's set of images to the references, over the feature networks at hand."""
    first = results.summaries[results.first(pairs)][0]
    # What is absent is so for all images, and told once.
    absent = first.get("features_absent", ()) if pairs == RUNS[next(iter(results.evaluations))].pairs else ()
    rows = {
        label(results, pairs, row): ({"features": {"": results.record(pairs, row)}, "features_absent": absent}, "")
        for row in results.rows_of(pairs)
    }
    told = f"**{heading(pairs)}**, {counted(results, pairs)}."
    if "patient" in told:
        told += " Images of one patient are much alike: n counts images, and intervals are narrower than they ought to be."
    return [report.text(told), *scoring.over_features(rows)]


def artefacts(results: Results, pairs: str) -> str:
    """Sharpness and grids of every row."""
    rows = [row for row in results.rows_of(pairs) if row != "nearest"]
    body = [[label(results, pairs, r), *(number(m, results.mean(pairs, r, m)["mean"]) for m in ARTEFACTS)] for r in rows]
    caption = (
        f"{heading(pairs)}: means. Detail, edges and grids are ratios to the reference: 1 is right, detail or edges"
        " below 1 are over-smoothed, above 1 invented; grids above 1 are checkerboards. Similarity is best at 1, deviation at 0."
    )
    return report.table(("", *ARTEFACTS.values()), body, caption=caption)


def interpolation(results: Results, pairs: str) -> str:
    """The curve of network interpolation in figures."""
    body, keys, metrics = [], [], metrics_of(results, pairs)
    for share, found in mixing.curve(results, pairs).items():
        records, means = mixing.point(results, pairs, found)
        keys = keys or [key for key in records if key.partition("/")[0] in ("fd", "fid", "kid")]
        distances = ["–" if records[key]["value"] is None else f"{records[key]['value']:.3g}" for key in keys]
        body.append((f"{share:g}", *(number(m, means[m]) for m in metrics), *distances))
    caption = f"{heading(pairs)}: the generator's weights between L1 (0) and GAN (1); means over patients, n as above."
    return report.table(("share of GAN", *metrics.values(), *keys), body, caption=caption)


def optimism(results: Results) -> str:
    """Images that were trained on beside held-out ones: what the paper's curve of accuracy should have shown."""
    body = []
    for run in results.trained:
        pairs = RUNS[run].pairs
        seen, held_out = gap(results, run)
        easier = by_patient(results.trained[results.first(pairs)], "bicubic", "psnr").mean()
        easier -= results.mean(pairs, "bicubic", "psnr")["mean"]
        body.append((f"{title(pairs)}, {RUNS[run].label}", cell("psnr", seen), seen["n"], cell("psnr", held_out), held_out["n"],
                     f"{seen['mean'] - held_out['mean']:+.2f}", f"{easier:+.2f}"))  # fmt: skip
    caption = (
        "PSNR (dB) on images that were trained on and on images that were not. Bicubic has nothing to learn by heart: its gap"
        " is how much easier the training images happen to be."
    )
    return report.table(("", "trained on", "patients", "held out", "patients", "gap", "gap of bicubic"), body, caption=caption)


def gap(results: Results, run: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """PSNR on training images and on test images."""
    seen = statistics.summary(by_patient(results.trained[run], "model", "psnr"))
    return seen, results.mean(RUNS[run].pairs, run, "psnr")


def absent(opened: Opened) -> list[str]:
    """What is not there, and why."""
    return [report.text(f"No {MODALITIES[m]}: {why}.".replace("..", ".")) for m, why in opened.absent.items()]


def seeds(study: Study, results: Results) -> str:
    """How far trainings that differ in the seed alone lie apart."""
    if study.seeds < 2:
        return ""
    body = []
    for run, found in results.evaluations.items():
        means = np.array([by_patient(e, "model", "psnr").mean() for e in found])
        spread = f"{means.std(ddof=1):.2f}", f"{means.min():.2f}–{means.max():.2f}"
        body.append((f"{title(RUNS[run].pairs)}, {RUNS[run].label}", f"{means.mean():.2f}", *spread, len(means)))
    caption = "Mean PSNR (dB) of each training: mean, standard deviation and range over seeds."
    return report.table(("", "mean", "std", "range", "seeds"), body, caption=caption)
