"""The tables beside the scores: other modalities, targets, resamplers, where bicubic lies, speed, one image by itself, runs."""

from __future__ import annotations

from typing import Any

import numpy as np

from experiments.superres import speed, targets
from experiments.superres.alone import ROWS
from experiments.superres.runs import MODALITIES, RUNS, Opened, Study, describe, title
from experiments.superres.scores import Results
from medjax import report
from medjax.figures import NAMES
from medjax.metrics import statistics
from medjax.report.blocks import cell

TARGETS_AUDIT = {
    targets.PLAIN: 33.9,
    "median, then Gaussian": 38.5,
}  # dB, of an earlier look at the paper, other NIH images at 256
CLAHE_AUDIT = 27.5
SPLITS = ("train", "validation", "test")


def facts(study: Study, opened: Opened) -> str:
    """What was trained, on how many images, in a few lines."""
    rows = [("scale", study.scale_name), ("seeds", study.seeds)]
    for run in opened.runs:
        data, known = opened.of(run), describe(study, run)
        sizes = ", ".join(f"{name} {len(data.splits[name])} ({_patients(data, name)})" for name in SPLITS)
        told = (
            f"{known['generator']}, {known['parameters']:,} parameters; {known['steps']:,} steps of {known['batch']};"
            f" `{data.source.kind}`, images (patients): {sizes}"
        )
        rows.append((f"{title(RUNS[run].pairs)}, {RUNS[run].label}", told))
    return report.table(("", ""), rows)


def _patients(data: Any, split: str) -> int:
    return len({data.source.records[int(i)].patient for i in data.splits[split]})


def other_modalities(found: dict[str, Any]) -> str:
    """Trained on one, tested on another."""
    names = list(found)
    body = []
    for run, tested in found.items():
        cells = [cell("psnr", tested[other]["psnr"], sign=True) for other in names]
        body.append((f"trained on {MODALITIES[RUNS[run].modality]}", *cells))
    body.append(("L1 of its own, PSNR", *(f"{found[other][other]['psnr_mean']['mean']:.2f}" for other in names)))
    body.append(("patients", *(found[other][other]["psnr"]["n"] for other in names)))
    caption = (
        "L1 phases at x4: PSNR (dB) over bicubic, paired by patient [95% interval], on the held-out images of each modality. The"
        " diagonal is the modality trained on. Below 0: worse than interpolation."
    )
    header = ("", *(f"on {MODALITIES[RUNS[other].modality]}" for other in names))
    return report.table(header, body, caption=caption)


def _row(name: str, row: dict[str, Any], plain: dict[str, Any], audit: str) -> tuple:
    change = f"{row['psnr'] - plain['psnr']:+.2f}"
    return name, f"{row['psnr']:.2f}", change, f"{row['psnr_min']:.2f}–{row['psnr_max']:.2f}", f"{row['ssim']:.4f}", audit


def of_targets(found: dict[str, Any]) -> str:
    """What filtering and equalising the target does to one and the same interpolation."""
    rows = found["targets"]
    plain = rows[targets.PLAIN]
    equalised = {name: abs(row["psnr"] - CLAHE_AUDIT) for name, row in rows.items() if name.startswith("CLAHE")}
    audits = TARGETS_AUDIT | {min(equalised, key=equalised.get): CLAHE_AUDIT}
    body = [_row(name, row, plain, f"{audits[name]:.1f}" if name in audits else "–") for name, row in rows.items()]
    caption = (
        f"x4 bicubic (Pillow) of {plain['n']} X-rays at {found['sizes']['cxr']} pixels against their own targets. Audit: of an"
        " earlier look at the paper, on other NIH images whose originals had 1024 pixels; its CLAHE's clip is not known and"
        " stands beside the nearest."
    )
    header = ("targets", "PSNR (dB)", "change", "range", "SSIM", "audit (dB)")
    return report.table(header, body, caption=caption, strong=[0])


def of_resamplers(found: dict[str, Any]) -> str:
    """The same interpolation by two libraries."""
    rows = found["resamplers"]
    plain = next(iter(rows.values()))
    low, high = targets.spread_of(rows)
    caption = (
        f"x4 'bicubic' of the same {plain['n']} X-rays: Pillow's kernel has a = -0.5 and is widened where it shrinks;"
        " scikit-image's order 3 is a cubic B-spline, after a Gaussian where it shrinks. The four antialiased pairs span"
        f" {high - low:.2f} dB. All else in this report is Pillow's in float32."
    )
    body = [_row(name, row, plain, "")[:-1] for name, row in rows.items()]
    return report.table(("", "PSNR (dB)", "change", "range", "SSIM"), body, caption=caption, strong=[0])


def placing(found: dict[str, Any]) -> str:
    """Where the paper's five figures lie among bicubic rows."""
    mean, deviation, similarity = targets.paper_mean()
    body = [("the paper's five images", "–", f"{mean:.2f} ± {deviation:.2f}", "24.86–28.61", f"{similarity:.3f}", 5)]
    for name, rows in found["placing"].items():
        for factor, row in rows.items():
            ends = f"{row['psnr_min']:.2f}–{row['psnr_max']:.2f}"
            body.append((f"bicubic, {MODALITIES[name]} at {found['sizes'][name]}", f"x{factor}",
                         f"{row['psnr']:.2f} ± {row['psnr_std']:.2f}", ends, f"{row['ssim']:.3f}", row["n"]))  # fmt: skip
    caption = (
        "The paper states neither modality nor scale. PSNR is mean ± standard deviation over images, and range. Whatever the"
        " images were, these are the figures of interpolation alone, with no network."
    )
    return report.table(("", "scale", "PSNR (dB)", "range", "SSIM", "n"), body, caption=caption, strong=[0])


def speeds(found: dict[str, Any], results: Results) -> str:
    """Milliseconds a frame, beside what each generator is worth."""
    pairs, body = "cxr_x2", []
    for row, entry in found["rows"].items():
        ms = speed.milliseconds(found, row)
        scored = row in (*results.rows_of(pairs),) if pairs in {RUNS[r].pairs for r in results.evaluations} else False
        psnr = cell("psnr", results.mean(pairs, row, "psnr")) if scored else "not trained at this scale"
        name = {speed.PUBLISHED: "RRDB as published", speed.BICUBIC: "bicubic (Pillow)"}.get(row) or RUNS[row].label
        body.append((name, f"{entry['parameters']:,}", f"{entry['gflop']:.1f}", f"{ms:.1f}", f"{1000 / ms:.1f}", psnr))
    rounds = len(found["rows"][speed.PUBLISHED]["ms"])
    side = found["frame"]
    caption = (
        f"One frame of {side} x {side} to {2 * side} x {2 * side} pixels on {found['device']}, {found['threads']} cores: the"
        f" median of {rounds} rounds in rotation. GFLOP: XLA's count of one frame. PSNR at x2 on held-out X-rays [95%"
        " interval]."
    )
    header = ("generator", "parameters", "GFLOP", "ms a frame", "frames a second", "PSNR at x2 (dB)")
    return report.table(header, body, caption=caption)


def by_itself(found: list[dict[str, Any]]) -> str:
    """Each image by a network that saw nothing else."""
    names = {"others": "trained on other patients", "itself": "trained on the image itself"}
    body = []
    for entry in found:
        cells = [f"{entry['rows'][row]['psnr']:.2f} / {entry['rows'][row]['ssim']:.4f}" for row in ROWS]
        body.append((f"`{entry['name']}`", *cells))
    if len(found) > 1:
        means = {
            row: [statistics.summary(np.array([e["rows"][row][m] for e in found]))["mean"] for m in ("psnr", "ssim")]
            for row in ROWS
        }
        body.append(("mean", *(f"{means[row][0]:.2f} / {means[row][1]:.4f}" for row in ROWS)))
    caption = (
        "PSNR (dB) / SSIM at x2 of test images from 8-bit inputs. The same generator and optimiser; what it learnt from differs."
    )
    header = ("", *(names.get(row) or NAMES.get(row, row) for row in ROWS))
    return report.table(header, body, caption=caption)
