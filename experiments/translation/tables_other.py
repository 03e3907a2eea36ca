"""The tables beside the scores: draws of dropout, neighbouring slices, lesions, misalignment, the warm-up, seeds."""

from __future__ import annotations

from typing import Any

import numpy as np

from experiments.translation import lesions, misalignment
from experiments.translation.runs import Study
from experiments.translation.scores import Results, by_subject
from experiments.translation.tables import bare, label, shown
from medjax import report
from medjax.metrics import statistics


def dropout(results: Results) -> list[str]:
    """Spread over draws of dropout."""
    d = results.draws
    body = [
        ("point estimate (dropout off)", f"{d['point']['psnr_inside']:.2f}", f"{d['point']['ssim_inside']:.4f}"),
        (f"single draws, mean of {len(d['draws'])}", f"{np.mean(d['draws']):.2f}", f"{np.mean(d['ssim']):.4f}"),
        ("standard deviation between draws", f"{np.std(d['draws'], ddof=1):.3f}", f"{np.std(d['ssim'], ddof=1):.5f}"),
    ]
    told = (
        f"The published network, whose only noise is dropout, on {d['n']} held-out slices: PSNR and SSIM inside the head. Within"
        f" a pixel the draws differ by {100 * d['pixel_std']:.2f}% of the full range (standard deviation), outputs for different"
        f" slices by {100 * d['between_inputs']:.1f}%; rank correlation of the former with the error {d['rank_correlation']:.2f}."
        " The residual network has no dropout: all its draws are its point estimate."
    )
    return [report.text(told), report.table(("", "PSNR (dB)", "SSIM"), body)]


def consistency(results: Results) -> str:
    """How the synthetic volume changes from slice to slice."""
    body = [("the real T2", "1", "0")]
    for row, found in results.changes.items():
        cells = [np.array([entry[k] for entry in found.values()], float) for k in ("change_ratio", "error_change")]
        body.append((label(row), *(f"{np.nanmean(c):.3f}" for c in cells)))
    caption = (
        "Neighbouring slices inside the head, mean over held-out subjects. Change: mean absolute difference of neighbours, as a"
        " multiple of the real T2's (1 is right, below 1 too smooth, above 1 flicker). Change of the error: the same of output"
        " minus target (0: neighbours err alike; what exceeds the map of intensity is the network's own flicker)."
    )
    return report.table(("", "change", "change of the error"), body, caption=caption)


def lesion_table(found: dict[str, Any]) -> str:
    """Lesions kept or lost, by row."""
    body = []
    for row, shares in found["rows"].items():
        cells = []
        for kind in lesions.KINDS:
            n = len(shares[kind])
            cells += [f"{lesions.kept_of(shares[kind])} of {n}", f"{np.median(shares[kind]):.2f}" if n else "–"]
        body.append((label(row), *cells))
    caption = (
        f"Lesions of {found['heads']} simulated head{'s' * (found['heads'] > 1)} that no run saw. Veiled lesions have white"
        " matter's T1, so that nothing in the T1-weighted image shows them: whatever a network paints there it cannot know."
    )
    header = ("", "seen in T1: kept", "median share of contrast", "veiled: kept", "median share of contrast")
    return report.table(header, body, caption=caption)


def misaligned(found: dict[str, Any]) -> str:
    """The cost of misalignment at a few distances, beside the audit's."""
    curves = {m: misalignment.curve(found, m) for m in misalignment.METRICS}
    soft = misalignment.curve({"subjects": found["blurred"]}, "psnr")
    body = []
    for mm in (1, 2, 4, 8, 14, 16):
        if mm in curves["psnr"]:
            audit = f"{misalignment.AUDIT[mm]:.1f}" if mm in misalignment.AUDIT else "–"
            cells = [bare(m, curves[m][mm]) for m in misalignment.METRICS]
            body.append((f"{mm} mm along the slice axis", *cells, f"{soft[mm]['mean']:.1f}", audit, curves["psnr"][mm]["n"]))
    names = {"planes": "axial beside sagittal, by the paper's indices", "neighbour": "another subject, same position"}
    for part, name in names.items():
        cells = [bare(m, misalignment.mean_of(found, part, m)) for m in misalignment.METRICS]
        audit = "{:.1f} / {:.2f}".format(*misalignment.AUDIT_PLANES) if part == "planes" else "–"
        body.append((name, *cells, "–", audit, misalignment.mean_of(found, part, "psnr")["n"]))
    caption = (
        "The true T2 scored against itself: what a perfect network would score on such pairs. Mean [95% interval over subjects]."
        f" Blurred: the same volumes smoothed to {misalignment.TEMPLATE_FWHM:g} mm (full width at half maximum). Audit: PSNR,"
        " or PSNR / SSIM, of an earlier look at the paper with SPM's average T2 (avg152T2)."
    )
    header = ("", "PSNR whole (dB)", "SSIM whole", "PSNR inside (dB)", "SSIM inside", "blurred: PSNR", "audit", "n")
    return report.table(header, body, caption=caption)



def digits(results: Results) -> str:
    """The warm-up."""
    scored, names = results.evaluations["digits"][0].scores, {"model": "U-Net, pix2pix", "input": "the damaged digit"}
    body = [
        [names.get(row) or label(row).replace("of T1", "of grey level"),
         *(shown(m, statistics.summary(values[m])) for m in ("psnr", "ssim")), len(values["psnr"])]
        for row, values in scored.items()
    ]  # fmt: skip
    caption = "The warm-up: digits drawn by this program, blurred and noisy, and restored. Mean over test digits [95% interval]."
    return report.table(("", "PSNR (dB)", "SSIM", "n"), body, caption=caption, strong=[len(body) - 1])


def seeds(study: Study, results: Results) -> str:
    """How far trainings that differ in the seed alone lie apart."""
    if study.seeds < 2:
        return ""
    body = []
    for run in study.compared:
        means = np.array([by_subject(e, "model", "psnr_inside")[0].mean() for e in results.evaluations[run]])
        spread = f"{means.std(ddof=1):.2f}", f"{means.min():.2f}–{means.max():.2f}"
        body.append((label(run), f"{means.mean():.2f}", *spread, len(means)))
    caption = "Mean PSNR inside the head (dB) of each training: mean, standard deviation and range over seeds."
    return report.table(("", "mean", "std", "range", "seeds"), body, caption=caption)
