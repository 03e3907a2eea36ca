"""The tables of the study's report: HTML blocks, every figure with n, its interval, and what it was paired with."""

from __future__ import annotations

from typing import Any

from experiments import scoring
from experiments.translation.runs import RUNS, Study
from experiments.translation.scores import REFERENCES, Results, by_subject
from medjax import report
from medjax.metrics import hypothesis, statistics
from medjax.report.blocks import cell, p_value

LABELS = {
    "input": "identity: T1 taken for T2", "linear": "best linear map of T1", "monotone": "best monotone map of T1",
    "median": "median filter",
}  # fmt: skip
SHORT = {"input": "identity", "linear": "linear", "monotone": "monotone"}
FEW = 6  # below so many subjects no sign-flip test can reach p = 0.05


def label(row: str) -> str:
    """A row's name in tables."""
    return RUNS[row].label if row in RUNS else LABELS.get(row, row)


def short(row: str) -> str:
    """A row's name in narrow columns."""
    return RUNS[row].short if row in RUNS else SHORT.get(row, row)


def rows_of(study: Study) -> list[str]:
    """Every row that is scored on the test subjects."""
    return [*REFERENCES, *study.compared]


def shown(metric: str, entry: dict[str, Any] | None, *, sign: bool = False) -> str:
    """A mean with its interval; decibels to two decimals whatever the metric is called."""
    return cell("psnr" if "psnr" in metric else "ssim", entry, sign=sign)


def bare(metric: str, entry: dict[str, Any]) -> str:
    """PSNR with its interval, other means alone, so that a table fits the page."""
    return shown(metric, entry) if "psnr" in metric else f"{entry['mean']:.3f}"


def table_one(study: Study, results: Results) -> str:
    """Every row on held-out subjects, inside the head and over the whole slice."""
    metrics = {
        "psnr_inside": "PSNR inside (dB)", "ssim_inside": "SSIM inside", "mae_inside": "MAE inside",
        "nrmse_inside": "NRMSE inside", "psnr": "PSNR whole slice (dB)", "ssim": "SSIM whole slice",
    }  # fmt: skip
    metrics |= scoring.lpips_of(results.summaries["main"][0])
    rows = rows_of(study)
    body = [[label(r), *(bare(m, results.mean(r, m)) for m in metrics)] for r in rows]
    n = len(results.subjects)
    caption = (
        f"{n} held-out subject{'s' * (n > 1)}: slices averaged within a subject, then mean over subjects [95% bootstrap"
        " interval over subjects]. The maps of intensity were fitted to training slices. Whole slices count the empty background"
        " too, which lifts every row; what is inside the head decides."
    )
    return report.table(("", *metrics.values()), body, caption=caption, strong=[rows.index("main")])


def feature_tables(study: Study, results: Results) -> list[str]:
    """Distances of every row's slices to the targets, over feature networks."""
    first = results.summaries["main"][0]
    rows = {label(row): (first, row) for row in REFERENCES} | {
        label(run): (results.summaries[run][0], "model") for run in study.compared
    }
    note = "Slices of one subject are much alike: n counts slices, and the intervals are narrower than they ought to be."
    return [report.text(note), *scoring.over_features(rows)]


def affine(study: Study, results: Results) -> str:
    """Before and after the best affine map of each output: calibration apart from structure."""
    body = []
    for row in rows_of(study):
        cells = [bare(m, results.mean(row, m)) for m in ("psnr_inside", "psnr_affine", "ssim_inside", "ssim_affine")]
        gain = results.of(row, "psnr_affine") - results.of(row, "psnr_inside")
        body.append((label(row), *cells[:2], f"{gain.mean():+.2f}", *cells[2:]))
    caption = (
        "Inside the head, before and after the affine map (gain and offset) of each output slice that fits its target best."
        " What the map gains was wrong calibration; what is left is wrong structure. The map looks at the target, so the right"
        " columns are no score of a method, and they are kindest to the rows that are worst calibrated."
    )
    header = ("", "PSNR (dB)", "PSNR after (dB)", "gain", "SSIM", "SSIM after")
    return report.table(header, body, caption=caption, strong=[rows_of(study).index("main")])


def subjects(study: Study, results: Results) -> str:
    """Every test subject by itself."""
    rows = rows_of(study)
    values = {row: (results.of(row, "psnr_inside"), results.of(row, "psnr_affine")) for row in rows}
    body = [
        (name, *(f"{values[row][0][i]:.2f} ({values[row][1][i]:.2f})" for row in rows))
        for i, name in enumerate(results.subjects)
    ]
    caption = "PSNR inside the head (dB) of every held-out subject, in brackets after the best affine map of each slice."
    return report.table(("", *map(short, rows)), body, caption=caption)


def differences(study: Study, results: Results) -> str:
    """What is compared with what, paired by subject."""
    pairs = [("main", row) for row in (*REFERENCES, "l1_only", "published")] + [("published", results.best_map())]
    body, tests = [], []
    for row, other in pairs:
        psnr, ssim = (results.versus(row, other, m) for m in ("psnr_inside", "ssim_inside"))
        body.append(
            (f"{short(row)} minus {short(other)}", shown("psnr", psnr, sign=True), p_value(psnr["p_value"]),
             p_value(psnr["wilcoxon"]), f"{psnr['wins']:.0%}", shown("ssim", ssim, sign=True), psnr["n"])
        )  # fmt: skip
        tests.append(psnr["p_value"])
    body = [(*row[:3], p_value(float(p)), *row[3:]) for row, p in zip(body, hypothesis.holm(tests), strict=True)]
    n = len(results.subjects)
    caption = (
        "Paired differences inside the head, subject by subject: mean [95% interval], two-sided sign-flip test, the same"
        " corrected for the number of rows (Holm), and Wilcoxon's signed-rank test."
    )
    if n < FEW:
        caption += f" With {n} subject{'s' * (n > 1)} the smallest p there can be is {min(1.0, 2.0 ** (1 - n)):.2g}."
    return report.table(("", "PSNR (dB)", "p", "p, Holm", "p, Wilcoxon", "higher on", "SSIM", "n"), body, caption=caption)


def optimism_of(results: Results, row: str) -> dict[str, Any]:
    """{"trained", "held_out", "gap"}: mean PSNR inside (dB) on training slices and on held-out subjects."""
    run, name = (row, "model") if row in RUNS else ("main", row)
    trained = statistics.summary(by_subject(results.trained[run], name, "psnr_inside")[0])
    held_out = results.mean(row, "psnr_inside")
    return {"trained": trained, "held_out": held_out, "gap": trained["mean"] - held_out["mean"]}


def optimism(study: Study, results: Results) -> str:
    """The paper's own protocol beside held-out subjects."""
    body = []
    for row in (results.best_map(), *study.compared):
        entry = optimism_of(results, row)
        cells = [shown("psnr", entry[k]) for k in ("trained", "held_out")]
        body.append((label(row), cells[0], entry["trained"]["n"], cells[1], entry["held_out"]["n"], f"{entry['gap']:+.2f}"))
    caption = (
        "PSNR inside the head (dB) on slices that were trained on, as the paper looks at them, and on subjects that were not."
        " A map of intensity has nothing to learn by heart: its gap is how much easier the training subjects happen to be, and"
        " what a network's gap exceeds it by is optimism."
    )
    return report.table(("", "training slices", "subjects", "held out", "subjects", "gap"), body, caption=caption)


def others(study: Study, results: Results) -> list[str]:
    """Another population, scored apart."""
    if not results.others:
        return [report.text(f"Not scored: {results.no_others}.")]
    body, first = [], results.others["main"]
    names = by_subject(first, "model", "psnr")[1]
    for row in rows_of(study):
        run, name = (row, "model") if row in RUNS else ("main", row)
        found = {m: by_subject(results.others[run], name, m)[0] for m in ("psnr_inside", "ssim_inside", "psnr_affine")}
        each = ", ".join(f"{v:.2f}" for v in found["psnr_inside"])
        body.append(
            (label(row), f"{found['psnr_inside'].mean():.2f}", each, f"{found['psnr_affine'].mean():.2f}",
             f"{found['ssim_inside'].mean():.4f}")
        )  # fmt: skip
    caption = (
        f"Subjects that the training leaves out by name ({', '.join(f'`{n}`' for n in names)}), on canvases that fit their heads"
        " so that a brain fills as much of the picture. Inside the head; n is the number of subjects, so there is no interval."
        " A different age, anatomy and disease: this is what happens, not what is claimed to work."
    )
    header = ("", "PSNR (dB)", "each subject", "after affine map (dB)", "SSIM")
    return [report.table(header, body, caption=caption)]
